//! From a push to a Git host to the status that the host shows.

use secretscan_model::ScanState;
use secretscan_testkit::{Random, SecretKind, SecretText, generate};
use secretscan_tests::forge::Forge;
use secretscan_tests::{Size, System};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_gets_its_status() {
    let system = System::start(Size::default()).await.unwrap();
    let generated = generate(81, 100).unwrap();
    let mut forge = Forge::start(&system, &generated.repository.path()).await.unwrap();
    let (whole, repository) = system.request(&forge.uri()).await.unwrap();
    assert_eq!(system.ended(&whole).await.state, ScanState::Completed);
    let known = system.findings(&repository).await.unwrap().len();

    let clean = forge.push("main", "readme.txt", "nothing to see").await.unwrap();
    let verdict = forge.verdict(&clean.commit).await;
    assert_eq!((verdict.state(), forge.statuses(&clean.commit)[0].state()), ("success", "pending"));

    let SecretText { text, secrets } = SecretText::new(SecretKind::GitHubToken, &mut Random::new(1));
    let leak = forge.push("feature", "settings.ini", &text).await.unwrap();
    let verdict = forge.verdict(&leak.commit).await;
    println!("{:?} from push to status", verdict.at - leak.at);
    assert_eq!(verdict.state(), "failure");
    let words = verdict.body.to_string();
    assert!(words.contains("1 ") && words.contains("https://secretscan.example.org/requests/"), "{words}");
    assert!(!words.contains(&secrets[0].1), "{words}");
    assert_eq!(system.findings(&repository).await.unwrap().len(), known + 1);

    let beside = forge.push("main", "more.txt", "nothing here either").await.unwrap();
    assert_eq!(forge.verdict(&beside.commit).await.state(), "success", "the leak is on another branch");
    let above = forge.push("feature", "more.txt", "nothing new").await.unwrap();
    assert_eq!(forge.verdict(&above.commit).await.state(), "success", "this push did not bring it");
    // A branch with another name brings nothing, and takes nothing away.
    forge.name("copy", &leak.commit).await.unwrap();
    let [first, again] = forge.verdicts(&leak.commit, 2).await.try_into().unwrap();
    assert_eq!(first.state(), "failure");
    assert_eq!((again.state(), &again.body["description"]), (first.state(), &first.body["description"]));
    for commit in [clean.commit, beside.commit, above.commit] {
        assert_eq!(forge.statuses(&commit).len(), 2, "each state once");
    }
}
