# shellcheck shell=bash
# A real Phoenix, what our exporter sends to it, and what Phoenix then shows of it. Phoenix is under the Elastic
# License: a server to test with, never a part of this project. All that it pulls in is pinned by a list beside the
# repository, where there is one.

phoenix_venv() {
    local list=../shared/contracts/phoenix-20.26.1-freeze.txt
    [ -e "$list" ] || list=
    venv arize-phoenix==20.26.1 "$list"
}

# `start_phoenix NAME [SETTING=VALUE...]`: a Phoenix in $venv, its URL in $url, its process in $server. Quiet, and
# without a look at the network. (Its gRPC port is on all interfaces, whatever its host is.)
start_phoenix() {
    local http grpc directory=$tmp/$1
    read -r http grpc <<<"$(free_ports 2)"
    mkdir "$directory"
    url=http://127.0.0.1:$http
    serve "$directory/log" env -i "PATH=$PATH" "HOME=$directory" "PHOENIX_WORKING_DIR=$directory" \
        PHOENIX_HOST=127.0.0.1 "PHOENIX_PORT=$http" "PHOENIX_GRPC_PORT=$grpc" \
        PHOENIX_TELEMETRY_ENABLED=false PHOENIX_ALLOW_EXTERNAL_RESOURCES=false \
        PHOENIX_DISABLE_AGENT_ASSISTANT=true PHOENIX_ENABLE_MCP_SERVER=false PHOENIX_DISCOVER_CONFIG=false \
        PHOENIX_LOGGING_LEVEL=error PHOENIX_LOG_MIGRATIONS=false \
        "${@:2}" "$venv/bin/phoenix" serve
}

# The Phoenix without authentication: one for all tests of a run. Its URL is in $open, its process in $open_server.
open=
open_phoenix() {
    phoenix_venv
    [ -z "$open" ] || return 0
    start_phoenix open
    open=$url open_server=$server
}

phoenix() {
    local read_back=tests/live/phoenix/read_back.py
    build live_phoenix
    build_cli
    open_phoenix
    # Both start at once. A queue of one: whoever sends while a span is being written is turned away.
    local admin=of-the-administrator-0123456789abcdef locked locked_server key viewer
    start_phoenix locked PHOENIX_ENABLE_AUTH=true PHOENIX_SECRET=that-signs-the-keys-0123456789abcdef \
        "PHOENIX_ADMIN_SECRET=$admin" PHOENIX_MAX_SPANS_QUEUE_SIZE=1
    locked=$url locked_server=$server

    ready "$open_server" "$open/healthz"
    echo "-- Phoenix at $open: calls of every kind, and a batch of 500"
    ours live_phoenix check "$open" phoenix
    ours live_phoenix calls 500 >"$tmp/phoenix.jsonl"
    ours live_phoenix send "$open" phoenix <"$tmp/phoenix.jsonl"
    python3 "$read_back" compare "$open" phoenix "$tmp/phoenix.jsonl"

    echo '-- the same again, and one more behind them'
    ours live_phoenix calls 0 | tail -n 1 >"$tmp/one.jsonl"
    ours live_phoenix send "$open" phoenix <"$tmp/phoenix.jsonl"
    ours live_phoenix send "$open" phoenix <"$tmp/one.jsonl"
    cat "$tmp/one.jsonl" >>"$tmp/phoenix.jsonl"
    python3 "$read_back" compare "$open" phoenix "$tmp/phoenix.jsonl"

    echo '-- the command: a check, and other calls replayed from a packed file, twice'
    cli check phoenix --url "$open" --project checked
    ours live_phoenix calls 500 >"$tmp/replayed.jsonl"
    gzip --keep "$tmp/replayed.jsonl"
    cli replay "$tmp/replayed.jsonl.gz" --to phoenix --url "$open" --project replayed
    cli replay "$tmp/replayed.jsonl.gz" --to phoenix --url "$open" --project replayed
    python3 "$read_back" compare "$open" replayed "$tmp/replayed.jsonl"

    ready "$locked_server" "$locked/healthz"
    echo "-- Phoenix with authentication at $locked: no key, a wrong one, a viewer's, a good one"
    python3 "$read_back" keys "$locked" "$admin" >"$tmp/keys"
    { read -r key && read -r viewer; } <"$tmp/keys"
    ours live_phoenix calls 0 | tail -n 1 >"$tmp/one.jsonl"
    refused 'Destination 401' ours live_phoenix send "$locked" locked <"$tmp/one.jsonl"
    refused 'Destination 401' ours live_phoenix send "$locked" locked wrong <"$tmp/one.jsonl"
    refused 'Destination 403' ours live_phoenix send "$locked" locked "$viewer" <"$tmp/one.jsonl"
    refused KeyMissing ours live_phoenix check "$locked" locked
    refused KeyRefused ours live_phoenix check "$locked" locked wrong
    refused KeyMayNotWrite ours live_phoenix check "$locked" locked "$viewer"
    ours live_phoenix check "$locked" locked "$key"
    finds missing_key phoenix --url "$locked"
    finds wrong_key phoenix --url "$locked" --api-key wrong
    finds forbidden phoenix --url "$locked" --api-key "$viewer"
    cli check phoenix --url "$locked" --api-key "$key"
    ours live_phoenix send "$locked" locked "$key" <"$tmp/one.jsonl"
    python3 "$read_back" compare "$locked" locked "$tmp/one.jsonl" --key "$key"
    echo '-- more than it can write'
    ours live_phoenix flood "$locked" locked "$key"
    stop "$locked_server"
    refused Unreachable ours live_phoenix check "$locked" locked "$key"
}
