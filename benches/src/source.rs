//! Where all tokens come from: a source that is slow, fails or is down as a measurement wants it, and the
//! service that judges them.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use http::{HeaderMap, StatusCode, header};
use tokio::time::Instant;

use crate::workload;

/// A token as it was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    pub secret: String,
    pub lifetime: Duration,
}

/// The source is down.
#[derive(Clone, Copy, Debug)]
pub struct Down;

/// A source of numbered tokens that counts how often it is asked.
#[derive(Debug)]
pub struct Source {
    lifetime: Duration,
    takes: Duration,
    fails: bool,
    /// How long it is down from the first refresh on.
    outage: Option<Duration>,
    down_until: Mutex<Option<Instant>>,
    fetches: AtomicU64,
    began: Mutex<Vec<Instant>>,
    issued: AtomicU64,
}

impl Source {
    pub fn new(lifetime: Duration, takes: Duration) -> Self {
        Self {
            lifetime,
            takes,
            fails: false,
            outage: None,
            down_until: Mutex::new(None),
            fetches: AtomicU64::new(0),
            began: Mutex::new(Vec::new()),
            issued: AtomicU64::new(0),
        }
    }

    /// Fails each time, after it took its time.
    pub fn failing(mut self) -> Self {
        self.fails = true;
        self
    }

    /// Is down for a while, which begins when the first token is due: with the second fetch.
    pub fn down_when_due(mut self, outage: Duration) -> Self {
        self.outage = Some(outage);
        self
    }

    /// How often it was asked.
    pub fn fetches(&self) -> u64 {
        self.fetches.load(SeqCst)
    }

    /// When each fetch began.
    pub fn began(&self) -> Vec<Instant> {
        self.began
            .lock()
            .unwrap_or_else(|it| it.into_inner())
            .clone()
    }

    pub async fn fetch(&self) -> Result<Issued, Down> {
        let fetch = self.fetches.fetch_add(1, SeqCst) + 1;
        self.began
            .lock()
            .unwrap_or_else(|it| it.into_inner())
            .push(Instant::now());
        let down = self.is_down(fetch);
        if !self.takes.is_zero() {
            tokio::time::sleep(self.takes).await;
        }
        if self.fails || down {
            return Err(Down);
        }
        let number = self.issued.fetch_add(1, SeqCst) + 1;
        Ok(Issued {
            secret: format!("{number}.{}", workload::token()),
            lifetime: self.lifetime,
        })
    }

    fn is_down(&self, fetch: u64) -> bool {
        let Some(outage) = self.outage else {
            return false;
        };
        let mut until = self.down_until.lock().unwrap_or_else(|it| it.into_inner());
        if fetch == 2 {
            *until = Some(Instant::now() + outage);
        }
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether the outage has begun and ended.
    pub fn outage_is_over(&self) -> bool {
        let until = self.down_until.lock().unwrap_or_else(|it| it.into_inner());
        until.is_some_and(|until| Instant::now() >= until)
    }
}

/// Judges the tokens of requests.
#[derive(Debug, Default)]
pub struct Api {
    /// Tokens up to this number are revoked.
    revoked: AtomicU64,
    rejects_all: AtomicBool,
}

impl Api {
    /// Revokes the tokens up to this number.
    pub fn revoke(&self, number: u64) {
        self.revoked.store(number, SeqCst);
    }

    /// Rejects every token from now on.
    pub fn reject_all(&self) {
        self.rejects_all.store(true, SeqCst);
    }

    pub fn judge(&self, headers: &HeaderMap) -> StatusCode {
        self.judge_value(headers.get(header::AUTHORIZATION).map(|it| it.as_bytes()))
    }

    pub fn judge_value(&self, authorization: Option<&[u8]>) -> StatusCode {
        let number = authorization.and_then(number);
        match number {
            Some(number) if number > self.revoked.load(SeqCst) => {
                match self.rejects_all.load(SeqCst) {
                    true => StatusCode::UNAUTHORIZED,
                    false => StatusCode::OK,
                }
            }
            _ => StatusCode::UNAUTHORIZED,
        }
    }
}

/// The number of a token in a header's value.
fn number(authorization: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(authorization).ok()?;
    let (number, _) = text.strip_prefix("Bearer ")?.split_once('.')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_token_is_told_from_a_newer_one() {
        let api = Api::default();
        api.revoke(1);
        assert_eq!(api.judge_value(Some(b"Bearer 1.x")), 401);
        assert_eq!(api.judge_value(Some(b"Bearer 2.x")), 200);
        assert_eq!(api.judge_value(None), 401);
        api.reject_all();
        assert_eq!(api.judge_value(Some(b"Bearer 2.x")), 401);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_begins_with_the_first_refresh() {
        let minute = Duration::from_secs(60);
        let source = Source::new(minute, Duration::ZERO).down_when_due(Duration::from_secs(8));
        assert!(source.fetch().await.is_ok());
        tokio::time::advance(minute).await;
        assert!(source.fetch().await.is_err());
        tokio::time::advance(Duration::from_secs(7)).await;
        assert!(source.fetch().await.is_err());
        assert!(!source.outage_is_over());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(source.fetch().await.is_ok());
        assert_eq!(source.fetches(), 4);
    }
}
