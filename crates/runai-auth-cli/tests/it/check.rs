//! `runai-auth check`.

use runai_fake::{Behaviour, EndpointVersion};
use serde_json::Value;

use test_support::Scratch;

use crate::support::{ID, SECRET, builder, command, fake};

#[tokio::test]
async fn all_steps_of_a_set_up_that_works() {
    let fake = builder().tls(true).start().await.unwrap();
    let scratch = Scratch::new();
    let ca = scratch.write("ca.pem", fake.ca_pem().unwrap());
    let run = |output| {
        command(&["check", "--ca-file", &ca, "-o", output]).application(fake.url(), ID, SECRET)
    };
    let ended = run("text").end().await;
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{ended:?}");
    let signs: Vec<_> = ended
        .stdout
        .lines()
        .map(|line| {
            line.split_whitespace()
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(
        signs,
        [
            "✓ url",
            "✓ dns",
            "✓ connection",
            "✓ certificate",
            "✓ credentials",
            "✓ token",
            "✓ who",
            "✓ api",
            "✓ clock"
        ]
    );
    assert!(
        ended.stdout.contains("by \"CN=runai-fake test CA\", until"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("/api/v1/token; lives 59 min"),
        "{}",
        ended.stdout
    );
    let ended = run("json").end().await;
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["steps"].as_array().unwrap().len(), 9);
    for issued in fake.issued() {
        assert!(!ended.stdout.contains(&issued.token) && !ended.stdout.contains(SECRET));
    }
}

/// The last step's name, what is wrong, and what to do.
fn last(text: &str) -> (String, String, String) {
    let json: Value = serde_json::from_str(text).unwrap();
    assert_eq!(json["ok"], false);
    let step = json["steps"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(step["status"], "failed");
    let part = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
    (part("step"), part("detail"), part("hint"))
}

#[tokio::test]
async fn it_ends_at_the_step_that_is_wrong() {
    let fake = fake().await;
    let run = || command(&["check", "-o", "json"]).application(fake.url(), ID, SECRET);
    // No access rule.
    assert!(fake.drop_access_rule(ID));
    let ended = run().end().await;
    let (step, detail, hint) = last(&ended.stdout);
    assert_eq!((step.as_str(), ended.code()), ("api", 3));
    assert!(
        detail.contains("is not allowed to it (403, \"You do not have"),
        "{detail}"
    );
    assert!(hint.starts_with("Assign an access rule"), "{hint}");
    assert!(fake.restore_access_rule(ID));
    // A token that the API does not take.
    fake.always_on_api(Some(Behaviour::status(401)));
    let ended = run().end().await;
    let (step, detail, hint) = last(&ended.stdout);
    assert_eq!((step.as_str(), ended.code()), ("api", 3));
    assert!(
        detail.contains("rejected the token that was just issued (401"),
        "{detail}"
    );
    assert!(
        hint.contains("clocks") && hint.contains("control plane"),
        "{hint}"
    );
    fake.always_on_api(None);
    // An older control plane, without access rules.
    fake.on_api(Behaviour::status(404));
    let ended = run().end().await;
    assert!(
        ended.stdout.contains("GET /api/v1/clusters: 200"),
        "{ended:?}"
    );
    // A clock that is off.
    fake.set_clock_offset(-600);
    let ended = run().end().await;
    let (step, detail, hint) = last(&ended.stdout);
    assert_eq!((step.as_str(), ended.code()), ("clock", 1), "{ended:?}");
    // The fake states whole seconds.
    let said = ["599", "600", "601"].map(|it| format!("is {it} s ahead of the control plane's"));
    assert!(said.iter().any(|said| detail.contains(said)), "{detail}");
    assert!(hint.contains("NTP"), "{hint}");
    fake.set_clock_offset(0);
    // A secret that is wrong.
    let ended = run().var("RUNAI_CLIENT_SECRET", "wrong").end().await;
    let (step, ..) = last(&ended.stdout);
    assert_eq!((step.as_str(), ended.code()), ("token", 3));
    // Nothing there.
    let ended = run()
        .var("RUNAI_BASE_URL", "http://127.0.0.1:1")
        .end()
        .await;
    let (step, ..) = last(&ended.stdout);
    assert_eq!((step.as_str(), ended.code()), ("connection", 4));
}

#[tokio::test]
async fn the_endpoint_version_that_answered_is_shown() {
    let fake = builder()
        .endpoint_version(EndpointVersion::V1, false)
        .start()
        .await
        .unwrap();
    let ended = command(&["check"])
        .application(fake.url(), ID, SECRET)
        .end()
        .await;
    assert!(
        ended.stdout.contains("✓ token        /api/v2/token; lives"),
        "{}",
        ended.stdout
    );
}
