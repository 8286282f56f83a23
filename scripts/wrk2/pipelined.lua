-- Sends several GETs in one write (default 8) and counts every reply.
--   wrk2 -s pipelined.lua -t1 -c64 -d10s -R10000 http://127.0.0.1:8080/ -- 8

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
done = dofile(here .. "report.lua").done

local burst

function init(args)
  burst = string.rep(wrk.format("GET"), tonumber(args[1]) or 8)
end

function request()
  return burst
end
