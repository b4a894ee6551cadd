//! An upload of many pieces over loopback, without the layer and with it.

use std::{convert::Infallible, net::Ipv4Addr};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, StatusCode};
use http_body::{Body, Frame};
use http_body_util::StreamBody;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tower_bearer::{BearerAuthLayer, ReplayBody, TokenCache};
use tower_layer::Layer;
use tower_service::Service;

const PIECE: usize = 64 * 1024;
const MIB: usize = 1024 * 1024;

/// A server that reads chunked uploads to their end and answers each. Its URL.
pub async fn sink() -> std::io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 4 * PIECE];
                let mut end = Vec::new();
                while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                    end.extend_from_slice(&buffer[len.saturating_sub(7)..len]);
                    end.drain(..end.len().saturating_sub(7));
                    if end == b"\r\n0\r\n\r\n" {
                        end.clear();
                        let yes = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        if stream.write_all(yes).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    Ok(url)
}

fn request<W>(
    url: &str,
    mebibytes: usize,
    mut watch: W,
) -> Request<impl Body<Data = Bytes, Error = Infallible> + Send + Unpin + use<W>>
where
    W: FnMut() + Send + Unpin + 'static,
{
    let piece = Bytes::from(vec![7; PIECE]);
    let frames = (0..mebibytes * MIB / PIECE).map(move |_| {
        watch();
        Ok::<_, Infallible>(Frame::data(piece.clone()))
    });
    Request::post(format!("{url}/upload"))
        .body(StreamBody::new(stream::iter(frames)))
        .expect("a request")
}

type BoxedBody = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// A client without the layer, and one with it whose replay is on; both connect once and stay connected.
pub struct Uploads {
    url: String,
    bare: Client<HttpConnector, BoxedBody>,
    with: tower_bearer::BearerAuth<Client<HttpConnector, ReplayBody<BoxedBody>>>,
}

impl Uploads {
    pub async fn new(cache: TokenCache) -> std::io::Result<Self> {
        let url = sink().await?;
        let with = BearerAuthLayer::new(cache)
            .allow(&url)
            .expect("an origin")
            .layer(Client::builder(TokioExecutor::new()).build_http());
        Ok(Self {
            url,
            bare: Client::builder(TokioExecutor::new()).build_http(),
            with,
        })
    }

    pub async fn bare(&mut self, mebibytes: usize, watch: impl FnMut() + Send + Unpin + 'static) {
        let request = request(&self.url, mebibytes, watch).map(BoxedBody::new);
        let response = self.bare.call(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
    }

    pub async fn with(&mut self, mebibytes: usize, watch: impl FnMut() + Send + Unpin + 'static) {
        let request = request(&self.url, mebibytes, watch).map(BoxedBody::new);
        let response = self.with.call(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
    }
}
