# shellcheck shell=bash
# rig 0.44: prompts, streams, tools, errors, cancelled calls and embeddings, each a call once in three backends, with
# content on and off. Then the example that is made with rig. Wants Rust 1.95, as rig does.

rig() {
    local line said
    build_alone tests/live/rig
    build_alone examples/rig_to_opik
    serve_llm
    echo '-- rig, and what the backends have stored'
    env -i "HOME=$tmp" "$programs/beluga-o11y-live-rig" "$llm"
    echo '-- the example rig_to_opik'
    said=$(env -i "HOME=$tmp" "$programs/rig_to_opik")
    for line in 'gpt-4o-mini +68 +15 +umbrellas +calls a tool +-' \
        'gpt-4o-mini +95 +6 +umbrellas +Yes, until noon\. +-' \
        'gpt-0 +- +- +- +- +no answer was recorded'; do
        grep -E "^ *$line" <<<"$said" || fail "no line like '$line' from the example: $said"
    done
}
