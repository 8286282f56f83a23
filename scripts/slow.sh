#!/usr/bin/env bash
# What slow clients cost everybody else: CPU per request of a fast client (64 connections, 100 B)
# through the gateway, without and with slow ones, taking turns; and the buffers that one slow
# reader of 1 GiB holds. With slow clients it is measured once the gateway has settled; what it
# spent until then, and how many of the slow connections it still holds, is said beside it.
#
#   scripts/slow.sh [--rounds 3] [--seconds 5] [--zero-window 1000] [--drip 5000]
#                   [--contender ringway|nginx|haproxy] [--rate 0] [--limit 1.10]
#                   [--every 1s] [--flags "MORE FLAGS FOR RINGWAY"]
#
# The CPU includes what the gateway spends on the slow clients themselves. --rate 0 is a closed
# loop; --every is the time between two bytes of a dripper. Exits 1 when ringway exceeds the
# limit.
#
# The kernel would buffer up to 4 MiB for each stalled connection, twice through a proxy: 1 000 of
# them reach tcp_mem, and then every connection of the machine stalls, whatever the proxy does. So
# the script runs in a network namespace of its own, where tcp_wmem ends at 256 KiB.

source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

ROUNDS=3 SECONDS_EACH=5 ZERO_WINDOW=1000 DRIP=5000 CONTENDER=ringway
RATE=0 LIMIT=1.10 EVERY=1s FLAGS=''
ARGUMENTS=("$@")
while [[ $# -gt 0 ]]; do
    [[ $1 == --help ]] && { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0; }
    [[ $# -ge 2 ]] || fail "$1 needs a value; try --help"
    case $1 in
    --rounds) ROUNDS=$2 ;;
    --seconds) SECONDS_EACH=$2 ;;
    --zero-window) ZERO_WINDOW=$2 ;;
    --drip) DRIP=$2 ;;
    --contender) CONTENDER=$2 ;;
    --rate) RATE=$2 ;;
    --limit) LIMIT=$2 ;;
    --every) EVERY=$2 ;;
    --flags) FLAGS=$2 ;;
    *) fail "unknown option $1; try --help" ;;
    esac
    shift 2
done

BENCH=$(binary RINGWAY_BENCH_BIN bench ringway-bench)
[[ $CONTENDER == ringway ]] && RINGWAY=$(binary RINGWAY_BIN cli ringway)
if [[ -z ${RINGWAY_NETNS:-} ]]; then
    need unshare util-linux
    need ip iproute2
    export RINGWAY_NETNS=own RINGWAY_BENCH_BIN=$BENCH RINGWAY_BIN=${RINGWAY:-}
    for how in --net "--map-root-user --net"; do
        unshare $how true 2>/dev/null || continue
        rm -rf "$WORK"
        exec unshare $how "$0" "${ARGUMENTS[@]}"
    done
    fail "no network namespace can be had; run it as root"
fi
ip link set lo up
echo "4096 16384 262144" >/proc/sys/net/ipv4/tcp_wmem
# One link for every zero-window reader, and some for the fast client.
RINGWAY_FLAGS=(--links-max $((ZERO_WINDOW + 1024)) $FLAGS)
raise_nofile $((2 * ZERO_WINDOW + DRIP + 500))
LAST_CPU=$(($(nproc) - 1))
check_cores 0 "$LAST_CPU"
start_upstream 100 "$LAST_CPU"
start_gateway "$CONTENDER" 0
PIDS=$(with_children "$GATEWAY_PID")
PIDS=${PIDS// /,}
URL="http://127.0.0.1:$GATEWAY_PORT"

# measure: CPU us per request of the fast client, now.
measure() {
    taskset -c "$LAST_CPU" "$BENCH" http1 --url "$URL/" --rate "$RATE" --connections 64 \
        --warmup 1s --duration "${SECONDS_EACH}s" --pid "$PIDS" --format json >"$WORK/run" ||
        { cat "$WORK/run" >&2; fail "the fast client had errors"; }
    sed 's/.*"us_per_request":\([0-9.]*\).*/\1/; s/\(\.[0-9][0-9]\).*/\1/' "$WORK/run"
}

# slow KIND COUNT PATH: starts slow clients and waits until they are at it; SLOW_PID ends them.
slow() {
    start slow taskset -c "$LAST_CPU" "$BENCH" slow --kind "$1" --count "$2" \
        --every "$EVERY" --url "$URL$3" --hold 10m
    SLOW_PID=$PID
    wait_line ready "$LOG" "$PID"
}

# open_count: connections that the gateway holds on its listening side.
open_count() {
    awk -v port="$(printf ':%04X' "$GATEWAY_PORT")" \
        'index($2, port) && $4 == "01" { n++ } END { print n + 0 }' /proc/net/tcp
}

# settle: waits until the gateway takes less than 15 % of its core for a second (5 000 bytes a
# second take some 5-10 %); sets SETTLED_MS, the
# CPU spent meanwhile.
settle() {
    local first before after quiet=0
    first=$(cpu_us ${PIDS//,/ })
    for _ in $(seq 60); do
        before=$(cpu_us ${PIDS//,/ })
        sleep 0.5
        after=$(cpu_us ${PIDS//,/ })
        SETTLED_MS=$(((after - first) / 1000))
        quiet=$((after - before < 75000 ? quiet + 1 : 0))
        ((quiet < 2)) || return 0
    done
    say "the gateway did not settle within 30 s"
}

# compare NAME KIND COUNT PATH
compare() {
    local without=() with=() round ratio held
    measure >/dev/null
    for ((round = 0; round < ROUNDS; round++)); do
        without+=("$(measure)")
        slow "$2" "$3" "$4"
        settle
        held=$(open_count)
        with+=("$(measure)")
        stop "$SLOW_PID"
        say "$1 round $((round + 1))/$ROUNDS: ${without[-1]} without, ${with[-1]} with;" \
            "$SETTLED_MS ms of CPU until settled, then $held connections held"
    done
    local a b
    a=$(median "${without[@]}") b=$(median "${with[@]}")
    ratio=$(awk "BEGIN { printf \"%.3f\", $b / $a }")
    echo "$CONTENDER, $3 $1: $a us/request without, $b with, ratio $ratio; $held held"
    [[ $CONTENDER != ringway ]] || awk "BEGIN { exit !($ratio <= $LIMIT) }" || FAILED+="$1 "
}

FAILED=''
[[ $ZERO_WINDOW == 0 ]] || compare zero-window zero-window "$ZERO_WINDOW" "/?bytes=67108864"
[[ $DRIP == 0 ]] || compare drip drip "$DRIP" /

# One slow reader of 1 GiB.
dirty() { awk '/^Private_Dirty/ { print $2 }' "/proc/$GATEWAY_PID/smaps_rollup"; }
BEFORE=$(dirty)
start reader "$BENCH" slow --kind reader --url "$URL/?bytes=1073741824" --hold "${SECONDS_EACH}s" \
    --bytes-per-second 10485760 --format json
wait_line ready "$LOG" "$PID"
MOST=0
while kill -0 "$PID" 2>/dev/null; do
    NOW=$(dirty)
    MOST=$((NOW > MOST ? NOW : MOST))
    sleep 0.1
done
echo "$CONTENDER, slow reader of 1 GiB: private dirty grew by at most $((MOST - BEFORE)) KiB"
if [[ $CONTENDER == ringway && -n $(command -v curl) ]]; then
    curl --silent --fail --unix-socket "$WORK/ringway-$GATEWAY_PORT.sock" http://admin/metrics |
        grep -i 'held_bytes' || true
fi
[[ -z $FAILED ]] || fail "above the limit of $LIMIT: $FAILED"
