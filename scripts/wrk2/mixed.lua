-- Goes through the paths of a file, a path a line (default: paths.txt beside this script); every
-- thread starts at a place of its own, so that they do not ask for the same path at once.
--   wrk2 -s mixed.lua -t1 -c64 -d10s -R10000 http://127.0.0.1:8080/ -- paths.txt

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
done = dofile(here .. "report.lua").done

local threads = 0

function setup(thread)
  thread:set("first", threads * 7)
  threads = threads + 1
end

local requests, turn = {}, 0

function init(args)
  for line in io.lines(args[1] or here .. "paths.txt") do
    local path = line:match("^(/%S*)")
    if path then
      requests[#requests + 1] = wrk.format("GET", path)
    end
  end
  assert(#requests > 0, "no line of the file starts with /")
  turn = first
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end
