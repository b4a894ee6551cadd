//! Shows the layer at work, in about 15 seconds.
//!
//! ```text
//! cargo run --example quickstart
//! ```
//!
//! Without `RUNAI_*` variables it starts a fake control plane on loopback and plays a story: a burst of
//! first requests, refreshes under traffic, a revoked token, an outage of the token endpoint, and a
//! submission that is sent again. If `RUNAI_BASE_URL`, `RUNAI_CLIENT_ID` and `RUNAI_CLIENT_SECRET` (or
//! `RUNAI_CLIENT_SECRET_FILE`) are set, it makes a few calls to that control plane instead.
//!
//! The exit status is 0 only if everything went as expected.

#![allow(clippy::print_stdout, reason = "an example prints what it does")]
#![allow(
    clippy::disallowed_methods,
    reason = "and how long it takes, on the real clock"
)]

use std::{
    env,
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use runai_auth::{
    Auth, BoxError, Client, ControlPlane, Credentials,
    tower_bearer::{Reason, Report},
};
use runai_fake::{Behaviour, Kind, RunaiFake};
use tokio::time::sleep;
use tower::ServiceExt;

/// The lifetime of the fake's tokens. It is short, to keep the story short.
const LIFETIME: Duration = Duration::from_secs(8);

/// How long the token endpoint is down. A token of 8 s is refreshed in its last 2 s, so that is no problem.
const OUTAGE: Duration = Duration::from_millis(400);

type Api = Client<Full<Bytes>>;

#[tokio::main]
async fn main() -> ExitCode {
    let variables = [
        "RUNAI_BASE_URL",
        "RUNAI_CLIENT_ID",
        "RUNAI_CLIENT_SECRET",
        "RUNAI_CLIENT_SECRET_FILE",
    ];
    let played = if variables
        .iter()
        .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
    {
        call_a_control_plane().await
    } else {
        play_the_story().await
    };
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {}", Report::new(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Makes a few calls to the control plane that the environment names.
async fn call_a_control_plane() -> Result<(), BoxError> {
    let auth = Auth::from_env()?;
    let api: Api = auth.client()?;
    println!("control plane: {}", auth.control_plane().base());
    let mut failed = 0;
    for path in [
        "/api/v1/authorization/me/access-rules",
        "/api/v1/clusters",
        "/api/v1/org-unit/projects",
    ] {
        let request = Request::get(auth.url(path)?).body(Full::default())?;
        let began = Instant::now();
        let (status, body) = send(&api, request).await?;
        let took = began.elapsed().as_millis();
        println!("GET {path}: {status}, {} bytes in {took} ms", body.len());
        match status {
            StatusCode::FORBIDDEN => {
                println!("  the token is valid, but its application has no access rule for this");
            }
            StatusCode::NOT_FOUND => println!("  this control plane does not have it"),
            _ => {}
        }
        if !status.is_success() && status != StatusCode::NOT_FOUND {
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(format!("{failed} of 3 calls failed").into()),
    }
}

/// Plays the story, on a fake control plane.
async fn play_the_story() -> Result<(), BoxError> {
    let fake = RunaiFake::builder()
        .application("ci-bot", "s3cr3t")
        .token_lifetime(LIFETIME)
        .start()
        .await?;

    // A program needs these three lines and no more.
    let auth = ControlPlane::new(fake.url())?.authenticate(Credentials::client("ci-bot", "s3cr3t"));
    let api: Api = auth.client()?;
    let clusters = auth.url("/api/v1/clusters")?;

    let story = Story {
        auth,
        api,
        clusters,
        began: Instant::now(),
        tally: Tally::default(),
    };
    story.tell(&format!("a fake control plane listens at {}", fake.url()));
    story.burst(&fake).await?;
    // Traffic runs in the background until the end, and must not be disturbed.
    let (played, ()) = tokio::join!(
        async {
            let played = story.events(&fake).await;
            story.tally.over.store(true, Relaxed);
            played
        },
        story.traffic(),
    );
    played?;
    story.sum_up(&fake)
}

struct Story {
    auth: Auth,
    api: Api,
    clusters: http::Uri,
    began: Instant,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    requests: AtomicU64,
    ok: AtomicU64,
    slowest_us: AtomicU64,
    over: AtomicBool,
}

impl Story {
    fn tell(&self, what: &str) {
        println!("[{:5.2} s] {what}", self.began.elapsed().as_secs_f64());
    }

    /// Sends one request, and counts how it went.
    async fn request(&self, request: Request<Full<Bytes>>) -> Option<StatusCode> {
        let began = Instant::now();
        self.tally.requests.fetch_add(1, Relaxed);
        let answer = send(&self.api, request).await;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.tally.slowest_us.fetch_max(took, Relaxed);
        match answer {
            Ok((status, _)) => {
                if status.is_success() {
                    self.tally.ok.fetch_add(1, Relaxed);
                } else {
                    self.tell(&format!("a request was answered {status}"));
                }
                Some(status)
            }
            Err(error) => {
                self.tell(&format!("a request failed: {}", Report::new(&*error)));
                None
            }
        }
    }

    async fn get(&self) -> Option<StatusCode> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = self.clusters.clone();
        self.request(request).await
    }

    /// Sends 200 requests at once, before there is a token.
    async fn burst(&self, fake: &RunaiFake) -> Result<(), BoxError> {
        join_all((0..200).map(|_| self.get())).await;
        let fetches = fake.token_requests();
        self.tell(&format!(
            "a burst of 200 first requests: {fetches} token fetch"
        ));
        expect(fetches == 1, "the burst costs one fetch")
    }

    /// Sends 40 requests a second.
    async fn traffic(&self) {
        while !self.tally.over.load(Relaxed) {
            self.get().await;
            sleep(Duration::from_millis(25)).await;
        }
    }

    async fn events(&self, fake: &RunaiFake) -> Result<(), BoxError> {
        let waits = self.auth.status().counts.waits;
        for refresh in 1..=2 {
            self.refreshed(Reason::Ahead, refresh).await?;
            self.tell("a token was refreshed ahead of its expiry, while the old one was served");
        }
        expect(
            self.auth.status().counts.waits == waits,
            "no request waits for a refresh",
        )?;

        fake.revoke_all();
        self.tell("the token is revoked in mid-traffic");
        self.refreshed(Reason::Rejected, 1).await?;
        self.tell("the next request got a 401, and was sent again with another token");

        while self
            .auth
            .status()
            .due_in
            .is_some_and(|left| left > Duration::from_millis(50))
        {
            sleep(Duration::from_millis(10)).await;
        }
        let ahead = self.auth.status().counts.refreshes.of(Reason::Ahead);
        fake.always_on_token(Some(Behaviour::status(503)));
        self.tell("the token is due, and the token endpoint is down");
        sleep(OUTAGE).await;
        fake.always_on_token(None);
        let failed = self.auth.status().counts.failed_refreshes;
        self.tell(&format!(
            "it is up again; {failed} failed refresh, and no request"
        ));
        self.refreshed(Reason::Ahead, ahead + 1).await?;
        self.tell("the token was refreshed in time");
        expect(failed > 0, "the outage hits a refresh")?;
        self.submission(fake).await
    }

    /// Sends a request with a body, whose token is rejected.
    async fn submission(&self, fake: &RunaiFake) -> Result<(), BoxError> {
        let path = "/api/v1/workloads/trainings";
        let body = r#"{"name":"a-training","projectId":"4500001","spec":{"image":"busybox"}}"#;
        let request = Request::post(self.auth.url(path)?)
            .header("content-type", "application/json")
            .body(Full::from(body))?;
        fake.revoke_all();
        let status = self.request(request).await;
        let sent: Vec<_> = fake
            .journal()
            .into_iter()
            .filter(|it| it.path == path)
            .collect();
        let statuses: Vec<_> = sent.iter().filter_map(|exchange| exchange.status).collect();
        self.tell(&format!(
            "a submission, whose token was revoked just before: {statuses:?}"
        ));
        expect(
            status == Some(StatusCode::ACCEPTED),
            "the submission is accepted",
        )?;
        let replayed = !sent.is_empty() && sent.iter().all(|exchange| exchange.body == body);
        expect(replayed, "its body arrives whole each time")
    }

    /// Waits until this many refreshes for this reason have succeeded.
    async fn refreshed(&self, reason: Reason, count: u64) -> Result<(), BoxError> {
        for _ in 0..600 {
            if self.auth.status().counts.refreshes.of(reason) >= count {
                return Ok(());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Err(format!("there was no refresh ({reason}) within 6 s").into())
    }

    fn sum_up(&self, fake: &RunaiFake) -> Result<(), BoxError> {
        let counts = self.auth.status().counts;
        let requests = self.tally.requests.load(Relaxed);
        let ok = self.tally.ok.load(Relaxed);
        let journal = fake.journal();
        let received = journal
            .iter()
            .filter(|exchange| exchange.kind == Kind::Api)
            .count() as u64;
        let slowest_ms = self.tally.slowest_us.load(Relaxed) as f64 / 1000.0;
        println!(
            "summary: requests={requests} ok={ok} failed={} token_fetches={} refreshes_ahead={} \
             refreshes_on_rejection={} retried={} slowest_ms={slowest_ms:.1}",
            requests - ok,
            fake.token_requests(),
            counts.refreshes.of(Reason::Ahead),
            counts.refreshes.of(Reason::Rejected),
            counts.retries,
        );
        expect(ok == requests, "no request fails")?;
        expect(
            received == requests + counts.retries,
            "each request is sent once, and each retry",
        )?;
        expect(
            fake.token_requests() as u64 == counts.fetches,
            "both sides count the same fetches",
        )
    }
}

/// Sends a request, and reads the whole answer.
async fn send(api: &Api, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), BoxError> {
    let response = api.clone().oneshot(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

fn expect(held: bool, what: &str) -> Result<(), BoxError> {
    match held {
        true => Ok(()),
        false => Err(format!("expectation failed: {what}").into()),
    }
}
