-- POST with a body of the given length (default 16384 bytes).
--   wrk2 -s post.lua -t1 -c64 -d10s -R10000 http://127.0.0.1:8080/ -- 16384

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
done = dofile(here .. "report.lua").done

function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/octet-stream"
  wrk.body = string.rep("r", tonumber(args[1]) or 16384)
end
