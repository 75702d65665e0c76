//! Sends LLM calls to any OpenTelemetry backend or Collector over OTLP: an exporter for beluga-o11y.
