-- GET of the URL's own path.
--   wrk2 -s get.lua -t1 -c64 -d10s -R10000 http://127.0.0.1:8080/

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
done = dofile(here .. "report.lua").done

wrk.method = "GET"
