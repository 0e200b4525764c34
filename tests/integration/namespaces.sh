#!/bin/bash
# namespaces.sh - server and client in network namespaces, a cable of MTU 1500 between them
. "$(dirname "$0")/lib.sh"

server=cxe-s-$$ client=cxe-c-$$
ip netns add "$server" 2>/dev/null || skip "network namespaces are not permitted here"
at_end+=("ip netns delete $server")
ip netns exec "$server" true 2>/dev/null || skip "programs cannot be moved to a network namespace here"
ip netns add "$client"
at_end+=("ip netns delete $client")
ip link add s0 netns "$server" type veth peer name c0 netns "$client" 2>/dev/null || skip "no veth devices here"

# set_mtu BYTES
set_mtu() {
    ip -n "$server" link set s0 mtu "$1"
    ip -n "$client" link set c0 mtu "$1"
}
ip -n "$server" address add 10.77.0.1/24 dev s0
ip -n "$client" address add 10.77.0.2/24 dev c0
set_mtu 1500
for end in "$server s0" "$client c0"; do
    set -- $end
    ip -n "$1" link set lo up
    ip -n "$1" link set "$2" up
done

cxe keygen "$work/server.key" >/dev/null
cxe keygen "$work/client.key" >"$work/client.pub"
cxe keygen "$work/stranger.key" >/dev/null
cat >"$work/fabricd.yaml" <<END
listen: ["10.77.0.1:7400"]
key_file: $work/server.key
control_socket: $work/fabricd.sock
pool:
  size: 256M
tenants:
  - name: tester
    id: 1
    public_key: $(cat "$work/client.pub")
    quota: unlimited
END
ip netns exec "$server" fabricd --config "$work/fabricd.yaml" >"$work/fabricd.log" 2>&1 &
fabricd=$!
started+=("$fabricd")

export CXE_SERVER=10.77.0.1:7400 CXE_SERVER_KEY=$work/server.key.pub CXE_KEY=$work/client.key
on_client() {
    ip netns exec "$client" "$@"
}
wait_until 20 on_client cxe status

# fragments NAMESPACE: IP fragments it ever made
fragments() {
    ip netns exec "$1" awk '/^Ip: [0-9]/ { print $19 }' /proc/net/snmp
}

random_file "$work/data" $((16 << 20))
on_client cxe region create data 16M >/dev/null
on_client cxe write data "$work/data"
on_client cxe read data -o "$work/back"
same "$work/data" "$work/back"
[ "$(fragments "$server")" = 0 ] && [ "$(fragments "$client")" = 0 ] || fail "frames were fragmented"

sort_it() {
    "$@" sort -S 64M -n "$work/numbers" | sha256sum
}
seq 400000 | $python -c 'import random, sys; l = sys.stdin.readlines(); random.Random(1).shuffle(l); sys.stdout.writelines(l)' >"$work/numbers"
[ "$(sort_it)" = "$(sort_it on_client cxe run --local 8M --)" ] || fail "sort gave something else on the pool"

# Without the right key there is silence, and a clear sentence at the end of the client's patience.
if on_client cxe status --key "$work/stranger.key" --timeout 1s >"$work/stranger.out" 2>&1; then
    fail "a stranger got in"
fi
[ -s "$work/stranger.out" ] || fail "the stranger was told nothing"

# The cable takes more, then less: what was learned of the path must be unlearned.
set_mtu 9000
on_client cxe read data -o "$work/back"
same "$work/data" "$work/back"
on_client cxe write data "$work/data" &
writer=$!
set_mtu 1400
wait "$writer" || fail "the writer did not survive a smaller MTU"
on_client cxe read data -o "$work/back"
same "$work/data" "$work/back"

# A link that goes away for a moment delays, and nothing else.
on_client cxe region create long 96M >/dev/null
random_file "$work/long" $((96 << 20))
on_client cxe write long "$work/long" --timeout 20s &
writer=$!
sleep 0.2 # it is connected by then, and far from its end
ip -n "$client" link set c0 down
sleep 1
ip -n "$client" link set c0 up
wait "$writer" || fail "the writer did not survive a link that was down for a second"
on_client cxe read long -o "$work/back"
same "$work/long" "$work/back"
kill -TERM "$fabricd"
wait "$fabricd" || fail "fabricd ended with status $?"
forget "$fabricd"
