#!/bin/sh
# Measures a server from a second process on the same machine: single events and
# batches of 1,000 over HTTP, each next to its floor in the same run. The floor of
# single events is a request that stores nothing, that of batches the same events
# through attestlog append.
set -eu
cd "$(dirname "$0")/.."
./scripts/need.sh wrk=wrk
dir=$(mktemp -d)
server=
trap 'test -z "$server" || { kill "$server"; wait "$server" || true; }; rm -rf "$dir"' EXIT
go build -o "$dir/attestlog" ./cmd/attestlog
event='{"action":"mail.view","operation":"read","outcome":"success","actor":{"id":"alice","type":"user"},"targets":[{"type":"mail","id":"123"}],"request":{"method":"GET","path":"/mail/123","status":200},"message":"opened a mail"}'
cat >"$dir/one.lua" <<EOF
wrk.method = "POST"
wrk.body = '$event'
EOF
cat >"$dir/many.lua" <<EOF
local events = {}
for i = 1, 1000 do events[i] = '$event' end
wrk.method = "POST"
wrk.body = table.concat(events, "\n")
EOF

yes "$event" | head -500000 >"$dir/events"
start=$(date +%s%N)
"$dir/attestlog" --log "sqlite:$dir/floor.db" append "$dir/events" >"$dir/receipts"
end=$(date +%s%N)

sync # so that the disk does not write the floor's bytes during the rest
cd "$dir"
address=127.0.0.1:${PORT:-8459}
./attestlog serve --listen "$address" >out 2>err &
server=$!
until grep -q al_ out; do
	kill -0 "$server" || { cat err; exit 1; }
	sleep 0.05
done
token=$(grep -o 'al_.*' out)
run() { # threads connections script path
	wrk -t1 -c"$1" -d10s --timeout 10s --latency -H "Authorization: Bearer $token" ${2:+-s "$2"} "http://$address$3" >wrk.out
	! grep -q 'Non-2xx' wrk.out || { cat wrk.out; exit 1; }
	rate=$(sed -n 's/^Requests\/sec: *//p' wrk.out)
	p99=$(sed -n 's/^ *99% *//p' wrk.out)
}
entries=/api/v1/logs/default/entries
run 64 "" /healthz
floor=$rate
run 64 one.lua $entries
echo "$rate $p99 $floor" | awk '{printf "single events, 64 connections  %8d/s  p99 %-9s floor %d/s  ratio %.2f\n", $1, $2, $3, $1/$3}'
run 4 many.lua $entries
echo "$rate $p99 $start $end" | awk '{floor = 500000/(($4-$3)/1e9); printf "batches of 1,000              %8d/s  p99 %-9s floor %d/s  ratio %.2f\n", $1*1000, $2, floor, $1*1000/floor}'
