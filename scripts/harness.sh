# Sourced by the scripts beside it: starting, waiting for, measuring and ending processes.
# Not a script of its own. Everything started through `start` is killed when the script ends.

set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$HERE")
RINGWAY_FLAGS=()
WORK=$(mktemp -d "${TMPDIR:-/tmp}/ringway-scripts.XXXXXX")

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$(basename "$0"): $*"
    exit 1
}

# Only jobs that still run are asked: the number of one that ended may belong to somebody else.
end_all() {
    local code=$? pid
    trap - EXIT INT TERM
    for pid in $(jobs -rp); do kill -TERM "$pid" 2>/dev/null || true; done
    for _ in $(seq 60); do
        [[ -n $(jobs -rp) ]] || break
        sleep 0.05
    done
    # Whoever is still there after three seconds has had its chance.
    for pid in $(jobs -rp); do kill -KILL "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$WORK"
    exit "$code"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# need TOOL PACKAGE: fails with the package's name when TOOL is missing.
need() { command -v "$1" >/dev/null || fail "$1 is missing; install it: apt-get install $2"; }

# listens PORT: whether somebody answers there.
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port: a port below the ephemeral range that nobody listens on.
free_port() {
    local port
    for _ in $(seq 100); do
        port=$((15000 + RANDOM % 15000))
        listens "$port" || { echo "$port"; return; }
    done
    fail "no free port"
}

# start NAME COMMAND...: runs it in the background; PID and LOG tell which and where it writes.
start() {
    LOG="$WORK/$1.log"
    shift
    : >"$LOG"
    "$@" >"$LOG" 2>&1 &
    PID=$!
}

# wait_port PORT: waits until the process started last listens there.
wait_port() {
    for _ in $(seq 400); do
        if listens "$1"; then return; fi
        kill -0 "$PID" 2>/dev/null || { cat "$LOG" >&2; fail "it ended at start (above)"; }
        sleep 0.025
    done
    cat "$LOG" >&2
    fail "nobody listens on port $1 after 10 s"
}

# wait_line WORD LOG PID: waits until the process has written a line that starts with WORD.
wait_line() {
    for _ in $(seq 2400); do
        if grep -q "^$1" "$2"; then return; fi
        kill -0 "$3" 2>/dev/null || { cat "$2" >&2; fail "it ended before it said $1 (above)"; }
        sleep 0.025
    done
    fail "no line $1 after 60 s"
}

# stop PID: ends one started process and waits for it.
stop() {
    kill -TERM "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

# cpu_us PID...: user and system time of the processes so far, in microseconds.
cpu_us() {
    local pid sum=0 fields
    for pid in "$@"; do
        read -r fields <"/proc/$pid/stat"
        # Fields 14 and 15, counted behind the name, which may hold blanks.
        read -r -a fields <<<"${fields##*) }"
        sum=$((sum + (fields[11] + fields[12]) * 1000000 / $(getconf CLK_TCK)))
    done
    echo "$sum"
}

# with_children PID: the process and its children.
with_children() { echo "$1" $(cat "/proc/$1/task/"*"/children"); }

# median NUMBER...
median() {
    printf '%s\n' "$@" | sort -n | awk '{ value[NR] = $1 }
        END { half = int((NR + 1) / 2); printf "%.2f\n", (value[half] + value[NR + 1 - half]) / 2 }'
}

# binary VARIABLE PACKAGE NAME: the path in $VARIABLE, else a build of PACKAGE as it is shipped.
binary() {
    if [[ -n ${!1:-} ]]; then
        [[ -x ${!1} ]] || fail "$1=${!1} is no program"
        echo "${!1}"
        return
    fi
    say "building $3 (set $1 to skip this)"
    (cd "$ROOT" && cargo build --quiet --profile dist -p "$2") >&2 || fail "cannot build $3"
    echo "${CARGO_TARGET_DIR:-$ROOT/target}/dist/$3"
}

# raise_nofile COUNT: descriptors for this script and what it starts.
raise_nofile() {
    ulimit -n "$(ulimit -Hn)"
    [[ $(ulimit -n) == unlimited || $(ulimit -n) -ge $1 ]] ||
        fail "nofile is $(ulimit -n), needed are $1; raise the hard limit (see tuning.md)"
}

# start_upstream BODY_BYTES CPU [FLAGS...]: a mock; sets UPSTREAM_PORT. $BENCH is ringway-bench.
start_upstream() {
    UPSTREAM_PORT=$(free_port)
    start upstream taskset -c "$2" "$BENCH" upstream \
        --listen "127.0.0.1:$UPSTREAM_PORT" --body-bytes "$1" "${@:3}"
    wait_port "$UPSTREAM_PORT"
    UPSTREAM_PID=$PID
}

# start_gateway NAME CPU: nginx, haproxy, envoy, ringway, or tcp, which is ringway passing bytes
# through, in front of UPSTREAM_PORT with one worker; sets GATEWAY_PORT and GATEWAY_PID. $RINGWAY
# is the binary, $RINGWAY_FLAGS more flags for it, $HEADERS as in versus.sh. $FRONT is what is
# spoken: plain (HTTP/1.1 on both sides, the default), tls (the same, with TLS downstream;
# make_pair has been called), h2 (HTTP/2 in clear text downstream), grpc (that on both sides) or
# thrift (framed, routed by method), which is all that envoy does; ringway has up to $CALLS_MAX
# calls of thrift at a time on a connection to the upstream, 1 if that is unset.
start_gateway() {
    GATEWAY_PORT=$(free_port)
    # Envoy tells what it reads by the name.
    local config="$WORK/$1.yaml" front=${FRONT:-plain}
    case $1 in
    nginx | haproxy | envoy) fill_in "$HERE/versus/$1.cfg" "$front" >"$config" ;;
    esac
    local flags=("${RINGWAY_FLAGS[@]}")
    [[ ${HEADERS:-same} != none ]] ||
        flags+=(--forwarded=false --request-id=false --via=off --date=false)
    case $1 in
    nginx) start nginx taskset -c "$2" nginx -p "$WORK" -c "$config" -e "$WORK/nginx-error.log" ;;
    haproxy) start haproxy taskset -c "$2" haproxy -db -f "$config" ;;
    envoy)
        start envoy taskset -c "$2" "$ENVOY" --config-path "$config" \
            --concurrency 1 --disable-hot-restart --log-level error
        ;;
    ringway | tcp)
        [[ $1 == ringway ]] || front=tcp
        write_ringway "$front" >"$WORK/$1.yaml"
        start "$1" taskset -c "$2" "$RINGWAY" run --config "$WORK/$1.yaml" \
            --shards 1 --cpus "$2" --access-log off \
            --admin "unix:$WORK/ringway-$GATEWAY_PORT.sock" "${flags[@]}"
        ;;
    *) fail "unknown contender $1" ;;
    esac
    wait_port "$GATEWAY_PORT"
    GATEWAY_PID=$PID
}

# fill_in FILE FRONT: a peer's configuration for a front, with its words filled in.
fill_in() {
    local lean=()
    [[ ${HEADERS:-same} == same ]] || lean=(-e '/# headers/d')
    sed -E "${lean[@]}" -e "/# in /{ /# in ([a-z0-9]+ )*$2( |\$)/!d }" \
        -e "s|@LISTEN@|$GATEWAY_PORT|; s|@UPSTREAM@|$UPSTREAM_PORT|; s|@WORK@|$WORK|" "$1"
}

# write_ringway FRONT: ringway's configuration for a front.
write_ringway() {
    local listener='' protocol='' routes='routes: [{id: all, cluster: app}]'
    [[ $1 != tls ]] ||
        listener=", tls: {certificates: [{cert: edge.pem, key: edge.key}], session_tickets: false}"
    case $1 in
    grpc) protocol='protocol: http2, ' ;;
    thrift)
        listener=', protocols: [thrift]'
        protocol="protocol: thrift, thrift: {calls_max: ${CALLS_MAX:-1}}, "
        routes='routes: [{id: echo, match: {thrift: {method: echo}}, cluster: app}]'
        ;;
    tcp) listener=', protocols: [tcp], cluster: app' protocol='protocol: tcp, ' routes='' ;;
    esac
    cat <<-END
	version: 1
	listeners: [{address: "127.0.0.1:$GATEWAY_PORT"$listener}]
	clusters: {app: {${protocol}endpoints: ["127.0.0.1:$UPSTREAM_PORT"]}}
	$routes
	END
}

# make_pair: one ECDSA P-256 certificate in $WORK, and a configuration of OpenSSL by which clients
# offer nothing but TLS 1.3 with X25519 and AES-128-GCM.
make_pair() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=edge \
        -addext subjectAltName=IP:127.0.0.1 -keyout "$WORK/edge.key" -out "$WORK/edge.pem" \
        2>/dev/null || fail "openssl made no certificate"
    cat "$WORK/edge.pem" "$WORK/edge.key" >"$WORK/edge.both"
    cat >"$WORK/openssl.cnf" <<-END
	openssl_conf = default
	[default]
	ssl_conf = ssl
	[ssl]
	system_default = client
	[client]
	MinProtocol = TLSv1.3
	Ciphersuites = TLS_AES_128_GCM_SHA256
	Groups = X25519
	END
}

# write_routes COUNT: a file of so many routes, routes.jsonl in $WORK.
write_routes() {
    say "writing $1 routes"
    awk -v routes="$1" -f "$HERE/rules/routes.awk" >"$WORK/routes.jsonl"
}

# start_routes NAME CPUS CPU ROUTES [SETTINGS]: ringway with one shard on CPU, its other threads on
# CPUS, where ROUTES are lines of YAML; sets GATEWAY_PORT, GATEWAY_PID and ADMIN, its socket. It is
# not waited for.
start_routes() {
    GATEWAY_PORT=$(free_port) ADMIN="$WORK/$1.sock"
    cat >"$WORK/$1.yaml" <<-END
	version: 1
	listeners: [{address: "127.0.0.1:$GATEWAY_PORT"}]
	clusters: {app: {endpoints: ["127.0.0.1:$UPSTREAM_PORT"]}}
	settings: {admin: "unix:$ADMIN", shards: 1, cpus: "$3", access_log: "off" ${5:+, $5}}
	$4
	END
    start "$1" taskset -c "$2" "$RINGWAY" run --config "$WORK/$1.yaml"
    GATEWAY_PID=$PID
}

# wrk_routes CPU PORT CONNECTIONS SECONDS ROUTES SEED: requests drawn over the routes that
# write_routes makes; sets REQUESTS and ERRORS (socket errors, timeouts, statuses from 400 on).
wrk_routes() {
    local output
    output=$(taskset -c "$1" wrk -t1 -c"$3" -d"$4s" --timeout 10s -s "$HERE/rules/requests.lua" \
        "http://127.0.0.1:$2/" -- "$5" "$6") || fail "wrk failed: $output"
    [[ $output =~ requests=([0-9]+)\ errors=([0-9]+) ]] || fail "wrk said no result: $output"
    REQUESTS=${BASH_REMATCH[1]} ERRORS=${BASH_REMATCH[2]}
}

# check_cores CPU...: fails when the machine lacks one of them.
check_cores() {
    local cpu
    for cpu in "$@"; do
        taskset -c "$cpu" true 2>/dev/null || fail "there is no core $cpu to pin to"
    done
}
