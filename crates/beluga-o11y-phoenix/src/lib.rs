//! Sends LLM calls to Arize Phoenix: an exporter for beluga-o11y.
