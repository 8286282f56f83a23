#!/usr/bin/env bash
# Whether reloads break streams: many streams of gRPC are held open through ringway to a mock, each
# with an echo now and then, while the configuration is changed and reloaded (SIGHUP) again and
# again. Every reload moves the route to a new cluster, by turns before one mock or another, so that
# the links under the streams belong to an endpoint that is gone; four new calls follow it.
#
#   scripts/streams.sh [--streams 10000] [--connections 100] [--reloads 1000] [--every 1s]
#                      [--gateway-cpu 0] [--load-cpu 1]
#
# --streams is in all, and divided by --connections: a listener takes 128 on each. The shard has one
# core; upstream, load and ringway's control threads share another.
#
# Exits 1 when a stream was broken, got a wrong echo or did not end with status 0, or a new call
# failed. RINGWAY_BIN and RINGWAY_BENCH_BIN name the binaries; without them they are built.

source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

STREAMS=10000 CONNECTIONS=100 RELOADS=1000 EVERY=1s GATEWAY_CPU=0 LOAD_CPU=1
while [[ $# -gt 0 ]]; do
    [[ $1 == --help ]] && { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0; }
    [[ $# -ge 2 ]] || fail "$1 needs a value; try --help"
    case $1 in
    --streams) STREAMS=$2 ;;
    --connections) CONNECTIONS=$2 ;;
    --reloads) RELOADS=$2 ;;
    --every) EVERY=$2 ;;
    --gateway-cpu) GATEWAY_CPU=$2 ;;
    --load-cpu) LOAD_CPU=$2 ;;
    *) fail "unknown option $1; try --help" ;;
    esac
    shift 2
done
((CONNECTIONS > 0 && STREAMS % CONNECTIONS == 0)) ||
    fail "--streams must be a multiple of --connections"

need taskset util-linux
need curl curl
check_cores "$GATEWAY_CPU" "$LOAD_CPU"
RINGWAY=$(binary RINGWAY_BIN cli ringway)
BENCH=$(binary RINGWAY_BENCH_BIN bench ringway-bench)
raise_nofile 4096

# metric NAME: its value on the admin page.
metric() {
    curl --silent --fail --unix-socket "$ADMIN" http://admin/metrics |
        awk -v name="$1" '$1 == name { print $2 }'
}

# private_kib: memory that is the gateway's alone.
private_kib() {
    awk '/^Private/ { sum += $2 } END { print sum }' "/proc/$GATEWAY_PID/smaps_rollup"
}

# write_config NUMBER: the configuration of a reload; the cluster and its endpoint depend on it.
write_config() {
    cat >"$WORK/next.yaml" <<-END
	version: 1
	listeners: [{address: "127.0.0.1:$GATEWAY_PORT"}]
	clusters: {app-$1: {endpoints: ["127.0.0.1:${PORTS[$1 % 2]}"], protocol: http2}}
	settings: {admin: "unix:$ADMIN", shards: 1, cpus: "$GATEWAY_CPU", access_log: "off"}
	routes: [{id: echo, cluster: app-$1}]
	END
    mv "$WORK/next.yaml" "$WORK/ringway.yaml"
}

# reload NUMBER: waits until it is in force, and asks for more.
reload() {
    write_config "$1"
    kill -HUP "$GATEWAY_PID"
    for _ in $(seq 2000); do
        [[ $(metric ringway_config_generation) != "$(($1 + 1))" ]] || { call; return; }
        kill -0 "$GATEWAY_PID" 2>/dev/null || { cat "$GATEWAY_LOG" >&2; fail "it ended (above)"; }
        sleep 0.005
    done
    tail "$GATEWAY_LOG" >&2
    fail "reload $1 is not in force"
}

# call: new calls, of which none may fail.
call() {
    taskset -c "$LOAD_CPU" "$BENCH" grpc --url "http://127.0.0.1:$GATEWAY_PORT/" \
        --connections 2 --streams 2 --requests 4 >"$WORK/call" ||
        { cat "$WORK/call" >&2; fail "new calls failed (above)"; }
}

PORTS=()
for _ in first second; do
    start_upstream 100 "$LOAD_CPU" --protocol http2
    PORTS+=("$UPSTREAM_PORT")
done
GATEWAY_PORT=$(free_port) ADMIN="$WORK/admin.sock"
write_config 0
start ringway taskset -c "$GATEWAY_CPU,$LOAD_CPU" "$RINGWAY" run --config "$WORK/ringway.yaml"
GATEWAY_PID=$PID GATEWAY_LOG=$LOG
wait_port "$GATEWAY_PORT"

# The load ends when nobody holds the other end of its standard input.
mkfifo "$WORK/hold"
exec 9<>"$WORK/hold"
start load bash -c 'exec "$@" <"$0" 9<&-' "$WORK/hold" taskset -c "$LOAD_CPU" "$BENCH" grpc --hold \
    --url "http://127.0.0.1:$GATEWAY_PORT/" --connections "$CONNECTIONS" \
    --streams "$((STREAMS / CONNECTIONS))" --every "$EVERY" --duration 1440m --timeout 30s
LOAD_PID=$PID LOAD_LOG=$LOG
wait_line ready "$LOAD_LOG" "$LOAD_PID"

before=$(private_kib) began=$(date +%s%N)
for ((number = 1; number <= RELOADS; number++)); do reload "$number"; done
took_ms=$((($(date +%s%N) - began) / 1000000)) after=$(private_kib)
links=$(metric ringway_upstream_connects_total)
exec 9>&-
ended=0
wait "$LOAD_PID" || ended=$?
grep -v '^ready' "$LOAD_LOG" || true
echo "$RELOADS reloads in $((took_ms / 1000)) s; $links links; private memory $before KiB before," \
    "$after KiB after"
[[ $ended == 0 ]] || fail "streams were broken (above)"
