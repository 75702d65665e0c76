# shellcheck shell=bash
# genai 0.7.2 with its feature `otel`: chats, streams, tools, errors, cancelled calls and embeddings, each a call once in
# three backends; once with content and once without, as the environment tells genai.

genai() {
    build_alone tests/live/genai
    serve_llm
    echo '-- genai, and what the backends have stored'
    env -i "HOME=$tmp" OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true \
        "$programs/beluga-o11y-live-genai" "$llm"
    env -i "HOME=$tmp" "$programs/beluga-o11y-live-genai" "$llm"
}
