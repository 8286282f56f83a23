-- GETs drawn at random over all routes that routes.awk writes.
--   wrk -s requests.lua -t1 -c64 -d10s http://127.0.0.1:8080/ -- ROUTES SEED

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
done = dofile(here .. "../wrk2/report.lua").done

-- They are made before the load begins: making one costs more than sending it.
local COUNT = 200000
local requests, turn = {}, 0

local function draw(routes)
  local route = math.random(0, routes - 1)
  local host, rule = math.floor(route / 20), route % 20
  local one, two = "item" .. rule * 7 + host % 11, "part" .. rule * 13 + host % 5 + 300
  local headers = { Host = "h" .. host .. ".example.com" }
  local path
  if rule < 8 then
    path = "/v1/" .. one .. "/" .. two
  elseif rule < 12 then
    path = "/v1/" .. one .. "/" .. two .. "/deep/er"
  elseif rule < 18 then
    path = "/v1/" .. one .. "/id42/" .. two
  elseif rule == 19 and host % 5 < 2 then
    path = "/v2/group" .. host % 200 .. "/123"
  else
    path = "/v3/" .. one .. "/" .. two
    headers["x-tenant"] = "t" .. host % 1000
  end
  return wrk.format("GET", path, headers)
end

function init(args)
  math.randomseed(tonumber(args[2]) or 1)
  for index = 1, COUNT do
    requests[index] = draw(tonumber(args[1]) or 1000000)
  end
end

function request()
  turn = turn % COUNT + 1
  return requests[turn]
end
