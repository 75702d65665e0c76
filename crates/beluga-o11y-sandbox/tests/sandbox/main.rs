//! The sandbox, seen from a client.

// It is always a test; that it says so lets helpers unwrap, too.
#[cfg(test)]
mod arrivals;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod datasets;
#[cfg(test)]
mod experiments;
#[cfg(test)]
#[cfg(feature = "otlp")]
mod exports;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod forgetting;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod http;
#[cfg(test)]
#[cfg(feature = "otlp")]
mod langfuse;
#[cfg(test)]
mod langsmith;
#[cfg(test)]
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(test)]
#[cfg(feature = "otlp")]
mod phoenix;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod scores;
#[cfg(test)]
mod storage;
