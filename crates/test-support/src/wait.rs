//! Waiting, with a deadline.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// How long the tests wait for anything: far longer than it takes, even on a machine that is busy.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Waits for a future.
///
/// # Panics
///
/// Panics if the future is not ready within [`LIMIT`].
pub async fn within<F: IntoFuture>(future: F) -> F::Output {
    timeout(LIMIT, future)
        .await
        .unwrap_or_else(|_| panic!("it is not ready within {} s", LIMIT.as_secs()))
}

/// Asks until the answer is yes: first at once, then at growing intervals of at most 20 ms.
///
/// `what` names the condition; the panic's message has it.
///
/// # Panics
///
/// Panics if the answer is not yes within [`LIMIT`].
pub async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut pause = Duration::from_millis(1);
    let asking = async {
        while !holds().await {
            sleep(pause).await;
            pause = (2 * pause).min(Duration::from_millis(20));
        }
    };
    timeout(LIMIT, asking)
        .await
        .unwrap_or_else(|_| panic!("not within {} s: {what}", LIMIT.as_secs()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_asks_until_the_answer_is_yes() {
        let mut asked = 0;
        wait_for("three questions", async || {
            asked += 1;
            asked == 3
        })
        .await;
        assert_eq!(asked, 3);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "not within 60 s: the moon is blue")]
    async fn it_names_what_did_not_come() {
        wait_for("the moon is blue", async || false).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "not within 60 s: an answer")]
    async fn a_question_that_is_never_answered_ends_too() {
        wait_for("an answer", std::future::pending::<bool>).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "it is not ready within 60 s")]
    async fn a_future_that_is_never_ready_fails_the_test() {
        within(std::future::pending::<()>()).await;
    }
}
