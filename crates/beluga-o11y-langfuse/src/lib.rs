//! Sends LLM calls to Langfuse: an exporter for beluga-o11y.
