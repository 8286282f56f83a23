-- What every script here prints at its end: one line that scripts can read.
-- wrk2 and wrk both call done(); "errors" adds socket errors, timeouts and statuses from 400 on.

local report = {}

function report.done(summary, latency, requests)
  local errors = summary.errors
  local count = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("result: requests=%d errors=%d seconds=%.3f bytes=%d\n",
    summary.requests, count, summary.duration / 1e6, summary.bytes))
end

return report
