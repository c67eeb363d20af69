//! The process as a service, and configurations that it refuses.

use secretscan_testkit::TestServer;
use secretscan_testkit::service::{behaves, ends};

use crate::stage::BINARY;

#[tokio::test]
async fn it_comes_up_and_stops_as_a_service_does() {
    behaves(BINARY, &[]).await;
}

#[tokio::test]
async fn a_wrong_configuration_is_told() {
    let server = TestServer::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (token, empty) = (file("token", "t0ken"), file("empty", " \n"));
    let hidden = format!("{}-path", "secret");
    let plain = file("plain", &format!("http://chat.example/{hidden}"));
    let https = file("https", "https://chat.example/x");
    let status = |more: &str| format!("[[status]]\nhost = 'github.com'\nkind = 'github'\n{more}\n");
    let channel = |more: &str| format!("[[channels]]\nname = 'c'\n{more}\n");
    let cases = [
        (status(""), "missing configuration field \"status[0]token_file\""),
        (status("token_file = '/no/such/file'"), "the token of github.com can't be read from /no/such/file"),
        (status(&format!("token_file = '{empty}'")), "the token of github.com is empty"),
        (status(&format!("token_file = '{token}'\napi = 'http://api.example'")), "use https, or set"),
        (status(&format!("token_file = '{token}'")).repeat(2), "a host of status is configured twice"),
        (status(&format!("token_file = '{token}'")).replace("'github'", "'bitbucket'"), "set link.base"),
        (channel(&format!("kind = 'slack'\nurl_file = '{plain}'")), "use https, or set"),
        (channel(&format!("kind = 'webhook'\nurl_file = '{https}'\nsecret_file = '{token}'")), "not whsec_"),
        (
            channel("kind = 'smtp'\nserver = 'm.example'\nfrom = 'a@b.example'\nto = []"),
            "at least one address",
        ),
        (channel("kind = 'slack'"), "the channel c lacks the key url_file"),
        (channel("kind = 'slack'\nurl_file = 'x'\nport = 1"), "is of a kind that has no key port"),
        (channel("kind = 'slack'\nurl_fil = 'x'"), "unknown field `url_fil`"),
        (channel("kind = 'smtp'\nserver = 'm.example'\nfrom = 'a'\nto = ['a@b.example']"), "no mail address"),
        ("[[routes]]\non = ['finding']\nchannels = ['x']".into(), "a route names the channel"),
        ("[[routes]]\non = ['anything']\nchannels = []".into(), "does not have variant constructor anything"),
    ];
    for (text, expected) in cases {
        let config = file("notifier.toml", &text);
        let url = server.url();
        let variables = [("SECRETSCAN_CONFIG", config.as_str()), ("SECRETSCAN_NATS__URL", url.as_str())];
        let (code, error) = ends(BINARY, &[], &variables).await.unwrap();
        assert_ne!(code, Some(0), "{text}");
        assert!(error.contains(expected) && !error.contains(&hidden), "{text}: {error}");
    }
}
