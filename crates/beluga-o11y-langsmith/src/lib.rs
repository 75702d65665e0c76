//! Sends LLM calls to LangSmith: an exporter for beluga-o11y.
