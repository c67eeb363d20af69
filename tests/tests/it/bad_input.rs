//! Bad input: a clear error in the request's record, a dead letter, and the services go on.

use secretscan_bus::access::Identity;
use secretscan_model::ScanState;
use secretscan_proto::v1;
use secretscan_testkit::{HttpRemote, RepositoryBuilder, generate};
use secretscan_tests::{Size, System};

const DOOR: &str = "secretscan.repository-scan.new";

/// The reasons in the dead letters, in order.
async fn dead_letters(system: &System) -> Vec<String> {
    let client = system.client(Identity::Setup).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream("DEAD_LETTERS").await.unwrap();
    let mut reasons = vec![];
    for sequence in 1..=stream.cached_info().state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        reasons.push(message.headers.get("Secretscan-Reason").unwrap().to_string());
    }
    reasons
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_read_or_is_refused_is_answered_recorded_and_kept() {
    let system = System::start(Size::default()).await.unwrap();
    let client = system.client(Identity::Requester).await.unwrap();
    let password = ["hun", "ter2"].concat();
    let cases = [
        ("".to_owned(), "the message is empty"),
        ("hello".to_owned(), "neither JSON"),
        ("{".to_owned(), "not the JSON that is expected"),
        (r#"{"url":"https://h.example/a/b"}"#.to_owned(), "unknown field `url`"),
        (r#"{"uri":""}"#.to_owned(), "neither uri nor repositoryId is given"),
        (r#"{"uri":"ftp://h.example/a/b"}"#.to_owned(), "the scheme \"ftp\" is not supported"),
        (r#"{"uri":"https://h.example"}"#.to_owned(), "names no repository path"),
        (format!(r#"{{"uri":"https://me:{password}@h.example/a/b"}}"#), "holds credentials"),
        (r#"{"repositoryId":"nobody-knows"}"#.to_owned(), "there is no repository nobody-knows"),
        (r#"{"uri":"https://h.example/a/b","repositoryId":"x"}"#.to_owned(), "both uri and repositoryId"),
        (r#"{"uri":"https://h.example/a/b","refs":["main"]}"#.to_owned(), "not the full name of a ref"),
        (r#"{"uri":"https://h.example/a/b","requestId":"a b"}"#.to_owned(), "a request id has"),
        (format!(r#"{{"uri":"{}"}}"#, "x".repeat(300_000)), "at most 262144 are accepted"),
    ];
    for (body, reason) in &cases {
        let reply = client.request(DOOR, body.clone().into()).await.unwrap();
        let answer: v1::Answer = serde_json::from_slice(&reply.payload).unwrap();
        assert!(answer.error.contains(reason), "{body:.100}: {}", answer.error);
        let scan = system.ended(&answer.request_id.parse().unwrap()).await;
        assert_eq!(scan.state, ScanState::Failed { reason: answer.error });
    }
    system.drained().await;
    let reasons = dead_letters(&system).await;
    assert_eq!(reasons.len(), cases.len());
    for ((_, expected), reason) in cases.iter().zip(&reasons) {
        assert!(reason.contains(expected), "{reason}");
    }
    let stored = system.everything_stored().await.unwrap();
    assert!(memchr::memmem::find(&stored, password.as_bytes()).is_none(), "a password is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repositories_that_can_not_be_fetched_fail_with_the_reason() {
    let system = System::start(Size::default()).await.unwrap();
    let good = generate(20, 30).unwrap();
    let open = HttpRemote::serve(&good.repository.path()).await.unwrap();
    let closed = HttpRemote::serve_with_password(&good.repository.path(), "user", "word").await.unwrap();
    let empty = RepositoryBuilder::new().unwrap().build().unwrap();
    let ask = async |uri: &str, refs: &[&str]| {
        let request = v1::NewRepositoryScan {
            uri: uri.to_owned(),
            refs: refs.iter().map(|name| (*name).to_owned()).collect(),
            ..v1::NewRepositoryScan::default()
        };
        let answer = system.bus.request_scan(&request).await.unwrap();
        assert_eq!(answer.error, "");
        system.ended(&answer.request_id.parse().unwrap()).await
    };
    let missing = format!("{}-missing", open.url());
    for (uri, refs, reason) in [
        ("/nowhere/at/all", &[][..], "there is no such repository"),
        (missing.as_str(), &[], "there is no such repository"),
        (&closed.url(), &[], "the host asks for credentials"),
        (&open.url(), &["refs/heads/no-such"], "refs/heads/no-such"),
    ] {
        let scan = ask(uri, refs).await;
        let ScanState::Failed { reason: found } = &scan.state else { panic!("{uri}: {:?}", scan.state) };
        assert!(found.contains(reason), "{uri}: {found}");
        assert!(!found.contains("\n\n"), "{found}");
    }
    let scan = ask(empty.path().to_str().unwrap(), &[]).await;
    assert_eq!((&scan.state, scan.found.clone().unwrap().commits), (&ScanState::Completed, 0));
    let scan = ask(&open.url(), &["refs/heads/main"]).await;
    assert_eq!(scan.state, ScanState::Completed, "the services go on");
    system.drained().await;
    assert_eq!(dead_letters(&system).await.len(), 4);
}
