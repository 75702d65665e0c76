# shellcheck shell=bash
# For `import`: OTLP/JSON as OpenTelemetry's own exporter writes it of calls that three sets of instrumentations have
# watched, turned into records, which are compared with what was asked and answered.

import_otlp() {
    local flavour directory=$tmp/otlp packages
    packages='opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-json-file==0.66b1'
    packages+=' openai==3.54.0 anthropic==2.12.0'
    packages+=' opentelemetry-instrumentation-genai-openai==1.3b0 opentelemetry-instrumentation-genai-anthropic==1.3b0'
    packages+=' openinference-instrumentation-openai==0.1.66 openinference-instrumentation-anthropic==3.1.0'
    packages+=' opentelemetry-instrumentation-openai==0.62.4 opentelemetry-instrumentation-anthropic==0.62.4'
    venv "$packages" tests/live/import/otlp-constraints.txt
    build_cli
    serve_llm
    mkdir "$directory"
    for flavour in genai openinference openllmetry; do
        echo "-- OTLP/JSON as $flavour has it"
        env -i "PATH=$PATH" "HOME=$tmp" "NO_PROXY=$NO_PROXY" PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" \
            tests/live/import/otlp_calls.py "$flavour" "$llm" "$directory/$flavour.jsonl" "$directory/$flavour.calls"
        cli import --from otlp-json "$directory/$flavour.jsonl" >"$directory/$flavour.records" 2>"$directory/said"
        grep -q '^14 calls turned, 20 spans that are no LLM calls left out$' "$directory/said" \
            || fail "not all calls, or not each once: $(<"$directory/said")"
        python3 tests/live/import/otlp_records.py "$flavour" "$directory/$flavour.calls" "$directory/$flavour.records"
        python3 -m json.tool "$directory/$flavour.jsonl" "$directory/pretty.json"
        cli import --quiet --from otlp-json "$directory/pretty.json" | cmp - "$directory/$flavour.records" \
            || fail 'another run, of the same over many lines, has made other records'
    done
}
