#!/usr/bin/env bash
# What slow clients cost everybody else: CPU per request of a fast client (64 connections, 100 B)
# through the gateway, without and with slow ones, taking turns; and the buffers that one slow
# reader of 1 GiB holds. With slow clients it is measured once the gateway has settled; what it
# spent until then, how many of the slow connections it still holds, how many the gateway says
# that it shed, and the fast client's p99, are said beside it.
#
#   scripts/slow.sh [--rounds 5] [--seconds 5] [--zero-window 1000] [--drip 5000]
#                   [--contender ringway|nginx|haproxy] [--rate 0] [--limit 1.10]
#                   [--every 1s] [--flags "MORE FLAGS FOR RINGWAY"]
#
# The CPU includes what the gateway spends on the slow clients themselves. --rate 0 is a closed
# loop; --every is the time between two bytes of a dripper. Exits 1 when ringway exceeds the
# limit, or when the slow reader holds more than 256 KiB by its own metric.
#
# The kernel would buffer up to 4 MiB for each stalled connection, twice through a proxy: 1 000 of
# them reach tcp_mem, and then every connection of the machine stalls, whatever the proxy does. So
# the script runs in a network namespace of its own, where tcp_wmem ends at 256 KiB.

source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

ROUNDS=5 SECONDS_EACH=5 ZERO_WINDOW=1000 DRIP=5000 CONTENDER=ringway
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
    [[ $CONTENDER != ringway ]] || need curl curl
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

# measure: "US P99": CPU us per request of the fast client now, and its p99 in ms.
measure() {
    taskset -c "$LAST_CPU" "$BENCH" http1 --url "$URL/" --rate "$RATE" --connections 64 \
        --warmup 1s --duration "${SECONDS_EACH}s" --pid "$PIDS" --format json >"$WORK/run" ||
        { cat "$WORK/run" >&2; fail "the fast client had errors"; }
    local us p99
    us=$(sed 's/.*"us_per_request":\([0-9.]*\).*/\1/' "$WORK/run")
    p99=$(sed 's/.*"latency_us":{[^}]*"p99":\([0-9.]*\).*/\1/' "$WORK/run")
    awk -v us="$us" -v p99="$p99" 'BEGIN { printf "%.2f %.2f\n", us, p99 / 1000 }'
}

# metric NAME: the sum of a metric's values over the shards; 0 for another contender.
metric() {
    [[ $CONTENDER == ringway ]] || { echo 0; return; }
    curl --silent --fail --unix-socket "$WORK/ringway-$GATEWAY_PORT.sock" http://admin/metrics |
        awk -v name="$1" 'index($1, name) == 1 { sum += $2 } END { print sum + 0 }'
}

# slow KIND COUNT PATH: starts slow clients and waits until they are at it; SLOW_PID ends them.
slow() {
    start slow taskset -c "$LAST_CPU" "$BENCH" slow --kind "$1" --count "$2" \
        --every "$EVERY" --url "$URL$3" --hold 10m
    SLOW_PID=$PID
    wait_line ready "$LOG" "$PID"
}

# open_count: connections that the gateway holds on its listening side; the fast client is gone.
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
    local without=() with=() p99_without=() p99_with=() round ratio held shed us p99 a b
    measure >/dev/null
    for ((round = 0; round < ROUNDS; round++)); do
        read -r us p99 < <(measure)
        without+=("$us") p99_without+=("$p99")
        shed=$(metric ringway_buffer_pressure_closes_total)
        slow "$2" "$3" "$4"
        settle
        read -r us p99 < <(measure)
        with+=("$us") p99_with+=("$p99")
        held=$(open_count)
        shed=$(($(metric ringway_buffer_pressure_closes_total) - shed))
        say "$1 round $((round + 1))/$ROUNDS: us/request ${without[-1]} without, $us with;" \
            "p99 ${p99_without[-1]} ms, $p99; $SETTLED_MS ms of CPU until settled;" \
            "$held of $3 held, $shed shed; stalled heap $(metric ringway_stalled_bytes) B"
        stop "$SLOW_PID"
    done
    a=$(median "${without[@]}") b=$(median "${with[@]}")
    ratio=$(awk "BEGIN { printf \"%.3f\", $b / $a }")
    echo "$CONTENDER, $3 $1: $a us/request without, $b with, ratio $ratio; p99" \
        "$(median "${p99_without[@]}") ms without, $(median "${p99_with[@]}") with;" \
        "$held held, $shed shed"
    [[ $CONTENDER != ringway ]] || awk "BEGIN { exit !($ratio <= $LIMIT) }" || FAILED+="$1 "
}

FAILED=''
[[ $ZERO_WINDOW == 0 ]] || compare zero-window zero-window "$ZERO_WINDOW" "/?bytes=67108864"
[[ $DRIP == 0 ]] || compare drip drip "$DRIP" /

# One slow reader of 1 GiB, on a gateway whose links have served small replies before.
stop "$GATEWAY_PID"
start_gateway "$CONTENDER" 0
PIDS=$(with_children "$GATEWAY_PID")
PIDS=${PIDS// /,}
URL="http://127.0.0.1:$GATEWAY_PORT"
measure >/dev/null
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
if [[ $CONTENDER == ringway ]]; then
    HELD=$(metric ringway_connection_held_bytes_max)
    echo "ringway, slow reader of 1 GiB: one connection held at most $HELD bytes"
    ((HELD > 0 && HELD <= 262144)) || FAILED+="reader-holds-$HELD "
fi
[[ -z $FAILED ]] || fail "above the limit ($LIMIT; 262144 bytes): $FAILED"
