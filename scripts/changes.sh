#!/usr/bin/env bash
# What changes of routes cost everybody: a thousand single-route changes a second on the admin
# socket of a ringway with a million routes and a journal, while wrk asks for random routes; and
# what a kill in the midst of them loses.
#
#   scripts/changes.sh [--rounds 3] [--seconds 10] [--routes 1000000] [--rate 1000] [--conns 8]
#                      [--connections 8] [--gateway-cpu 0] [--load-cpu 1] [--realtime]
#
# The shard has one core; upstream, wrk, the changes and ringway's control threads share another.
# A round starts ringway anew for load without changes, and again for load with changes: its longest
# turn is counted since its start. At the end it is killed (-9) half-way through the changes and
# started again, and every route that was changed is asked for.
#
# Exits 1 when a request failed, a change was not taken, or an acknowledged change is gone; times
# are said and not judged. A turn is measured by the wall clock. On a machine that others use too it
# is only true for a shard that is not preempted: --realtime runs it under SCHED_FIFO, which needs
# CAP_SYS_NICE. RINGWAY_BIN and RINGWAY_BENCH_BIN name the binaries; without them they are built.

source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

ROUNDS=3 SECONDS_EACH=10 ROUTES=1000000 RATE=1000 CONNS=8 CONNECTIONS=8 GATEWAY_CPU=0 LOAD_CPU=1
REALTIME=''
while [[ $# -gt 0 ]]; do
    [[ $1 == --help ]] && { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0; }
    [[ $# -ge 2 || $1 == --realtime ]] || fail "$1 needs a value; try --help"
    case $1 in
    --rounds) ROUNDS=$2 ;;
    --seconds) SECONDS_EACH=$2 ;;
    --routes) ROUTES=$2 ;;
    --rate) RATE=$2 ;;
    --conns) CONNS=$2 ;;
    --connections) CONNECTIONS=$2 ;;
    --gateway-cpu) GATEWAY_CPU=$2 ;;
    --load-cpu) LOAD_CPU=$2 ;;
    --realtime) REALTIME=yes && shift && continue ;;
    *) fail "unknown option $1; try --help" ;;
    esac
    shift 2
done
HOSTS=$(((ROUTES + 19) / 20))

need wrk wrk
need taskset util-linux
need curl curl
check_cores "$GATEWAY_CPU" "$LOAD_CPU"
RINGWAY=$(binary RINGWAY_BIN cli ringway)
BENCH=$(binary RINGWAY_BENCH_BIN bench ringway-bench)
raise_nofile 4096

FAILED='' STARTS=''

# admin PATH: a page of the gateway that was started last.
admin() { curl --silent --fail --unix-socket "$ADMIN" "http://admin$1"; }

# milliseconds: since some moment.
milliseconds() { echo $(($(date +%s%N) / 1000000)); }

# begin: a gateway with the journal as it is, waited for; sets START_MS, from exec to ready, and
# START_CPU_MS, what that cost. All its threads but the shard then leave the shard's core.
begin() {
    local before task
    before=$(milliseconds)
    start_routes gateway "$GATEWAY_CPU,$LOAD_CPU" "$GATEWAY_CPU" 'route_files: [routes.jsonl]' \
        "route_journal: '$WORK/journal'"
    # From the first moment on: a turn that is preempted at the start would be the longest.
    [[ -z $REALTIME ]] || chrt --fifo --all-tasks --pid 10 "$GATEWAY_PID"
    until admin /readyz >/dev/null; do
        kill -0 "$GATEWAY_PID" 2>/dev/null || { cat "$LOG" >&2; fail "it ended (above)"; }
        sleep 0.01
    done
    START_MS=$(($(milliseconds) - before))
    START_CPU_MS=$(($(cpu_us "$GATEWAY_PID") / 1000))
    for task in "/proc/$GATEWAY_PID/task/"*; do
        [[ $(cat "$task/comm") != shard* ]] || continue
        taskset -p -c "$LOAD_CPU" "${task##*/}" >/dev/null
        [[ -z $REALTIME ]] || chrt --other --pid 0 "${task##*/}"
    done
}

# turn_us: the longest turn so far.
turn_us() {
    admin /metrics | awk '/^ringway_core_loop_max_delay_seconds/ { printf "%.0f\n", $2 * 1000000 }'
}

# changes SECONDS [FLAGS...]: the driver; its report goes to $WORK/changes.
changes() {
    local seconds=$1
    shift
    taskset -c "$LOAD_CPU" "$BENCH" changes --admin "$ADMIN" --rate "$RATE" --conns "$CONNS" \
        --seconds "$seconds" --hosts "$HOSTS" "$@" >"$WORK/changes"
}

declare -A TURNS

# measure KIND ROUND: load alone or with changes, on a fresh gateway.
measure() {
    local driver='' first turn said=''
    rm -rf "$WORK/journal"
    begin
    STARTS+=" $START_MS"
    first=$(turn_us)
    if [[ $1 == changes ]]; then
        changes "$SECONDS_EACH" &
        driver=$!
    fi
    wrk_routes "$LOAD_CPU" "$GATEWAY_PORT" "$CONNECTIONS" "$SECONDS_EACH" "$ROUTES" "$2"
    if [[ -n $driver ]]; then
        wait "$driver" || FAILED+="changes-of-round-$2 "
        said="; $(cat "$WORK/changes")"
    fi
    turn=$(turn_us)
    TURNS[$1]+=" $turn"
    [[ $ERRORS == 0 ]] || FAILED+="requests-of-round-$2-$1:$ERRORS "
    echo "$1: started in $START_MS ms ($START_CPU_MS of CPU), $REQUESTS requests," \
        "$ERRORS failed, longest turn $turn us ($first at the start)$said"
    stop "$GATEWAY_PID"
}

# die: kills the gateway in the midst of changes and looks what the next one has.
die() {
    rm -rf "$WORK/journal"
    begin
    changes "$SECONDS_EACH" --log "$WORK/ledger" &
    local driver=$!
    sleep "$(awk "BEGIN { print $SECONDS_EACH / 2 }")"
    kill -KILL "$GATEWAY_PID"
    # Both fail: the one was killed, the other had changes that nobody answered.
    wait "$GATEWAY_PID" 2>/dev/null || true
    wait "$driver" || true
    echo "killed: $(cat "$WORK/changes")"
    begin
    echo "started again in $START_MS ms ($START_CPU_MS of CPU)"
    "$BENCH" changes --admin "$ADMIN" --verify "$WORK/ledger" || FAILED+="lost-changes "
    stop "$GATEWAY_PID"
}

write_routes "$ROUTES"
start_upstream 100 "$LOAD_CPU"
for ((round = 1; round <= ROUNDS; round++)); do
    measure alone "$round"
    measure changes "$round"
done
echo "medians: start $(median $STARTS) ms; longest turn $(median ${TURNS[alone]}) us alone," \
    "$(median ${TURNS[changes]}) us with changes"
die
[[ -z $FAILED ]] || fail "failed: $FAILED"
