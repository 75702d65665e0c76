# shellcheck shell=bash
# A real collector, Rotel, between our OTLP exporter and a real Phoenix.

collector() {
    local http grpc rotel calls=$tmp/collector.jsonl
    build live_phoenix
    open_phoenix
    venv rotel==0.0.1a15
    read -r http grpc <<<"$(free_ports 2)"
    rotel=$("$venv/bin/python" -c 'import importlib.util as u; print(u.find_spec("rotel").submodule_search_locations[0])')
    ready "$open_server" "$open/healthz"
    serve "$tmp/rotel.out" env -i "HOME=$tmp" "$rotel/rotel-agent" start \
        --otlp-http-endpoint "127.0.0.1:$http" --otlp-grpc-endpoint "127.0.0.1:$grpc" \
        --exporter otlp --otlp-exporter-endpoint "$open" --otlp-exporter-protocol http --batch-timeout 200ms \
        --pid-file "$tmp/rotel.pid" --log-file "$tmp/rotel.log"
    rotel=$server
    ready "$rotel" "http://127.0.0.1:$http"
    echo "-- through a collector at 127.0.0.1:$http into the Phoenix at $open: all of them"
    ours live_phoenix calls 500 >"$calls"
    ours live_phoenix collect "http://127.0.0.1:$http" collector <"$calls"
    python3 tests/live/phoenix/read_back.py compare "$open" collector "$calls" --parents
    stop "$rotel"
}
