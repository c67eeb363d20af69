//! What becomes of a finding while its repository goes on: removed, rewritten, pushed again, renamed, decided about.

use secretscan_bus::Bus;
use secretscan_bus::access::Identity;
use secretscan_model::lifecycle::whereabouts;
use secretscan_model::{
    Finding, FindingState, Place, RepositoryId, RequestId, ScanState, Timestamp, TriageState, Whereabouts,
};
use secretscan_testkit::{Change, Random, RepositoryBuilder, SecretKind, SecretText};
use secretscan_tests::{Size, System};

struct Stage {
    system: System,
    uri: String,
    complete: Vec<RequestId>,
}

impl Stage {
    /// Scans all refs, as often as asked.
    async fn scan(&mut self) -> RepositoryId {
        let (id, repository) = self.system.request(&self.uri).await.unwrap();
        let scan = self.system.ended(&id).await;
        assert_eq!(scan.state, ScanState::Completed, "{:?}", scan.trail);
        self.complete.push(id);
        repository
    }

    /// The only finding in a file, and where it stands.
    async fn at(&self, repository: &RepositoryId, path: &str) -> (Finding, Whereabouts) {
        let mut findings = self.system.findings(repository).await.unwrap();
        findings.retain(|finding| finding.path == path.as_bytes());
        let [finding] = findings.try_into().unwrap();
        let bus = &self.system.bus;
        let standing = bus.standing(repository, &finding.id).await.unwrap();
        let survey = bus.last_survey(repository).await.unwrap();
        let is_complete = |request: &RequestId| self.complete.contains(request);
        let now = whereabouts(finding.seen.as_ref(), standing.as_ref(), survey.as_ref(), &is_complete);
        (finding, now)
    }

    async fn state(&self, repository: &RepositoryId, path: &str) -> (FindingState, Place) {
        let (_, now) = self.at(repository, path).await;
        (now.state, now.place)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finding_is_followed_through_renames_and_rewritten_history() {
    let system = System::start(Size::default()).await.unwrap();
    let SecretText { text, .. } = SecretText::new(SecretKind::GitHubToken, &mut Random::new(7));
    let mut builder = RepositoryBuilder::new().unwrap();
    let clean = builder.commit("main", [Change::write("readme", "nothing")]);
    builder.commit("main", [Change::write("old.ini", &text)]);
    let mut source = builder.build().unwrap();
    let uri = source.path().to_str().unwrap().to_owned();
    let clean = source.id(clean).to_string();
    let mut stage = Stage { system, uri, complete: vec![] };

    let repository = stage.scan().await;
    let (finding, now) = stage.at(&repository, "old.ini").await;
    assert_eq!((now.state, now.place), (FindingState::Open, Place::Tip));
    let first = finding.seen.clone().unwrap().first;
    assert_eq!(Some(&first.request), stage.complete.first());
    assert_eq!(now.last_seen.as_ref(), Some(&first));

    // Decided by an operator, whom nothing else is allowed, on the way of the command.
    let config = stage.system.users().config(&stage.system.server.url(), Identity::Operator);
    let operator = Bus::open(&config).await.unwrap();
    let expires = Timestamp(secretscan_bus::now().0 + 24 * 60 * 60 * 1_000);
    let accepted = TriageState::Accepted { expires };
    operator.decide(&repository, &finding.secret(), &accepted, "a test system", "ada").await.unwrap();

    // The fingerprint survives a rename. The new file is a finding of its own, as it must be cleaned; what was decided holds for it.
    source.push_commit("main", [Change::rename("old.ini", "new.ini")]).unwrap();
    stage.scan().await;
    assert_eq!(stage.state(&repository, "old.ini").await, (FindingState::OnlyInHistory, Place::History));
    assert_eq!(stage.state(&repository, "new.ini").await, (FindingState::Open, Place::Tip));
    let (renamed, _) = stage.at(&repository, "new.ini").await;
    assert_eq!(renamed.id.fingerprint(), finding.id.fingerprint());
    assert_ne!(renamed.id, finding.id);
    let triage = stage.system.bus.triage(&repository, &renamed.secret()).await.unwrap();
    assert_eq!((triage.state(secretscan_bus::now()), triage.state(expires)), (accepted, TriageState::Open));
    let lines = format!("one line\nand another\n{text}");
    source.push_commit("main", [Change::write("new.ini", &lines)]).unwrap();
    stage.scan().await;
    let (moved, now) = stage.at(&repository, "new.ini").await;
    assert_eq!((&moved.id, now.state), (&renamed.id, FindingState::Open));

    let with_secret = String::from_utf8(source.git(&["rev-parse", "main"]).unwrap()).unwrap();
    source.push_commit("main", [Change::delete("new.ini")]).unwrap();
    stage.scan().await;
    assert_eq!(stage.state(&repository, "new.ini").await, (FindingState::OnlyInHistory, Place::History));

    source.git(&["update-ref", "refs/heads/main", &clean]).unwrap();
    stage.scan().await;
    for path in ["old.ini", "new.ini"] {
        let (_, now) = stage.at(&repository, path).await;
        assert_eq!((now.state, now.place), (FindingState::Resolved, Place::Gone));
        let last_seen = &now.last_seen.unwrap().request;
        assert_eq!(Some(last_seen), stage.complete.iter().rev().nth(1), "by the scan before");
    }

    source.git(&["update-ref", "refs/heads/again", with_secret.trim()]).unwrap();
    stage.scan().await;
    assert_eq!(stage.state(&repository, "old.ini").await, (FindingState::Reopened, Place::History));
    assert_eq!(stage.state(&repository, "new.ini").await, (FindingState::Reopened, Place::Tip));
    // What people's commands read, and may.
    let people = stage.system.connect(Identity::Cli).await.unwrap();
    assert_eq!(people.standings(Some(&repository)).await.unwrap().len(), 2);
    assert_eq!(people.surveys().await.unwrap().len(), 1);
    assert_eq!(people.triages(None).await.unwrap().len(), 1);
    stage.system.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_in_a_rewritten_history_is_never_resolved() {
    let system = System::start(Size::default()).await.unwrap();
    let SecretText { text, .. } = SecretText::new(SecretKind::GitHubToken, &mut Random::new(8));
    let mut builder = RepositoryBuilder::new().unwrap();
    builder.commit("main", [Change::write("kept.ini", &text), Change::write("dropped.ini", &text)]);
    // More versions than are kept in full.
    for number in 0..25 {
        builder.commit("main", [Change::write("kept.ini", format!("{text}# {number}\n"))]);
    }
    let mut source = builder.build().unwrap();
    let uri = source.path().to_str().unwrap().to_owned();
    let mut stage = Stage { system, uri, complete: vec![] };
    let repository = stage.scan().await;
    assert_eq!(stage.state(&repository, "kept.ini").await, (FindingState::Open, Place::Tip));
    stage.scan().await;
    let (finding, now) = stage.at(&repository, "kept.ini").await;
    assert_eq!((finding.later.places.len(), now.state), (6, FindingState::Open), "the tip is a later one");

    // Another history, of which no commit is in the old one.
    source
        .extend(|builder| {
            builder.delete_branch("main");
            builder.message("rewritten");
            builder.commit("main", [Change::write("kept.ini", format!("# now with a comment\n{text}"))]);
        })
        .unwrap();
    stage.scan().await;
    assert_eq!(stage.state(&repository, "kept.ini").await, (FindingState::Open, Place::Tip));
    assert_eq!(stage.state(&repository, "dropped.ini").await, (FindingState::Resolved, Place::Gone));
    stage.scan().await;
    assert_eq!(stage.state(&repository, "kept.ini").await, (FindingState::Open, Place::Tip));
}
