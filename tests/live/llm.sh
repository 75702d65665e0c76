# shellcheck shell=bash
# For `rig`, `genai` and `import`: a server of ours that speaks the APIs of OpenAI and Anthropic. The first two are programs
# built on libraries for LLMs, with the layer of beluga-o11y-tracing installed, which call it, and look at what then stands in
# the sandbox that each of them has inside.

# Builds a package that is no part of the workspace, by its directory. Its programs are then in $programs. It has a lock
# file of its own, with the versions of the workspace's, so most of what both depend on is built once.
programs=${examples%/examples}
build_alone() {
    echo "-- building $1"
    cargo build --quiet --locked --manifest-path "$1/Cargo.toml" --target-dir "${CARGO_TARGET_DIR:-target}"
}

# The server that plays OpenAI and Anthropic: one for all tests of a run. Its URL is in $llm.
llm=
serve_llm() {
    local port
    [ -z "$llm" ] || return 0
    port=$(free_ports 1)
    serve "$tmp/llm.log" python3 tests/live/llm_server.py "$port"
    ready "$server" "http://127.0.0.1:$port/"
    llm=http://127.0.0.1:$port/v1
}
