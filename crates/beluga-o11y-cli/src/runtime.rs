//! A runtime for what waits for the network.

use crate::output::{Failure, Outcome};

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the system gives no runtime: {error}")))?;
    Ok(runtime.block_on(future))
}
