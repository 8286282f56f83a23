#!/usr/bin/env bash
# Runs a script of scripts/wrk2 against a URL: under wrk2 at a constant rate where it is installed,
# else under wrk, which is a closed loop (the output says so).
#
#   scripts/load.sh URL [--script get|post|mixed|pipelined] [--connections 64] [--threads 1]
#                       [--seconds 10] [--rate 10000] [-- ARGUMENTS OF THE SCRIPT]
#
# Exits 1 when a request failed.

source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

[[ $# -ge 1 && $1 != --help ]] || { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; exit 0; }
URL=$1 SCRIPT=get CONNECTIONS=64 THREADS=1 SECONDS_EACH=10 RATE=10000
shift
while [[ $# -gt 0 && $1 != -- ]]; do
    [[ $# -ge 2 ]] || fail "$1 needs a value; try --help"
    case $1 in
    --script) SCRIPT=$2 ;;
    --connections) CONNECTIONS=$2 ;;
    --threads) THREADS=$2 ;;
    --seconds) SECONDS_EACH=$2 ;;
    --rate) RATE=$2 ;;
    *) fail "unknown option $1; try --help" ;;
    esac
    shift 2
done
LUA="$HERE/wrk2/$SCRIPT.lua"
[[ -f $LUA && $SCRIPT != report ]] || fail "there is no script $SCRIPT"

OPTIONS=(-t"$THREADS" -c"$CONNECTIONS" -d"${SECONDS_EACH}s" --latency -s "$LUA")
if command -v wrk2 >/dev/null; then
    echo "wrk2: open loop, $RATE requests/s offered, latency from the intended start"
    TOOL=(wrk2 -R"$RATE" "${OPTIONS[@]}")
else
    need wrk wrk
    echo "wrk: closed loop (wrk2 is not installed): the rate is ignored, latency leaves out" \
        "what a stall held back; ringway-bench http1 has an open loop"
    TOOL=(wrk "${OPTIONS[@]}")
fi
"${TOOL[@]}" "$URL" "$@" | tee "$WORK/output"
grep -q '^result: requests=[1-9][0-9]* errors=0 ' "$WORK/output" || fail "requests failed"
