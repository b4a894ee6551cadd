//! One target's 401s are its own (G41): hours of mixed traffic, simulated.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, header::AUTHORIZATION};
use http_body_util::Empty;
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_bearer::{BearerAuthLayer, BoxError, Phase, ReplayBody, TokenCache};

use crate::support::{Control, cache, settle};

type Client = BoxCloneSyncService<Request<Empty<Bytes>>, Response<()>, BoxError>;

/// An API where everything below `/bad` rejects every token, and everything else those that were revoked.
struct Api {
    cache: TokenCache,
    control: Control,
    client: Client,
    revoked: Arc<Mutex<HashSet<String>>>,
}

impl Api {
    fn new() -> Self {
        Self::with(|layer| layer)
    }

    fn with(change: impl FnOnce(BearerAuthLayer) -> BearerAuthLayer) -> Self {
        let (cache, control) = cache();
        control.answer_all();
        let revoked = Arc::new(Mutex::new(HashSet::new()));
        let known = revoked.clone();
        let inner = service_fn(move |request: Request<ReplayBody<Empty<Bytes>>>| {
            let token = request.headers()[AUTHORIZATION].to_str().unwrap();
            let is_bad = request.uri().path().starts_with("/bad");
            let rejects = is_bad || known.lock().unwrap().contains(token);
            let status = if rejects { 401 } else { 200 };
            async move { Ok::<_, Infallible>(Response::builder().status(status).body(()).unwrap()) }
        });
        let layer = BearerAuthLayer::new(cache.clone())
            .allow("https://api.example")
            .unwrap();
        Self {
            cache,
            control,
            client: BoxCloneSyncService::new(change(layer).layer(inner)),
            revoked,
        }
    }

    async fn ask(&self, path: &str) -> u16 {
        let request = Request::get(format!("https://api.example{path}"))
            .body(Empty::new())
            .unwrap();
        let response = self.client.clone().oneshot(request).await.unwrap();
        // A refresh that nobody waits for goes on meanwhile.
        if self.cache.status().phase == Phase::Refreshing {
            settle().await;
        }
        response.status().as_u16()
    }

    /// Revokes the current token.
    fn revoke(&self) {
        let current = self.cache.token().now_or_never().unwrap().unwrap();
        let header = format!("Bearer {}", current.expose_secret());
        self.revoked.lock().unwrap().insert(header);
    }
}

/// The path of the nth request, and the seconds between two.
type Asking = (fn(usize) -> String, f64);

/// Who asks what, how often.
struct Mixture {
    name: &'static str,
    bad: Vec<Asking>,
    /// The seconds between two good requests.
    good_every: f64,
    /// The most fetches in the first hour, with the first token.
    at_most: usize,
    /// The seconds within which a good request heals.
    heals_within: f64,
}

fn one(_: usize) -> String {
    "/bad".into()
}

fn mixtures() -> Vec<Mixture> {
    fn of(path: &'static str) -> String {
        path.into()
    }
    let several: Vec<Asking> = vec![
        (|_| of("/bad/a"), 1.0),
        (|_| of("/bad/b"), 2.0),
        (|_| of("/bad/c"), 7.0),
        (|_| of("/bad/d/list"), 30.0),
        (|_| of("/bad/e?page=2"), 1.0),
    ];
    vec![
        Mixture {
            name: "one bad path each second, good ones too",
            bad: vec![(one, 1.0)],
            good_every: 1.0,
            at_most: 18,
            heals_within: 5.0,
        },
        Mixture {
            name: "good ones more often",
            bad: vec![(one, 1.0)],
            good_every: 0.4,
            at_most: 18,
            heals_within: 5.0,
        },
        Mixture {
            name: "bad ones more often",
            bad: vec![(one, 0.3)],
            good_every: 1.0,
            at_most: 18,
            heals_within: 5.0,
        },
        Mixture {
            name: "sparse good ones",
            bad: vec![(one, 1.0)],
            good_every: 60.0,
            at_most: 18,
            heals_within: 5.0,
        },
        Mixture {
            name: "very sparse good ones",
            bad: vec![(one, 1.0)],
            good_every: 900.0,
            at_most: 18,
            heals_within: 5.0,
        },
        Mixture {
            name: "a slow bad path",
            bad: vec![(one, 90.0)],
            good_every: 1.0,
            at_most: 18,
            heals_within: 5.0,
        },
        Mixture {
            name: "a very slow bad path",
            bad: vec![(one, 700.0)],
            good_every: 5.0,
            at_most: 18,
            heals_within: 5.0,
        },
        Mixture {
            name: "several bad paths",
            bad: several.clone(),
            good_every: 1.0,
            at_most: 18,
            heals_within: 5.0,
        },
        Mixture {
            name: "several bad paths, sparse good ones",
            bad: several,
            good_every: 120.0,
            at_most: 18,
            heals_within: 5.0,
        },
        Mixture {
            name: "a path whose id changes",
            bad: vec![(|turn| format!("/bad/jobs/{turn}/log"), 1.0)],
            good_every: 1.0,
            at_most: 18,
            heals_within: 5.0,
        },
        Mixture {
            name: "paths that never come again and look like names",
            bad: vec![(|turn| format!("/bad/{}", name_of(turn)), 1.0)],
            good_every: 1.0,
            at_most: 24,
            heals_within: 5.0,
        },
        Mixture {
            name: "such paths, sparse good ones",
            bad: vec![(|turn| format!("/bad/{}", name_of(turn)), 1.0)],
            good_every: 60.0,
            at_most: 24,
            // Neither the paths nor the silence of others tell a bad path from a dead token.
            heals_within: 300.0,
        },
    ]
}

/// A name without a digit.
fn name_of(turn: usize) -> String {
    format!("{turn:08}")
        .bytes()
        .map(|digit| char::from(digit - b'0' + b'a'))
        .collect()
}

/// Lets an hour pass. Returns the fetches in it.
async fn hour(api: &Api, mixture: &Mixture, from: f64) -> usize {
    let before = api.control.calls();
    let (mut due, mut turn) = (vec![0.0; mixture.bad.len()], from as usize * 100);
    let mut good = 0.0;
    let mut now = 0.0;
    while now < 3600.0 {
        for ((path, every), due) in mixture.bad.iter().zip(&mut due) {
            if now >= *due {
                *due += every;
                turn += 1;
                assert_eq!(api.ask(&path(turn)).await, 401);
            }
        }
        if now >= good {
            good += mixture.good_every;
            assert_eq!(api.ask("/good").await, 200, "{}: at {now}", mixture.name);
        }
        let next = due.iter().copied().fold(good, f64::min).max(now + 0.01);
        api.control.advance(next - now);
        now = next;
    }
    api.control.calls() - before
}

#[tokio::test]
async fn l01_a_bad_path_costs_no_more_than_an_api_that_rejects_everything() {
    for mixture in mixtures() {
        let api = Api::new();
        let mut hours = Vec::new();
        for nth in 0..2 {
            hours.push(hour(&api, &mixture, f64::from(nth) * 3600.0).await);
        }
        assert!(hours[0] <= mixture.at_most, "{}: {hours:?}", mixture.name);
        assert!(
            hours[1..].iter().all(|calls| *calls <= 12),
            "{}: {hours:?}",
            mixture.name
        );
    }
}

#[tokio::test]
async fn l01_without_retries_a_bad_path_costs_no_more_either() {
    for mixture in mixtures() {
        let api = Api::with(BearerAuthLayer::without_retry);
        let hours = [
            hour(&api, &mixture, 0.0).await,
            hour(&api, &mixture, 3600.0).await,
        ];
        assert!(
            hours[0] <= mixture.at_most + 1,
            "{}: {hours:?}",
            mixture.name
        );
        assert!(hours[1] <= 12, "{}: {hours:?}", mixture.name);
    }
}

#[tokio::test]
async fn l01_the_next_good_request_heals_while_a_bad_path_is_polled() {
    for mixture in mixtures() {
        let api = Api::new();
        for nth in 0..2 {
            hour(&api, &mixture, f64::from(nth) * 3600.0).await;
            // The bad path goes on, and the good one finds the token revoked.
            api.revoke();
            let mut waited = 0.0;
            loop {
                let (path, _) = mixture.bad[0];
                assert_eq!(api.ask(&path(nth as usize)).await, 401);
                if api.ask("/good").await == 200 {
                    break;
                }
                waited += 1.0;
                let name = mixture.name;
                assert!(waited <= mixture.heals_within, "{name}: not healed");
                api.control.advance(1.0);
            }
        }
    }
}

#[tokio::test]
async fn l01_nobody_waits_for_a_bad_path() {
    let api = Api::new();
    let t1 = api.cache.token().await.unwrap();
    assert_eq!(api.ask("/bad").await, 401);
    assert_eq!(api.ask("/good").await, 200);
    // From here on it is known.
    let waits = api.cache.status().counts.waits;
    for _ in 0..3 {
        assert_eq!(api.ask("/bad").await, 401);
        assert!(!api.cache.status().rejected);
        assert_eq!(api.ask("/good").await, 200);
    }
    assert_eq!(api.cache.status().counts.waits, waits);
    assert!(api.cache.peek().unwrap().generation() > t1.generation());
}

#[tokio::test]
async fn l01_an_accepted_token_is_not_rejected_for_others() {
    let api = Api::new();
    // The limiter is empty, so a rejected token cannot be replaced at present.
    for path in ["/bad", "/bad/x"] {
        assert_eq!(api.ask(path).await, 401);
    }
    let mut turns = 0;
    while !api.cache.status().rejected {
        turns += 1;
        assert_eq!(api.ask(&format!("/bad/{}", name_of(turns))).await, 401);
        assert!(turns < 5);
    }
    assert_eq!(api.ask("/good").await, 200);
    assert!(!api.cache.status().rejected && api.cache.has_token());
}

#[tokio::test]
async fn l01_a_target_that_is_accepted_again_complains_no_more() {
    let api = Api::new();
    api.cache.token().await.unwrap();
    // It rejects a token that others accept, and then accepts one itself.
    api.revoke();
    assert_eq!(api.ask("/good").await, 200);
    let calls = api.control.calls();
    for _ in 0..5 {
        api.control.advance(30.0);
        api.revoke();
        assert_eq!(api.ask("/good").await, 200);
    }
    assert_eq!(api.control.calls(), calls + 5);
}
