//! The errors that people meet most, as they read them.

use runai_fake::Behaviour;
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpListener};

use test_support::{Program, Scratch};

use crate::support::{ID, SECRET, builder, command, fake};

/// What is read, with the URL as BASE, and the exit code. No secret is in it.
async fn read(program: Program, url: &str) -> (i32, String) {
    let ended = program.end().await;
    assert_eq!(ended.stdout, "");
    assert!(!ended.stderr.contains(SECRET), "{}", ended.stderr);
    (ended.code(), ended.stderr.replace(url, "BASE"))
}

#[tokio::test]
async fn a_wrong_secret() {
    let fake = fake().await;
    let program = command(&["token"]).application(fake.url(), ID, SECRET);
    let program = program.var("RUNAI_CLIENT_SECRET", "wrong-one");
    assert_eq!(
        read(program, fake.url()).await,
        (
            3,
            "error: BASE refused application \"ci-bot\" (401, \"Invalid client credentials\")\n\
             hint: Check the application's name and its secret key; regenerating the key revokes the \
             previous one\n"
                .into()
        )
    );
}

#[tokio::test]
async fn no_credentials() {
    let program = command(&["token", "--base-url", "https://acme.run.ai"]);
    let (code, text) = read(program, "https://acme.run.ai").await;
    assert_eq!(code, 3);
    for part in [
        "error: no credentials for BASE were found (the environment: ",
        "mounted files: ",
        "the Run:ai CLI's login: ",
        "the kubeconfig: ",
        "\nhint: Set RUNAI_CLIENT_ID and RUNAI_CLIENT_SECRET to those of an application, mount them as the \
         files client-id and client-secret, or run `runai login`\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn a_web_page_instead_of_a_token() {
    let fake = fake().await;
    fake.always_on_version(runai_fake::EndpointVersion::V1, Some(Behaviour::html()));
    fake.always_on_version(runai_fake::EndpointVersion::V2, Some(Behaviour::html()));
    fake.always_on_version(
        runai_fake::EndpointVersion::Keycloak,
        Some(Behaviour::html()),
    );
    assert_eq!(
        read(
            command(&["token"]).application(fake.url(), ID, SECRET),
            fake.url()
        )
        .await,
        (
            1,
            "error: BASE answered a token request with a web page\n\
             hint: Check that the URL is the control plane's own, without a path of its UI\n"
                .into()
        )
    );
}

#[tokio::test]
async fn a_private_ca() {
    let fake = builder().tls(true).start().await.unwrap();
    assert_eq!(
        read(
            command(&["token"]).application(fake.url(), ID, SECRET),
            fake.url()
        )
        .await,
        (
            3,
            "error: the certificate of BASE is not trusted\n\
             hint: If its CA is a private one, add it with --ca-file\n"
                .into()
        )
    );
}

#[tokio::test]
async fn an_unknown_host() {
    let url = "https://no-such-host.invalid";
    assert_eq!(
        read(command(&["token"]).application(url, ID, SECRET), url).await,
        (
            4,
            "error: the host of BASE is unknown\n\
             hint: Check the URL, and that this machine's DNS knows the host\n"
                .into()
        )
    );
}

#[tokio::test]
async fn no_answer() {
    let fake = fake().await;
    fake.always_on_token(Some(Behaviour::fault(runai_fake::Fault::Silence)));
    let program = command(&["token", "--timeout", "100ms"]).application(fake.url(), ID, SECRET);
    let (code, text) = read(program, fake.url()).await;
    assert_eq!(code, 4);
    // The last attempt has what is left of the whole time.
    assert!(
        text.starts_with("error: BASE (application \"ci-bot\") did not answer within ")
            && text.ends_with(" ms\nhint: Check that it is up and in reach\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_forward_proxy_that_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = [0; 1024];
            // The request's head is one piece.
            let _some = stream.read(&mut read).await;
            let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    });
    let url = "https://acme.run.ai";
    let program = command(&["token"]).application(url, ID, SECRET);
    let program = program.var("HTTPS_PROXY", format!("http://user:pr0xy-s3cr3t@{proxy}"));
    let (code, text) = read(program, url).await;
    assert_eq!(code, 4);
    assert_eq!(
        text,
        format!(
            "error: the forward proxy {proxy} does not connect to BASE\n\
             hint: Check the proxy's address, user and password, and whether NO_PROXY should name the host\n"
        )
    );
}

#[tokio::test]
async fn a_login_that_ended() {
    let fake = fake().await;
    let scratch = Scratch::new();
    let config = format!(r#"{{"control_plane":{{"url":"{}"}}}}"#, fake.url());
    scratch.write("config.json", &config);
    // Its claims are `{"exp":1}`.
    let token = r#"{"accessToken":"ZTMwLmV5SmxlSEFpT2pGOS5jMmxu"}"#;
    scratch.write("authentication.json", token);
    let program = command(&["token", "--method=cli"])
        .var("RUNAI_CLI_CONFIG_PATH", scratch.root().to_str().unwrap());
    let (code, text) = read(program, fake.url()).await;
    assert_eq!(code, 3);
    assert!(
        text.starts_with("error: the login of the Run:ai CLI in ")
            && text.contains(
                " expired on Thu, 01 Jan 1970 00:00:01 GMT by this machine's clock, and cannot be refreshed\n"
            )
            && text.ends_with("hint: Run `runai login`\n"),
        "{text}"
    );
}

#[tokio::test]
async fn what_is_wrong_on_the_command_line() {
    let scratch = Scratch::new();
    let missing = scratch.name("missing");
    for (program, error, hint) in [
        (
            command(&["token"]),
            "no control plane: RUNAI_BASE_URL is not set",
            "Give --base-url",
        ),
        (
            command(&["token", "--base-url", "acme.run.ai", "--client-id", ID]),
            "no client secret is given",
            "Give --client-secret-file",
        ),
        (
            command(&["token", "--client-secret-file", &missing]).application(
                "https://acme.run.ai",
                ID,
                SECRET,
            ),
            "both RUNAI_CLIENT_SECRET and RUNAI_CLIENT_SECRET_FILE (or --client-secret-file) are given",
            "Unset one of them",
        ),
        (
            command(&[
                "token",
                "--base-url",
                "http://acme.run.ai",
                "--client-id",
                ID,
            ])
            .var("RUNAI_CLIENT_SECRET", SECRET),
            "the secret would go to http://acme.run.ai without TLS",
            "Use https\n",
        ),
        (
            command(&["token", "--ca-file", &missing]).application(
                "https://acme.run.ai",
                ID,
                SECRET,
            ),
            &format!("the file {missing} does not exist"),
            "Check its path",
        ),
    ] {
        let ended = program.end().await;
        assert_eq!(ended.code(), 2, "{ended:?}");
        let text = &ended.stderr;
        assert!(text.starts_with(&format!("error: {error}")), "{text}");
        assert!(
            hint.is_empty() || text.contains(&format!("\nhint: {hint}")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn p04_a_pipe_for_the_id_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.path("id");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let program = command(&["token", "--base-url", "https://acme.run.ai"])
        .var("RUNAI_CLIENT_ID_FILE", path)
        .var("RUNAI_CLIENT_SECRET", SECRET);
    let (code, text) = read(program, "https://acme.run.ai").await;
    assert_eq!(code, 2, "{text}");
    assert!(text.starts_with("error: RUNAI_CLIENT_ID_FILE: "), "{text}");
}

#[tokio::test]
async fn a_secret_file_that_is_not_there() {
    let scratch = Scratch::new();
    let missing = scratch.name("missing");
    let program = command(&[
        "token",
        "--base-url",
        "https://acme.run.ai",
        "--client-id",
        ID,
    ])
    .var("RUNAI_CLIENT_SECRET_FILE", &missing);
    let (code, text) = read(program, "https://acme.run.ai").await;
    assert_eq!(code, 3);
    assert_eq!(
        text,
        format!(
            "error: there is no secret for application \"{ID}\": the file {missing} does not exist\n\
             hint: Check its path\n"
        )
    );
}
