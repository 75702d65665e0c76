# shellcheck shell=bash
# What others write of LLM calls, turned into records by `beluga-o11y import`.

import() {
    import_otlp
    import_llm
}
