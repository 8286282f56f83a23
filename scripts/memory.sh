#!/usr/bin/env bash
# Private memory per idle keep-alive connection that made one request: growth of Private_Dirty of
# smaps_rollup between 100 and COUNT connections. ringway's receive buffers are a fixed region that
# is only touched little by little, so they are used once before (--warm), and its growth is left
# out by name where the kernel names mappings.
#
#   scripts/memory.sh [--count 9000] [--warm 5000] [--contender ringway|nginx|haproxy]
#                     [--front plain|tls|h2] [--limit-bytes 1024] [--format json]
#
# --front: HTTP/1.1, the same over TLS 1.3, or HTTP/2 in clear text.
#
# Exits 1 when ringway needs more than the limit, or a connection was lost.

source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

COUNT=9000 WARM=5000 CONTENDER=ringway LIMIT=1024 FRONT=plain FORMAT=text
while [[ $# -gt 0 ]]; do
    [[ $1 == --help ]] && { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0; }
    [[ $# -ge 2 ]] || fail "$1 needs a value; try --help"
    case $1 in
    --count) COUNT=$2 ;;
    --warm) WARM=$2 ;;
    --contender) CONTENDER=$2 ;;
    --front) FRONT=$2 ;;
    --limit-bytes) LIMIT=$2 ;;
    --format) FORMAT=$2 ;;
    *) fail "unknown option $1; try --help" ;;
    esac
    shift 2
done

BENCH=$(binary RINGWAY_BENCH_BIN bench ringway-bench)
[[ $CONTENDER == ringway ]] && RINGWAY=$(binary RINGWAY_BIN cli ringway)
raise_nofile $((COUNT + 500))
CONNS=()
case $FRONT in
plain) ;;
tls) CONNS=(--tls) && make_pair ;;
h2) CONNS=(--protocol http2) ;;
*) fail "--front is plain, tls or h2" ;;
esac
LAST_CPU=$(($(nproc) - 1))
start_upstream 100 "$LAST_CPU"
start_gateway "$CONTENDER" 0
PIDS=$(with_children "$GATEWAY_PID")
"$BENCH" conns --url "http://127.0.0.1:$GATEWAY_PORT/" --count "$COUNT" --warm "$WARM" \
    "${CONNS[@]}" --exclude "anon:ringway" --pid "${PIDS// /,}" --format json >"$WORK/result" ||
    { cat "$WORK/result" >&2; fail "the measurement failed"; }
BYTES=$(sed 's/.*"bytes_per_connection":\([-0-9.]*\).*/\1/' "$WORK/result")
if [[ $FORMAT == json ]]; then
    cat "$WORK/result"
else
    printf '%s: %.0f bytes of private memory per idle connection, %s (100 to %d connections)\n' \
        "$CONTENDER" "$BYTES" "$FRONT" "$COUNT"
fi
[[ $CONTENDER != ringway ]] || awk "BEGIN { exit !($BYTES <= $LIMIT) }" ||
    fail "more than $LIMIT bytes per idle connection"
