//! The sandbox, seen from a client.

// It is always a test; that it says so lets helpers unwrap, too.
#[cfg(test)]
mod faults;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod http;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod storage;
