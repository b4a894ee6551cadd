//! The user of a context, and what it logs in with.

use super::{Folder, load_text, message, user};
use crate::kubeconfig::{LoginMethod, Oidc, load};

const OIDC: &str = "{auth-provider: {name: oidc, config: {client-id: runai-cli, client-secret: s3cret, \
     idp-issuer-url: 'https://idp/realms/acme', id-token: the.id.token, refresh-token: the.refresh.token, \
     auth-flow: cli, realm: acme, airgapped: 'false', redirect-uri: 'https://acme'}}}";

fn login(text: &str) -> LoginMethod {
    user(&Folder::new(), text).unwrap().login
}

fn oidc(text: &str) -> Oidc {
    match login(text) {
        LoginMethod::Oidc(oidc) => oidc,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_run_ai_cli_left_a_login() {
    let folder = Folder::new();
    let found = user(&folder, OIDC).unwrap();
    assert_eq!(
        (found.name.as_str(), found.context.as_str()),
        ("me", "main")
    );
    assert_eq!(found.file, folder.join("config"));

    let oidc = oidc(OIDC);
    assert_eq!(oidc.client_id, "runai-cli");
    assert_eq!(oidc.client_secret.unwrap().as_str(), "s3cret");
    assert_eq!(oidc.issuer, "https://idp/realms/acme");
    assert_eq!(oidc.id_token.unwrap().as_str(), "the.id.token");
    assert_eq!(oidc.refresh_token.unwrap().as_str(), "the.refresh.token");
}

#[test]
fn what_is_empty_is_not_there() {
    let config =
        "{client-id: c, idp-issuer-url: i, client-secret: '', id-token:, refresh-token: ''}";
    let oidc = oidc(&format!(
        "{{auth-provider: {{name: oidc, config: {config}}}}}"
    ));
    assert!(
        oidc.client_secret.is_none() && oidc.id_token.is_none() && oidc.refresh_token.is_none()
    );
}

#[test]
fn what_the_provider_lacks_is_named() {
    for (config, missing) in [
        ("{client-id: c}", "idp-issuer-url"),
        ("{idp-issuer-url: i, id-token: SECRET}", "client-id"),
        ("null", "client-id"),
    ] {
        let folder = Folder::new();
        let text = format!("{{auth-provider: {{name: oidc, config: {config}}}}}");
        let error = message(user(&folder, &text));
        let file = folder.join("config");
        let whose = format!("{}: user \"me\" of context \"main\"", file.display());
        assert_eq!(
            error,
            format!("{whose}: its auth-provider has no {missing}")
        );
    }
}

#[test]
fn a_token_comes_before_all_and_its_file_before_it() {
    let folder = Folder::new();
    let all = "{token: a, tokenFile: sub/t, auth-provider: {name: oidc}}";
    match user(&folder, all).unwrap().login {
        LoginMethod::TokenFile(path) => assert_eq!(path, folder.join("sub/t")),
        other => panic!("{other:?}"),
    }
    for other in [
        "auth-provider: {name: oidc}",
        "exec: {apiVersion: old, command: x}",
    ] {
        match login(&format!("{{token: abc, {other}}}")) {
            LoginMethod::Token(token) => assert_eq!(token.as_str(), "abc"),
            other => panic!("{other:?}"),
        }
    }
    let absolute = folder.join("absolute");
    match login(&format!("{{tokenFile: '{}'}}", absolute.display())) {
        LoginMethod::TokenFile(path) => assert_eq!(path, absolute),
        other => panic!("{other:?}"),
    }
    let both = "{token: abc, exec: {command: x}, auth-provider: {name: oidc}}";
    let error = message(user(&folder, both));
    assert!(
        error.ends_with("it has both exec and auth-provider"),
        "{error}"
    );
}

#[test]
fn what_there_is_instead_is_told() {
    for (text, expected) in [
        ("{client-certificate-data: SECRET}", "a client certificate"),
        (
            "{client-certificate: c.pem, client-key: k.pem}",
            "a client certificate",
        ),
        ("{username: u, password: SECRET}", "a username and password"),
        ("{auth-provider: {name: gcp}}", "the auth provider \"gcp\""),
        ("{token: ''}", "nothing"),
        ("null", "nothing"),
    ] {
        match login(text) {
            LoginMethod::None(other) => assert_eq!(other, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn contexts_that_are_not_there_are_told_from_those_that_are() {
    let contexts = |count: usize| {
        let names = (0..count).map(|index| format!("{{name: c{index:02}, context: {{user: u}}}}"));
        format!("contexts: [{}]", names.collect::<Vec<_>>().join(", "))
    };
    let error = message(load_text(&contexts(0)).unwrap().user(None));
    assert!(
        error.starts_with("there is no current context; "),
        "{error}"
    );
    assert!(error.ends_with("config has no contexts"), "{error}");

    let error = message(load_text(&contexts(2)).unwrap().user(Some("other")));
    assert!(
        error.starts_with("there is no context \"other\"; "),
        "{error}"
    );
    assert!(error.ends_with("config has \"c00\", \"c01\""), "{error}");

    let error = message(load_text(&contexts(10)).unwrap().user(None));
    assert!(error.ends_with("\"c08\", \"c09\""), "{error}");
    let error = message(load_text(&contexts(12)).unwrap().user(None));
    assert!(error.ends_with("\"c08\", \"c09\" and 2 more"), "{error}");
}

#[test]
fn a_context_without_its_user_is_named() {
    let folder = Folder::new();
    let file = folder.file(
        "config",
        "contexts: [{name: a, context: {user: gone}}, {name: b}, {name: c, context: {user: [SECRET]}}]",
    );
    let config = load(std::slice::from_ref(&file)).unwrap();
    for (name, problem) in [
        ("a", "it names user \"gone\", which is missing"),
        ("b", "it names no user"),
        ("c", "user is not a text"),
    ] {
        let error = message(config.user(Some(name)));
        let expected = format!("{}: context \"{name}\": {problem}", file.display());
        assert_eq!(error, expected);
    }
}

#[test]
fn a_context_and_its_user_may_be_in_different_files() {
    let folder = Folder::new();
    let contexts = "current-context: other\ncontexts: [{name: main, context: {user: me}}]";
    let contexts = folder.file("contexts", contexts);
    let users = folder.file("sub/users", "users: [{name: me, user: {tokenFile: t}}]");
    let found = load(&[contexts, users.clone()]).unwrap().user(Some("main"));
    let found = found.unwrap();
    assert_eq!(found.file, users);
    match found.login {
        LoginMethod::TokenFile(path) => assert_eq!(path, folder.join("sub/t")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn debug_shows_no_secret() {
    let folder = Folder::new();
    let shown = format!("{:?}", user(&folder, OIDC).unwrap());
    assert!(shown.contains("https://idp/realms/acme"), "{shown}");
    for secret in ["s3cret", "the.id.token", "the.refresh.token"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let shown = format!("{:?}", login("{token: the.token}"));
    assert_eq!(shown, "Token(..)");
    let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, args: [the.arg], \
         env: [{name: X, value: the.value}]}}";
    let shown = format!("{:?}", login(exec));
    assert!(
        shown.contains("\"sh\"") && !shown.contains("the."),
        "{shown}"
    );
    let config = load(&[folder.join("config")]).unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("main") && !shown.contains("the."), "{shown}");
}
