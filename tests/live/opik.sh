# shellcheck shell=bash
# Opik's official clients, Python and TypeScript, against the sandbox; the Python client's own models on what our
# exporter sends; and datasets, experiments and scores, of each client what the other has made.

opik() {
    want node npm
    local server url
    venv opik==2.2.122
    local typescript=opik@2.0.40
    echo "-- installing $typescript"
    mkdir "$tmp/node"
    (cd "$tmp/node" && npm init --yes >/dev/null 2>&1 \
        && npm install --silent --no-audit --no-fund --no-update-notifier --prefer-offline "$typescript")

    echo "-- building the sandbox and our clients"
    cargo build --quiet --locked -p beluga-o11y-sandbox --example serve
    build live_opik_send live_opik_experiments

    # The sandbox serves until its standard input ends.
    coproc SANDBOX { exec "$examples/serve"; }
    servers[$SANDBOX_PID]=/dev/null
    read -r -t 30 -u "${SANDBOX[0]}" server || fail 'the sandbox did not start'
    url=${server#OPIK_URL_OVERRIDE=}
    echo "-- sandbox at $url"

    # Their own telemetry is off, and no settings of whoever runs this are read. LiteLLM, which the Python client uses
    # when a task raises, would fetch its prices.
    local -a clean=(env -i "PATH=$PATH" "HOME=$tmp" "OPIK_URL_OVERRIDE=$url" OPIK_WORKSPACE=default
        OPIK_PROJECT_NAME=official OPIK_SENTRY_ENABLE=false OPIK_ANALYTICS_ENABLE=false
        OPIK_SUPPRESS_BATCHING_UPDATE_WARNING=true LITELLM_LOCAL_MODEL_COST_MAP=true PYTHONDONTWRITEBYTECODE=1
        "OPIK_CONFIG_PATH=$tmp/none.config")
    : >"$tmp/none.config"

    echo "-- the official Python client"
    "${clean[@]}" "$venv/bin/python" tests/live/opik/official.py
    echo "-- the official TypeScript client"
    cp tests/live/opik/official.mjs "$tmp/node/"
    (cd "$tmp/node" && "${clean[@]}" node official.mjs)
    echo "-- what our exporter sends, in the Python client's eyes"
    "$examples/live_opik_send" "$url" >"$tmp/meant.jsonl"
    "${clean[@]}" "$venv/bin/python" tests/live/opik/ours.py "$tmp/meant.jsonl"
    echo "-- datasets and experiments, the official Python client's and ours"
    "${clean[@]}" "$venv/bin/python" tests/live/opik/experiments.py "$examples/live_opik_experiments"
    stop "$SANDBOX_PID"
}
