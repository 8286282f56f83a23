# Writes a file of routes, twenty a host: 40 % exact, 20 % prefix, 30 % with a name, the rest with a
# header and a priority or a regular expression. requests.lua beside this asks for them.
#   awk -v routes=1000000 -f routes.awk >routes.jsonl

BEGIN {
    for (route = 0; route < routes; route++) {
        host = int(route / 20); rule = route % 20
        one = "item" rule * 7 + host % 11
        two = "part" rule * 13 + host % 5 + 300
        more = rule % 4 == 1 ? ",\"methods\":[\"GET\",\"POST\"]" : ""
        priority = 0
        if (rule < 8) path = "/v1/" one "/" two
        else if (rule < 12) path = "/v1/" one "/" two "/*"
        else if (rule < 18) path = "/v1/" one "/{id}/" two
        else if (rule == 19 && host % 5 < 2) path = "~^/v2/group" host % 200 "/[0-9]+$"
        else {
            path = "/v3/" one "/" two
            more = more ",\"headers\":{\"x-tenant\":\"t" host % 1000 "\"}"
            priority = 10
        }
        # A hundred plans: routes that do the same share one.
        printf "{\"id\":\"r%d\",\"cluster\":\"app\",\"priority\":%d,\"timeout\":\"%ds\",", \
            route, priority, 30 + route % 100
        printf "\"match\":{\"host\":\"h%d.example.com\",\"path\":\"%s\"%s}}\n", host, path, more
    }
}
