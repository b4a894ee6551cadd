//! Puts the layer around a tonic client, which retries rejected calls: unary, client streaming and server
//! streaming, over TLS.
//!
//! ```text
//! cargo run --example grpc
//! ```
//!
//! It starts a fake control plane, and beside it a gRPC server that accepts the same tokens. The server rejects
//! any other token with `UNAUTHENTICATED`, before it reads the request's body.

#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{process::ExitCode, time::Duration};

use futures_util::{StreamExt, stream};
use http::Request;
use runai_auth::{
    BoxError, ControlPlane, Credentials, ReplayBody,
    tower_bearer::{Report, clock::ManualClock},
};
use runai_fake::RunaiFake;
use tokio::net::TcpListener;
use tonic::{
    Code, Response, Status,
    body::Body,
    transport::{
        Certificate, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig,
        server::TcpIncoming,
    },
};
use tower::ServiceBuilder;

/// The code that tonic generates for the service in build.rs.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "generated"
)]
mod rpc {
    include!(concat!(env!("OUT_DIR"), "/demo.Jobs.rs"));
}

/// A message, as prost would generate it from a .proto file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Job {
    /// The job's name.
    #[prost(string, tag = "1")]
    pub name: String,
}

fn job(number: usize) -> Job {
    Job {
        name: format!("job-{number}"),
    }
}

/// The server.
struct Jobs;

type Stream = stream::BoxStream<'static, Result<Job, Status>>;

#[tonic::async_trait]
impl rpc::jobs_server::Jobs for Jobs {
    async fn submit(&self, request: tonic::Request<Job>) -> Result<Response<Job>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn submit_all(
        &self,
        request: tonic::Request<tonic::Streaming<Job>>,
    ) -> Result<Response<Job>, Status> {
        let mut jobs = request.into_inner();
        let mut names = Vec::new();
        while let Some(job) = jobs.next().await {
            names.push(job?.name);
        }
        let name = names.join(",");
        Ok(Response::new(Job { name }))
    }

    type WatchStream = Stream;

    async fn watch(&self, request: tonic::Request<Job>) -> Result<Response<Stream>, Status> {
        let mut jobs: Vec<_> = (1..=3).map(|number| Ok(job(number))).collect();
        if request.into_inner().name == "broken" {
            jobs.truncate(1);
            jobs.push(Err(Status::unauthenticated("ended while it was watched")));
        }
        Ok(Response::new(stream::iter(jobs).boxed()))
    }
}

/// Starts the server with the fake's certificate, and returns its URL.
async fn serve(fake: &RunaiFake) -> Result<String, BoxError> {
    let (certificate, key) = fake.server_certificate_pem().ok_or("the fake speaks TLS")?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://localhost:{}", listener.local_addr()?.port());
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    let tokens = fake.clone();
    let check = move |request: tonic::Request<()>| {
        let header = request.metadata().get("authorization");
        let token = header
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        match token.is_some_and(|token| tokens.accepts(token)) {
            true => Ok(request),
            false => Err(Status::unauthenticated("invalid token")),
        }
    };
    let serving = Server::builder()
        .tls_config(tls)?
        .add_service(rpc::jobs_server::JobsServer::with_interceptor(Jobs, check))
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(serving);
    Ok(url)
}

#[tokio::main]
async fn main() -> ExitCode {
    match play().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {}", Report::new(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn play() -> Result<(), BoxError> {
    let fake = RunaiFake::builder()
        .application("ci-bot", "s3cr3t")
        .tls(true)
        .start()
        .await?;
    let ca = fake.ca_pem().ok_or("the fake speaks TLS")?;
    let url = serve(&fake).await?;
    // The limiter holds back refreshes that follow each other quickly, so the revocations below are 10 s
    // apart on this clock.
    let clock = ManualClock::new();
    let cache_clock = clock.clone();
    let auth = ControlPlane::new(fake.url())?
        .root_certificates_pem(ca.as_bytes())?
        .authenticate_with(Credentials::client("ci-bot", "s3cr3t"), |cache| {
            cache.clock(cache_clock)
        });
    let revoke = || {
        clock.advance(Duration::from_secs(10));
        fake.revoke_all();
    };

    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let channel = Channel::from_shared(url.clone())?
        .tls_config(tls)?
        .connect_lazy();
    // Around a channel the layer sees only the path of a request, so it must know the origin.
    let layer = auth.layer().allow(&url)?.assume_origin(&url)?;
    let service = ServiceBuilder::new()
        .layer(layer)
        .map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new))
        .service(channel);
    let mut jobs = rpc::jobs_client::JobsClient::new(service);

    let answer = jobs.submit(job(1)).await?.into_inner();
    println!("a unary call: {}", answer.name);

    revoke();
    let answer = jobs.submit(job(2)).await?.into_inner();
    println!("a unary call, the token revoked before: {}", answer.name);

    revoke();
    // Each job waits until the one before was taken, so the server rejects the token before the last job.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let sending = tokio::spawn(async move {
        for number in 1..=5 {
            sender.send(job(number)).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, tokio::sync::mpsc::error::SendError<Job>>(())
    });
    let receiving = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let answer = jobs.submit_all(receiving).await?.into_inner();
    sending.await??;
    if answer.name != "job-1,job-2,job-3,job-4,job-5" {
        return Err(format!("other jobs arrived: {}", answer.name).into());
    }
    println!("a client stream, rejected before its end: 5 jobs, in order");

    revoke();
    let watched = jobs.watch(job(1)).await?.into_inner().count().await;
    println!("a server stream, the token revoked before: {watched} jobs");

    let broken = Job {
        name: "broken".into(),
    };
    let mut watched = jobs.watch(broken).await?.into_inner();
    let first = watched.message().await?;
    let ended = watched.message().await;
    match (first, ended) {
        (Some(_), Err(status)) if status.code() == Code::Unauthenticated => {
            println!("UNAUTHENTICATED after the first message is passed on");
        }
        other => return Err(format!("the watch ended in another way: {other:?}").into()),
    }

    let (fetches, retried) = (fake.token_requests(), auth.status().counts.retries);
    println!("summary: token_fetches={fetches} retried={retried}");
    match (fetches, retried) {
        (4, 3) => Ok(()),
        _ => Err("expected 4 token fetches and 3 retries".into()),
    }
}
