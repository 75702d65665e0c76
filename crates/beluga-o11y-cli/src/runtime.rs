//! A runtime for what waits for the network.

use crate::output::{Failure, Outcome};

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the system gives no runtime: {error}")))?;
    let done = runtime.block_on(future);
    // A name that is being looked up cannot be called off, and nobody waits for it any more.
    runtime.shutdown_background();
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::{
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn what_blocks_is_not_waited_for() {
        let since = Instant::now();
        block_on(async {
            drop(tokio::task::spawn_blocking(|| {
                thread::sleep(Duration::from_secs(20));
            }));
            tokio::task::yield_now().await;
        })
        .unwrap();
        assert!(since.elapsed() < Duration::from_secs(10));
    }
}
