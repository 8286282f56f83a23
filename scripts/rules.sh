#!/usr/bin/env bash
# What many routes cost a request: CPU microseconds of ringway with one route and with a million.
#
# Two gateways with one shard each are pinned to one core; the mock upstream and wrk (closed loop)
# share another. Both are asked the same requests, drawn at random over all routes; the one route
# takes everything. CPU is user + system of the process over the requests wrk counted. Rounds are
# interleaved, since the speed of a shared machine changes by the minute.
#
#   scripts/rules.sh [--rounds 9] [--seconds 4] [--routes 1000000] [--connections 64]
#                    [--gateway-cpu 0] [--load-cpu 1]
#
# It prints medians and the median of each round's ratio; it judges nothing but that no request
# fails. RINGWAY_BIN and RINGWAY_BENCH_BIN name the binaries; without them they are built.

source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

ROUNDS=9 SECONDS_EACH=4 ROUTES=1000000 CONNECTIONS=64 GATEWAY_CPU=0 LOAD_CPU=1
while [[ $# -gt 0 ]]; do
    [[ $1 == --help ]] && { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0; }
    [[ $# -ge 2 ]] || fail "$1 needs a value; try --help"
    case $1 in
    --rounds) ROUNDS=$2 ;;
    --seconds) SECONDS_EACH=$2 ;;
    --routes) ROUTES=$2 ;;
    --connections) CONNECTIONS=$2 ;;
    --gateway-cpu) GATEWAY_CPU=$2 ;;
    --load-cpu) LOAD_CPU=$2 ;;
    *) fail "unknown option $1; try --help" ;;
    esac
    shift 2
done

need wrk wrk
need taskset util-linux
check_cores "$GATEWAY_CPU" "$LOAD_CPU"
RINGWAY=$(binary RINGWAY_BIN cli ringway)
BENCH=$(binary RINGWAY_BENCH_BIN bench ringway-bench)
raise_nofile 4096

declare -A PORTS PIDS CPUS
RATIOS=''

# begin NAME ROUTES: a gateway, waited for.
begin() {
    start_routes "$1" "$GATEWAY_CPU" "$GATEWAY_CPU" "$2"
    wait_port "$GATEWAY_PORT"
    PORTS[$1]=$GATEWAY_PORT PIDS[$1]=$GATEWAY_PID CPUS[$1]=''
}

# measure NAME SECONDS SEED: sets US, the CPU time of a request.
measure() {
    local before after
    before=$(cpu_us "${PIDS[$1]}")
    wrk_routes "$LOAD_CPU" "${PORTS[$1]}" "$CONNECTIONS" "$2" "$ROUTES" "$3"
    [[ $ERRORS == 0 && $REQUESTS -gt 0 ]] || fail "$ERRORS of $REQUESTS requests failed"
    after=$(cpu_us "${PIDS[$1]}")
    US=$(awk "BEGIN { printf \"%.2f\", ($after - $before) / $REQUESTS }")
}

write_routes "$ROUTES"
start_upstream 100 "$LOAD_CPU"
begin one 'routes: [{id: all, cluster: app}]'
begin many 'route_files: [routes.jsonl]'
for name in one many; do measure "$name" 1 0; done
ORDER=(one many)
for ((round = 1; round <= ROUNDS; round++)); do
    declare -A NOW=()
    for name in "${ORDER[@]}"; do
        measure "$name" "$SECONDS_EACH" "$round"
        NOW[$name]=$US CPUS[$name]+=" $US"
    done
    RATIOS+=" $(awk "BEGIN { printf \"%.4f\", ${NOW[many]} / ${NOW[one]} }")"
    say "round $round/$ROUNDS: ${NOW[one]} and ${NOW[many]} us/request"
    # The one that went first goes second next.
    ORDER=("${ORDER[1]}" "${ORDER[0]}")
done

echo "CPU us/request (user + system), medians of $ROUNDS interleaved rounds of $SECONDS_EACH s,"
echo "closed loop (wrk, $CONNECTIONS connections), one shard on core $GATEWAY_CPU, upstream and"
echo "load on core $LOAD_CPU; ratio = median of the rounds' ratios"
printf '%10s %10s\n' routes us/request
printf '%10d %10.2f\n' 1 "$(median ${CPUS[one]})" "$ROUTES" "$(median ${CPUS[many]})"
printf '%10s %10s\n' ratio "$(median ${RATIOS})"
