# shellcheck shell=bash
# For `import`: payloads of LiteLLM and pairs of OpenAI's client, turned into records, which are compared with what was
# known of the calls before. LiteLLM wants its extra `mcp` for tools and for responses.

import_llm() {
    local -a clean=(env -i "PATH=$PATH" "HOME=$tmp" LITELLM_LOCAL_MODEL_COST_MAP=True PYTHONDONTWRITEBYTECODE=1
        NO_PROXY=127.0.0.1)
    local from dir=$tmp/import_llm scripts=$PWD/tests/live/import
    serve_llm
    build_cli
    mkdir "$dir"

    venv 'litellm[mcp]==1.106.2'
    echo '-- payloads of LiteLLM, by the logger of docs/cli.md'
    python3 -c '
import sys
logger, docs = (open(path).read() for path in sys.argv[1:])
sys.exit(logger not in docs)' "$scripts/litellm_logger.py" docs/cli.md || fail 'docs/cli.md has another logger for LiteLLM'
    (cd "$dir" && "${clean[@]}" "$venv/bin/python" "$scripts/litellm_calls.py" "$llm" litellm.expected) >"$tmp/litellm.log" 2>&1 \
        || fail "$(tail -n 30 "$tmp/litellm.log")"
    venv openai==2.54.0
    echo "-- pairs of OpenAI's client"
    "${clean[@]}" "$venv/bin/python" "$scripts/openai_calls.py" "$llm" "$dir/openai.jsonl" "$dir/openai.expected"

    for from in litellm openai; do
        echo "-- import --from $from"
        cli import --from "$from" "$dir/$from.jsonl" >"$dir/$from.records"
        python3 "$scripts/records.py" "$dir/$from.records" "$dir/$from.expected"
        cli import --quiet --from "$from" "$dir/$from.jsonl" | cmp - "$dir/$from.records" \
            || fail 'the records of another run are others'
        cli import --quiet --from "$from" "$dir/$from.jsonl" | cli replay - --to none
    done
}
