//! A repository that needs credentials, opened by a credential helper. (Tokens go over https only; how they are sent is
//! tested in `crates/git`.)

use secretscan_model::ScanState;
use secretscan_testkit::{HttpRemote, generate};
use secretscan_tests::{Adjust, Size, System};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_helper_opens_a_repository_and_the_password_is_kept_nowhere() {
    let password = ["correct-horse", "battery-staple"].join("-");
    let generated = generate(40, 30).unwrap();
    let path = generated.repository.path();
    let remote = HttpRemote::serve_with_password(&path, "oauth2", &password).await.unwrap();
    let helper = format!("!f() {{ echo username=oauth2; echo password={password}; }}; f");
    let adjust: Adjust = Box::new(move |repo_agent, _| repo_agent.credentials.helper = Some(helper.clone()));
    let system = System::start_with(Size::default(), adjust).await.unwrap();
    let (id, _) = system.request(&remote.url()).await.unwrap();
    assert_eq!(system.ended(&id).await.state, ScanState::Completed);
    let stored = system.everything_stored().await.unwrap();
    assert!(memchr::memmem::find(&stored, password.as_bytes()).is_none(), "a credential is stored");
    let kept = system.files().unwrap();
    assert!(memchr::memmem::find(&kept, password.as_bytes()).is_none(), "a credential is on disk");
}
