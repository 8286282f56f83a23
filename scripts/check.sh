#!/usr/bin/env bash
# Runs every Lua script for a second under Debian's wrk, through scripts/load.sh, against the mock
# upstream and, when RINGWAY_BIN names it, against ringway in front of it. Any error fails.
# Then ringway takes the floods of floods.sh, a hundredth of each: its other client is served, and
# everything is given back; and a twentieth of streams.sh. RINGWAY_BENCH_BIN names ringway-bench;
# without it it is built.

source "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

need wrk wrk
BENCH=$(binary RINGWAY_BENCH_BIN bench ringway-bench)
LAST_CPU=$(($(nproc) - 1))
start_upstream 100 "0-$LAST_CPU"

# check NAME PORT
check() {
    local lua script
    for lua in "$HERE"/wrk2/*.lua; do
        script=$(basename "$lua" .lua)
        [[ $script == report ]] && continue
        "$HERE/load.sh" "http://127.0.0.1:$2/" --script "$script" --connections 8 --seconds 1 \
            >"$WORK/load.txt" 2>&1 ||
            { cat "$WORK/load.txt" >&2; fail "$script failed against $1"; }
        echo "$script against $1: $(grep '^result: ' "$WORK/load.txt")"
    done
}

check mock "$UPSTREAM_PORT"
if [[ -n ${RINGWAY_BIN:-} ]]; then
    RINGWAY=$(binary RINGWAY_BIN cli ringway)
    start_gateway ringway 0
    check ringway "$GATEWAY_PORT"
    "$HERE/floods.sh" --contenders ringway --scale 100 --rounds 1 --seconds 1 \
        --flags "--upstream-idle-timeout 500ms"
    "$HERE/streams.sh" --streams 500 --connections 5 --reloads 20
fi
