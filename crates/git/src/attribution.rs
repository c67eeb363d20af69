//! From matches in a blob to findings in commits and paths.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use secretscan_detect::{HashKey, RawMatch, Scanner, Secret};
use secretscan_model::finding::LaterOccurrences;
use secretscan_model::ids::{BlobId, CommitId, RuleId};
use secretscan_model::{Author, Finding, FindingId, Occurrence, SecretHash, Seen};

/// A finding with the secret itself, which must stay in this process.
#[derive(Clone, Debug)]
pub struct LocatedFinding {
    /// What may be told.
    pub finding: Finding,
    /// What may not.
    pub secret: Secret,
}

/// The commit that content is attributed to.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The commit's corrected date.
    pub corrected_date: i64,
    /// The commit; `None` for content that is in no commit.
    pub commit: Option<CommitId>,
    /// Who wrote it.
    pub author: Author,
    /// The content; `None` for what is in no file of a commit.
    pub blob: Option<BlobId>,
    /// When the refs were looked at, and whether a branch ended at it then.
    pub seen: Option<Seen>,
}

impl Origin {
    /// A commit, whichever of its contents.
    pub fn of_commit(corrected_date: i64, commit: Option<CommitId>, author: Author) -> Self {
        Self { corrected_date, commit, author, blob: None, seen: None }
    }

    /// Content that is in no commit: staged, or in a plain directory.
    pub fn outside_history() -> Self {
        Self::of_commit(0, None, Author::default())
    }
}

/// Gathers matches into findings: one for each rule, secret and path.
pub struct FindingSink<'a> {
    scanner: &'a Scanner,
    key: &'a HashKey,
    findings: HashMap<FindingId, LocatedFinding>,
    /// What paths and names of people themselves tell. A history names each many times.
    of_paths: HashMap<Vec<u8>, OfPath>,
}

/// What a path itself tells.
struct OfPath {
    /// What rules about paths alone find, and what the others find in its text.
    matches: Vec<RawMatch>,
    /// The path with what looks like a secret in it masked, if there is any.
    masked: Option<Vec<u8>>,
}

impl<'a> FindingSink<'a> {
    /// An empty one.
    pub fn new(scanner: &'a Scanner, key: &'a HashKey) -> Self {
        Self { scanner, key, findings: HashMap::new(), of_paths: HashMap::new() }
    }

    /// Whether the path alone is a match.
    pub fn matches_path(&mut self, path: &[u8]) -> bool {
        !self.of_path(path).matches.is_empty()
    }

    /// A path, that of a member of an archive included, as it may be told: without what looks like a secret in it.
    pub fn shown_path<'p>(&mut self, path: &'p [u8]) -> Cow<'p, [u8]> {
        self.of_path(path).masked.clone().map_or(Cow::Borrowed(path), Cow::Owned)
    }

    /// The same for the name or the address of a person.
    fn shown_name(&mut self, name: &str) -> String {
        String::from_utf8_lossy(&self.shown_path(name.as_bytes())).into_owned()
    }

    fn of_path(&mut self, path: &[u8]) -> &OfPath {
        if !self.of_paths.contains_key(path) {
            let mut matches = self.scanner.scan_path(path);
            let (in_text, masked) = self.scanner.scan_name(path);
            if let Some(masked) = &masked {
                for found in &mut matches {
                    found.excerpt = String::from_utf8_lossy(masked).into_owned();
                }
            }
            matches.extend(in_text);
            self.of_paths.insert(path.to_vec(), OfPath { matches, masked });
        }
        &self.of_paths[path]
    }

    /// Adds the matches of the content that `origin` brought to `path`, and those of the path itself, but for those
    /// that an allowlist excludes.
    pub fn add(&mut self, matches: &[RawMatch], path: &[u8], origin: &Origin) {
        let of_path = self.of_path(path).matches.clone();
        self.add_reported(&of_path, path, origin);
        self.add_reported(matches, path, origin);
    }

    fn add_reported(&mut self, matches: &[RawMatch], path: &[u8], origin: &Origin) {
        let commit = origin.commit.map(|id| id.to_string());
        for found in matches {
            if self.scanner.is_reported(found, path, commit.as_deref()) {
                self.add_match(found, path, origin);
            }
        }
    }

    fn add_match(&mut self, found: &RawMatch, path: &[u8], origin: &Origin) {
        let scanner = self.scanner;
        let rule = &scanner.rules().rules()[usize::from(found.rule.0)];
        let secret_hash = found.secret.hash(self.key);
        let real_path = found.path(path);
        let path = &*self.shown_path(&real_path).into_owned();
        // A masked name leads to no file.
        let blob = origin.blob.filter(|_| *path == *real_path);
        let author = Author {
            name: self.shown_name(&origin.author.name),
            email: self.shown_name(&origin.author.email),
            time: origin.author.time,
        };
        let id = FindingId(self.key.finding_id(&rule.id, &secret_hash, path));
        // As long as in a repository with SHA-1 ids everywhere: it stands for none, and nobody is shown it.
        let no_commit = || CommitId::from_bytes(&[0; 20]).expect("20 bytes are an id");
        let occurrence = Occurrence {
            corrected_date: origin.corrected_date,
            commit: origin.commit.unwrap_or_else(no_commit),
            line: found.line,
            column: found.column,
            end_line: found.end_line,
            end_column: found.end_column,
            author,
            excerpt: found.excerpt.clone(),
            decoded_from: found.decoded_from.clone(),
            blob,
        };
        match self.findings.entry(id) {
            Entry::Occupied(mut known) => known.get_mut().finding.add(vec![occurrence], origin.seen.clone()),
            Entry::Vacant(place) => {
                let finding = Finding {
                    id: place.key().clone(),
                    rule_id: RuleId::fit(&rule.id),
                    description: rule.description.clone(),
                    severity: rule.severity.as_str().to_owned(),
                    confidence: rule.confidence.as_str().to_owned(),
                    tags: rule.tags.clone(),
                    secret_hash: SecretHash(secret_hash),
                    path: path.to_vec(),
                    matched_by: BTreeSet::new(),
                    occurrences: vec![occurrence],
                    later: LaterOccurrences::default(),
                    seen: origin.seen.clone(),
                };
                place.insert(LocatedFinding { finding, secret: found.secret.clone() });
            }
        }
    }

    /// The findings, by path, then place in the file where it was introduced, then rule.
    pub fn finish(self) -> Vec<LocatedFinding> {
        let mut findings: Vec<LocatedFinding> = self.findings.into_values().collect();
        findings.sort_by(|a, b| order(&a.finding).cmp(&order(&b.finding)));
        findings
    }
}

fn order(finding: &Finding) -> (&[u8], u32, u32, &RuleId, &FindingId) {
    let at = finding.introduced();
    (&finding.path, at.line, at.column, &finding.rule_id, &finding.id)
}
