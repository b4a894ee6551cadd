//! A limit on the time of a step.

use std::time::Duration;

use crate::failure::{Failure, UNREACHABLE};

/// Waits for a step, for at most `limit`.
pub(super) async fn within<F: Future>(limit: Duration, step: F) -> Result<F::Output, Failure> {
    tokio::time::timeout(limit, step).await.map_err(|_| {
        Failure::new(
            UNREACHABLE,
            format!("no answer within {} s", limit.as_secs_f32()),
            "Check that no firewall blocks the connection, and that HTTPS_PROXY is set if a proxy is needed",
        )
    })
}
