//! Rules change, and histories are scanned again with what is new.

use std::path::Path;

use secretscan_batch_agent::Config;
use secretscan_bus::access::Identity;
use secretscan_detect::{RuleSet, Scanner};
use secretscan_model::rules::resolved_by;
use secretscan_model::{
    BatchState, Finding, Priority, RepositoryId, RepositoryScan, Rescan, RuleChange, ScanState,
};
use secretscan_proto::v1;
use secretscan_testkit::{Change, Repository, RepositoryBuilder};
use secretscan_tests::{Size, System, expected_by, keys};

/// A rule for secrets of a form of their own, and one that yields to it.
fn rule(name: &str, length: usize) -> String {
    format!("[[rules]]\nid = \"{name}\"\nregex = \"{name}-[0-9a-f]{{{length}}}\"\nkeywords = [\"{name}-\"]\n")
}

const GENERIC: &str = "[[rules]]\nid = \"any\"\ngeneric = true\nregex = \"[a-z]+-[0-9a-f]{16}\"\n";

/// Each file has one secret, and one line has two.
fn repository() -> Repository {
    let mut builder = RepositoryBuilder::new().unwrap();
    let secret = |name: &str, digit: char| format!("{name}-{}\n", digit.to_string().repeat(16));
    for (number, name) in ["alpha", "beta", "gamma", "delta"].into_iter().enumerate() {
        let digit = char::from_digit(number as u32, 16).unwrap();
        builder.commit("main", [Change::write(format!("{name}.txt"), secret(name, digit))]);
    }
    let two = format!("{} {}", secret("alpha", '7').trim(), secret("gamma", '8'));
    builder.commit("main", [Change::write("two.txt", two)]);
    builder.commit("main", [Change::delete("beta.txt")]);
    builder.commit("topic", [Change::write("topic.txt", secret("gamma", '9'))]);
    builder.build().unwrap()
}

struct Stage {
    system: System,
    repository: Repository,
    rules: tempfile::TempDir,
    id: RepositoryId,
}

impl Stage {
    /// A repository that was scanned with these rules.
    async fn scanned(rules: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rules.toml");
        std::fs::write(&file, rules).unwrap();
        let adjust = move |_: &mut _, agent: &mut Config| agent.scan.rules = Some(file.clone());
        let system = System::start_with(Size { batch_commits: 2, ..Size::default() }, Box::new(adjust));
        let (system, repository) = (system.await.unwrap(), repository());
        let (id, repository_id) = system.request(repository.path().to_str().unwrap()).await.unwrap();
        assert_eq!(system.ended(&id).await.state, ScanState::Completed);
        Self { system, repository, rules: dir, id: repository_id }
    }

    fn rules_file(&self) -> std::path::PathBuf {
        self.rules.path().join("rules.toml")
    }

    fn version(&self) -> String {
        let rules = RuleSet::load(&self.rules_file(), None).unwrap();
        Scanner::new(rules.into()).version()
    }

    /// Gives the agents other rules, and scans again what is outdated.
    async fn rescan(&mut self, rules: &str) -> RepositoryScan {
        self.system.stop_services().await.unwrap();
        std::fs::write(self.rules_file(), rules).unwrap();
        self.system.start_services().await.unwrap();
        let request = v1::NewRepositoryScan {
            repository_id: self.id.to_string(),
            priority: v1::Priority::Scheduled.into(),
            rescan: self.version(),
            ..v1::NewRepositoryScan::default()
        };
        let answer = self.system.bus.request_scan(&request).await.unwrap();
        assert_eq!(answer.error, "");
        let scan = self.system.ended(&answer.request_id.parse().unwrap()).await;
        assert_eq!(
            (&scan.state, scan.priority),
            (&ScanState::Completed, Priority::Scheduled),
            "{:?}",
            scan.trail
        );
        self.system.drained().await;
        scan
    }

    /// The findings that the rules find now, and those that a change has resolved.
    async fn findings(&self) -> (Vec<Finding>, Vec<(Finding, RuleChange)>) {
        let bus = self.system.connect(Identity::Cli).await.unwrap();
        let head = bus.ledger(&self.id).head().await.unwrap();
        let mut versions = std::collections::BTreeMap::new();
        let used = head.segments.iter().map(|segment| &segment.rule_set);
        for version in used.chain(head.changes.iter().map(|change| &change.rule_set)) {
            versions.insert(version.clone(), bus.rule_set(version).await.unwrap().unwrap());
        }
        let (mut open, mut resolved) = (vec![], vec![]);
        for finding in self.system.findings(&self.id).await.unwrap() {
            match resolved_by(&finding.rule_id, &finding.matched_by, &head, &versions).cloned() {
                None => open.push(finding),
                Some(change) => resolved.push((finding, change)),
            }
        }
        (open, resolved)
    }

    /// The whole ledger is scanned with the rules of now, and what they find is what a scan from the start would.
    async fn is_as_new(&self) -> Vec<(Finding, RuleChange)> {
        let totals = self.system.bus.ledger(&self.id).head().await.unwrap().totals();
        assert_eq!(totals.iter().map(|total| total.rule_set.as_str()).collect::<Vec<_>>(), [self.version()]);
        let path = self.repository.path();
        let commits = self.repository.commits_and_parents().unwrap().len() as u64;
        assert_eq!(totals[0].commits, commits, "each commit once");
        let (open, resolved) = self.findings().await;
        assert_eq!(keys(&open), expected_of(&self.rules_file(), &self.system, &path));
        resolved
    }

    /// How many rules ran over each batch.
    async fn ran(&self, scan: &RepositoryScan) -> Vec<u64> {
        let batches = self.system.bus.batches_of(&scan.id).await.unwrap();
        let ran = batches.iter().map(|batch| match &batch.state {
            BatchState::Completed { report } => report.rules,
            state => panic!("{state:?}"),
        });
        ran.collect()
    }
}

fn expected_of(
    rules: &Path,
    system: &System,
    path: &Path,
) -> std::collections::BTreeSet<secretscan_tests::Key> {
    expected_by(&RuleSet::load(rules, None).unwrap(), &system.key(), path)
}

fn rescan(scan: &RepositoryScan) -> &Rescan {
    scan.purpose.rescan().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_new_runs_and_what_a_rule_no_longer_finds_is_marked() {
    let [alpha, beta, gamma] = ["alpha", "beta", "gamma"].map(|name| rule(name, 16));
    let mut stage = Stage::scanned(&format!("{alpha}{beta}")).await;
    let first = stage.version();
    assert!(stage.is_as_new().await.is_empty());

    // One rule more: only that one runs.
    let added = stage.rescan(&format!("{alpha}{beta}{gamma}")).await;
    let chosen = rescan(&added).chosen.rules.clone().unwrap();
    assert_eq!(chosen.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["gamma"]);
    assert_eq!(rescan(&added).from, [first]);
    assert_eq!(stage.ran(&added).await, [1, 1, 1, 1], "rules over each batch");
    assert_eq!(stage.is_as_new().await, []);
    let (open, _) = stage.findings().await;
    let two = open.iter().find(|finding| finding.path == b"two.txt" && finding.rule_id.as_str() == "gamma");
    let excerpt = &two.unwrap().introduced().excerpt;
    assert!(!excerpt.contains(&"7".repeat(16)), "the secret beside it is masked as well: {excerpt}");

    // One rule less: nothing runs, and what it had found is kept and marked.
    let removed = stage.rescan(&format!("{alpha}{gamma}")).await;
    assert_eq!((rescan(&removed).chosen.rules.as_ref().unwrap().len(), removed.batches.len()), (0, 0));
    let resolved = stage.is_as_new().await;
    let [(finding, change)] = resolved.as_slice() else { panic!("{resolved:?}") };
    assert_eq!((finding.rule_id.as_str(), &change.rule_set), ("beta", &stage.version()));
    let since = change.at;

    // One rule changed, so that it finds nothing here any more.
    let changed = stage.rescan(&format!("{}{gamma}", rule("alpha", 17))).await;
    assert_eq!(stage.ran(&changed).await, [1, 1, 1, 1]);
    let resolved = stage.is_as_new().await;
    let of = |rule: &str| resolved.iter().filter(|(finding, _)| finding.rule_id.as_str() == rule).count();
    assert_eq!((of("alpha"), of("beta"), resolved.len()), (2, 1, 3));
    let beta_change = resolved.iter().find(|(finding, _)| finding.rule_id.as_str() == "beta");
    assert_eq!(beta_change.unwrap().1.at, since, "it was resolved by the first of the two");

    // As it was: found again, not resolved any more.
    stage.rescan(&format!("{alpha}{beta}{gamma}")).await;
    assert_eq!(stage.is_as_new().await, []);
    stage.system.stop_services().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generic_rules_get_the_places_that_a_removed_rule_had_won() {
    let [alpha, beta] = ["alpha", "beta"].map(|name| rule(name, 16));
    let mut stage = Stage::scanned(&format!("{alpha}{beta}{GENERIC}")).await;
    assert!(stage.is_as_new().await.is_empty());
    let removed = stage.rescan(&format!("{alpha}{GENERIC}")).await;
    let chosen = rescan(&removed).chosen.rules.clone().unwrap();
    assert_eq!(chosen.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["any"]);
    assert_eq!(stage.ran(&removed).await, [1, 1, 1, 1]);
    let resolved = stage.is_as_new().await;
    assert_eq!(resolved.len(), 1, "that of beta, whose place is the generic rule's now");
    stage.system.stop_services().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_ref_reaches_any_more_is_scanned_in_whole_when_it_comes_back() {
    let [alpha, gamma] = ["alpha", "gamma"].map(|name| rule(name, 16));
    let mut stage = Stage::scanned(&alpha).await;
    let topic = String::from_utf8(stage.repository.git(&["rev-parse", "topic"]).unwrap()).unwrap();
    stage.repository.git(&["branch", "-D", "topic"]).unwrap();
    stage.rescan(&format!("{alpha}{gamma}")).await;
    let gone = topic.trim().parse().unwrap();
    assert!(!stage.system.bus.ledger(&stage.id).known().await.unwrap().contains(&gone));
    assert!(stage.is_as_new().await.is_empty());
    stage.repository.git(&["branch", "topic", topic.trim()]).unwrap();
    let (id, _) = stage.system.request(stage.repository.path().to_str().unwrap()).await.unwrap();
    assert_eq!(stage.system.ended(&id).await.totals().commits, 1);
    assert!(stage.is_as_new().await.is_empty());

    // Rules that no agent has.
    let request = v1::NewRepositoryScan {
        repository_id: stage.id.to_string(),
        rescan: "r1-000000000000".into(),
        ..v1::NewRepositoryScan::default()
    };
    let answer = stage.system.bus.request_scan(&request).await.unwrap();
    let failed = stage.system.ended(&answer.request_id.parse().unwrap()).await;
    let ScanState::Failed { reason } = &failed.state else { panic!("{:?}", failed.state) };
    assert!(reason.contains("no batch-agent with the rules r1-000000000000 has started"), "{reason}");
    let refs = v1::NewRepositoryScan { refs: vec!["refs/heads/main".into()], ..request.clone() };
    let version = v1::NewRepositoryScan { rescan: "a.b".into(), ..request.clone() };
    let both = v1::NewRepositoryScan { verify: true, ..request };
    for (wrong, reason) in [(refs, "rescan is of all"), (version, "no version of rules"), (both, "give one")]
    {
        let answer = stage.system.bus.request_scan(&wrong).await.unwrap();
        assert!(answer.error.contains(reason), "{}", answer.error);
    }
    stage.system.stop_services().await.unwrap();
}
