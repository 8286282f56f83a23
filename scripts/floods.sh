#!/usr/bin/env bash
# What floods cost everybody else: latency of one client at a constant rate through the gateway,
# alone and during each of three floods in turn, for nginx and for ringway in the same run; and
# whether everything that a flood took is given back.
#
#   resets          100 000 connections in batches of 1 000, each reset (SO_LINGER 0) after a
#                   request or half of one, spread over --seconds
#   slow-readers    8 000 at once, SO_RCVBUF of 4 KiB, each taking 256 KiB at 4 KiB/s
#   half-heads      15 000 heads without an end; who is turned away connects again
#
#   scripts/floods.sh [--rounds 3] [--seconds 12] [--rate 1000] [--connections 16]
#                     [--contenders nginx,ringway] [--floods resets,slow-readers,half-heads]
#                     [--scale 1] [--limit 1.00] [--turn-ms 10] [--realtime]
#                     [--flags "MORE FLAGS FOR RINGWAY"]
#
# --scale N divides the numbers of connections; above 1 the client is not measured alone, and times
# are said and not judged. Rounds are interleaved, the table shows medians. Exits 1 when the client
# had an error; when its p99 through ringway is above --limit times that through nginx by more than
# the p99 scatters without any flood (its largest less its smallest in all rounds of both: some
# 0.05 ms, the resolution of this measurement); when a turn of ringway took longer than
# --turn-ms; or when connections, tasks, operations, buffers or descriptors are left afterwards:
# /metrics and /proc/PID/fd must both be back at what they were before the first connection. On a
# machine that others use too, times are only true for processes that are not preempted: --realtime
# runs gateway, client and upstream under SCHED_FIFO, which needs CAP_SYS_NICE.
#
# A flood's whole life lies in the client's window, opening and closing included. The gateway has
# core 0, everybody else the last core, where the flood yields to client and upstream (nice): their
# latency is to be the gateway's. The script runs in a network namespace of its own, as slow.sh
# does, where the kernel buffers 32 KiB for each send: the gateways have to hold the replies.

source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

ROUNDS=3 SECONDS_EACH=12 RATE=1000 CONNECTIONS=16 CONTENDERS=nginx,ringway SCALE=1 LIMIT=1.00
FLOODS=resets,slow-readers,half-heads TURN_MS=10 FLAGS='' PRIORITY=() YIELDS=(nice -n 10)
ARGUMENTS=("$@")
while [[ $# -gt 0 ]]; do
    [[ $1 == --help ]] && { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0; }
    [[ $# -ge 2 || $1 == --realtime ]] || fail "$1 needs a value; try --help"
    case $1 in
    --rounds) ROUNDS=$2 ;;
    --seconds) SECONDS_EACH=$2 ;;
    --rate) RATE=$2 ;;
    --connections) CONNECTIONS=$2 ;;
    --contenders) CONTENDERS=$2 ;;
    --floods) FLOODS=$2 ;;
    --scale) SCALE=$2 ;;
    --limit) LIMIT=$2 ;;
    --turn-ms) TURN_MS=$2 ;;
    --flags) FLAGS=$2 ;;
    --realtime) PRIORITY=(chrt -f 10) YIELDS=(chrt -f 5) && shift && continue ;;
    *) fail "unknown option $1; try --help" ;;
    esac
    shift 2
done
IFS=, read -r -a CONTENDERS <<<"$CONTENDERS"
IFS=, read -r -a FLOODS <<<"$FLOODS"

BENCH=$(binary RINGWAY_BENCH_BIN bench ringway-bench)
for name in "${CONTENDERS[@]}"; do
    case $name in
    nginx) need nginx nginx-light ;;
    ringway) RINGWAY=$(binary RINGWAY_BIN cli ringway) ;;
    *) fail "unknown contender $name" ;;
    esac
done
need curl curl
if [[ -z ${RINGWAY_NETNS:-} ]]; then
    need unshare util-linux
    need ip iproute2
    export RINGWAY_NETNS=own RINGWAY_BENCH_BIN=$BENCH RINGWAY_BIN=${RINGWAY:-}
    for how in --net "--map-root-user --net"; do
        unshare $how true 2>/dev/null || continue
        rm -rf "$WORK"
        exec "${PRIORITY[@]}" unshare $how "$0" "${ARGUMENTS[@]}"
    done
    fail "no network namespace can be had; run it as root"
fi
ip link set lo up
echo "4096 16384 32768" >/proc/sys/net/ipv4/tcp_wmem
echo "4096 32768 65536" >/proc/sys/net/ipv4/tcp_rmem
echo "1024 65535" >/proc/sys/net/ipv4/ip_local_port_range
RESETS=$((100000 / SCALE)) BATCH=$((1000 / SCALE))
READERS=$((8000 / SCALE)) HEADS=$((15000 / SCALE))
raise_nofile $((2 * READERS + 1000 > HEADS + 1000 ? 2 * READERS + 1000 : HEADS + 1000))
LAST_CPU=$(($(nproc) - 1))
check_cores 0 "$LAST_CPU"
start_upstream 100 "$LAST_CPU"

# metrics: the page of the ringway that was started last.
metrics() {
    curl --silent --fail --unix-socket "$WORK/ringway-$GATEWAY_PORT.sock" http://admin/metrics
}

# turn_us: ringway's longest turn so far.
turn_us() {
    [[ $NAME == ringway ]] || { echo 0; return; }
    metrics | awk '/^ringway_core_loop_max_delay_seconds/ { printf "%.0f\n", $2 * 1000000 }'
}

# Metrics that say what ringway holds.
HELD="process_open_fds connections sockets tasks uring_ops_in_flight head_buffers_free \
    bulk_buffers_free stalled_bytes buffered_bytes upstream_pool_active upstream_pool_idle"

# held: what the contender holds, a word each: descriptors by /proc, and for ringway by /metrics.
held() {
    local pid
    for pid in ${PIDS//,/ }; do
        # A descriptor that is being closed may be gone when it is looked at.
        printf 'fd=%d ' "$(find "/proc/$pid/fd" -mindepth 1 2>/dev/null | wc -l)"
    done
    [[ $NAME != ringway ]] || metrics | awk -v names="$HELD" '
        BEGIN { split(names, list); for (place in list) wanted[list[place]] = 1 }
        { name = $1; sub(/[{].*/, "", name); sub(/^ringway_/, "", name) }
        name in wanted { sum[name] += $2 }
        /^ringway_connections_accepted_total/ { sum["not_closed"] += $2 }
        /^ringway_connections_closed_total/ { sum["not_closed"] -= $2 }
        END { for (name in sum) printf "%s=%d\n", name, sum[name] | "sort" }' | tr '\n' ' '
}

# changed BEFORE AFTER: the words of AFTER that are not in BEFORE.
changed() {
    local word
    for word in $2; do [[ " $1 " == *" $word "* ]] || printf '%s ' "$word"; done
}

# given_back: waits until the contender holds what it held at its start; sets LEFT.
given_back() {
    for _ in $(seq 240); do
        LEFT=$(changed "$START" "$(held)")
        [[ -n $LEFT ]] || return 0
        sleep 0.25
    done
}

# client SECONDS: the client at its rate; its report goes to $WORK/run.
client() {
    taskset -c "$LAST_CPU" "$BENCH" http1 --url "$URL/" --rate "$RATE" --warmup 1s \
        --connections "$CONNECTIONS" --duration "$1s" --format json >"$WORK/run" || true
}

# number NAME: the first number of that name in the client's report.
number() { sed "s/.*\"$1\":\([0-9.]*\).*/\1/" "$WORK/run"; }

# latency P: a percentile of the client's latency, in ms.
latency() {
    sed "s/.*\"latency_us\":{[^}]*\"$1\":\([0-9.]*\).*/\1/" "$WORK/run" |
        awk '{ printf "%.3f\n", $1 / 1000 }'
}

# flood KIND: runs it to its end; its report goes to $WORK/flood.
flood() {
    local path=/ count
    case $1 in
    resets) count=(--count "$RESETS" --batch "$BATCH") ;;
    slow-readers) count=(--count "$READERS") path="/?bytes=262144" ;;
    half-heads) count=(--count "$HEADS") ;;
    *) fail "unknown flood $1" ;;
    esac
    "${YIELDS[@]}" taskset -c "$LAST_CPU" "$BENCH" flood --kind "$1" "${count[@]}" \
        --hold "${SECONDS_EACH}s" --url "$URL$path" >"$WORK/flood" ||
        fail "the flood of $1 failed: $(cat "$WORK/flood")"
}

declare -A P50 P99 CPU TURN
FAILED=''

# note KEY P50 P99 CPU TURN: adds a run to the lists of KEY.
note() { P50[$1]+=" $2" P99[$1]+=" $3" CPU[$1]+=" $4" TURN[$1]+=" $5"; }

# beside KIND: the client alone or beside a flood, with what the gateway spent meanwhile.
beside() {
    local before after flooding='' most kind=$1 seconds=$((SECONDS_EACH + 3))
    [[ $kind != alone ]] || seconds=$((SECONDS_EACH > 10 ? 10 : SECONDS_EACH))
    before=$(cpu_us ${PIDS//,/ })
    client "$seconds" &
    local client=$!
    if [[ $kind != alone ]]; then
        # The connections of the client are open and counting has begun when the flood comes.
        sleep 1.2
        flood "$kind" &
        flooding=$!
    fi
    wait "$client"
    [[ -z $flooding ]] || wait "$flooding" || FAILED+="flood-$kind "
    after=$(cpu_us ${PIDS//,/ })
    # Not asked before: the answer costs the machine, and ringway alone would pay for it.
    most=$(turn_us)
    local errors unsent cpu p99
    errors=$(number errors_count) unsent=$(number unsent) p99=$(latency p99)
    cpu=$(((after - before) / 10000 / (seconds + 1)))
    [[ $kind != alone ]] || kind=$KIND-alone
    note "$NAME/$kind" "$(latency p50)" "$p99" "$cpu" "$most"
    say "$NAME round $ROUND $kind: p50 $(latency p50) ms, p99 $p99 ms, $cpu % of a core," \
        "$errors errors, $unsent unsent, longest turn $most us" \
        "${flooding:+; $(tail -n 1 "$WORK/flood")}"
    [[ $errors == 0 && $unsent == 0 ]] || FAILED+="$NAME-$kind-client-errors:$errors+$unsent "
    [[ $NAME != ringway || $SCALE != 1 || $most -le $((TURN_MS * 1000)) ]] ||
        FAILED+="turn-$kind:${most}us "
}

# contend NAME KIND: one flood against one contender, from its start to its end. Each has a process
# of its own: a link for each slow reader would leave too few descriptors for the half heads.
contend() {
    NAME=$1 KIND=$2
    RINGWAY_FLAGS=($FLAGS)
    [[ $KIND != slow-readers ]] || RINGWAY_FLAGS+=(--links-max $((READERS + 1024)))
    start_gateway "$NAME" 0
    PIDS=$(with_children "$GATEWAY_PID")
    PIDS=${PIDS// /,}
    URL="http://127.0.0.1:$GATEWAY_PORT"
    # The connection that asked whether it listens may not be closed yet.
    START=$(held) LEFT=more
    for _ in $(seq 40); do
        sleep 0.25
        LEFT=$(changed "$START" "$(held)")
        [[ -n $LEFT ]] || break
        START=$(held)
    done
    if [[ $SCALE == 1 ]]; then
        client 1
        beside alone
    fi
    beside "$KIND"
    given_back
    say "$NAME round $ROUND after $KIND: ${LEFT:+left: }${LEFT:-everything is given back};" \
        "resident $(awk '/^VmRSS/ { print $2 }' "/proc/${PIDS##*,}/status") KiB"
    [[ -z $LEFT ]] || FAILED+="$NAME-left-after-$KIND:${LEFT// /,} "
    stop "$GATEWAY_PID"
}

# scatter KIND: largest less smallest p99 of the client alone, over all contenders and rounds.
scatter() {
    local name all=()
    for name in "${CONTENDERS[@]}"; do all+=(${P99[$name/$1-alone]}); done
    printf '%s\n' "${all[@]}" | sort -n | awk 'NR == 1 { least = $1 } END { print $1 - least }'
}

# worst NUMBER...: the largest.
worst() { printf '%s\n' "$@" | sort -n | tail -n 1; }

# conclude KIND: a line for each contender, and whether ringway's p99 is above nginx's.
conclude() {
    local kind=$1 name line ours theirs
    for name in "${CONTENDERS[@]}"; do
        line=$(printf '%-13s %-8s %9s %9s %9s %9s %6s' "$kind" "$name" \
            "$(median ${P50[$name/$kind-alone]:-0})" "$(median ${P99[$name/$kind-alone]:-0})" \
            "$(median ${P50[$name/$kind]})" "$(median ${P99[$name/$kind]})" \
            "$(median ${CPU[$name/$kind]})")
        [[ $name != ringway ]] || line+=$(printf ' %9d' "$(worst ${TURN[$name/$kind]})")
        echo "$line"
    done
    ours=${P99[ringway/$kind]:-} theirs=${P99[nginx/$kind]:-}
    [[ $SCALE == 1 && -n $ours && -n $theirs ]] || return 0
    awk "BEGIN { exit !($(median $ours) <= $LIMIT * $(median $theirs) + $(scatter "$kind")) }" ||
        FAILED+="p99-$kind:$(median $ours)-above-$(median $theirs)-by-more-than-$(scatter "$kind") "
}

for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
    for KIND in "${FLOODS[@]}"; do
        for ((index = 0; index < ${#CONTENDERS[@]}; index++)); do
            contend "${CONTENDERS[(index + ROUND - 1) % ${#CONTENDERS[@]}]}" "$KIND"
        done
    done
done
echo "one client at $RATE requests/s, $CONNECTIONS connections; ms, medians of $ROUNDS rounds;"
echo "CPU in % of a core; longest turn of all rounds in us; sizes divided by $SCALE"
printf '%-13s %-8s %9s %9s %9s %9s %6s %9s\n' \
    flood gateway p50-alone p99-alone p50 p99 cpu turn
for KIND in "${FLOODS[@]}"; do conclude "$KIND"; done
[[ -z $FAILED ]] || fail "failed: $FAILED"
