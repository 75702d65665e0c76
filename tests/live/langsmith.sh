# shellcheck shell=bash
# LangSmith's official Python client against the sandbox, and the client's own models and rules on what our exporter
# sends. Both talk to loopback only, which the scripts enforce.

langsmith() {
    local version=0.15.0 line url=
    venv "langsmith==$version"

    echo "-- building the sandbox and the sender"
    cargo build --quiet --locked -p beluga-o11y-sandbox --example serve
    build live_langsmith_send

    # The sandbox serves until its standard input ends.
    coproc LANGSMITH { exec "$examples/serve"; }
    servers[$LANGSMITH_PID]=/dev/null
    while [ -z "$url" ]; do
        read -r -t 30 -u "${LANGSMITH[0]}" line || fail 'the sandbox did not start'
        [[ $line != LANGSMITH_ENDPOINT=* ]] || url=${line#LANGSMITH_ENDPOINT=}
    done
    echo "-- sandbox at $url"

    # No settings of whoever runs this are read.
    local -a clean=(env -i "PATH=$PATH" "HOME=$tmp" "LANGSMITH_ENDPOINT=$url" LANGSMITH_API_KEY=lsv2_pt_beluga
        LANGSMITH_TRACING=true LANGSMITH_PROJECT=official "EXPECTED_VERSION=$version" PYTHONDONTWRITEBYTECODE=1)

    echo "-- the official Python client"
    "${clean[@]}" "$venv/bin/python" tests/live/langsmith/official.py
    echo "-- what our exporter sends, in the Python client's eyes"
    ours live_langsmith_send "$url" >"$tmp/langsmith.jsonl"
    "${clean[@]}" "$venv/bin/python" tests/live/langsmith/ours.py "$tmp/langsmith.jsonl"
    stop "$LANGSMITH_PID"
}
