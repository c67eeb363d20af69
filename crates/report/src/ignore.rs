//! Ignore files: findings that somebody has looked at and accepted, one a line.
//!
//! A line is the fingerprint of a finding as reports show it, or a place as gitleaks writes it into `.gitleaksignore`:
//! `commit:file:rule:line` or `file:rule:line`. A `#` at the start of a line, or after white space behind an entry,
//! starts a comment.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secretscan_model::{CommitId, Finding, Occurrence};
use thiserror::Error;

/// How a fingerprint starts.
const FINGERPRINT: &str = "v2-";
/// No ignore file is larger: one in a repository of strangers may be a link to whatever never ends.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// How many hexadecimal digits follow.
const FINGERPRINT_DIGITS: usize = 32;

/// An ignore file that can't be used.
#[derive(Debug, Error)]
pub enum IgnoreError {
    /// The file can't be read.
    #[error("cannot read the ignore file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is no entry.
    #[error(
        "{origin}:{line}: neither a fingerprint (v2- and 32 hexadecimal digits) nor file:rule:line nor \
         commit:file:rule:line"
    )]
    Entry {
        /// The file.
        origin: String,
        /// The line, from 1.
        line: usize,
    },
}

/// Findings that are not to be reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreList {
    fingerprints: HashSet<String>,
    /// By rule and path.
    places: HashMap<(String, Vec<u8>), HashSet<Place>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    commit: Option<CommitId>,
    line: u32,
}

enum Entry {
    Fingerprint(String),
    Place { rule: String, path: Vec<u8>, place: Place },
}

impl IgnoreList {
    /// Reads an ignore file. `rule_id` gives the id of a rule that the file may know by another.
    ///
    /// # Errors
    /// See [`IgnoreError`].
    pub fn read(path: &Path, rule_id: impl Fn(&str) -> &str) -> Result<Self, IgnoreError> {
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text));
        let checked = read.and_then(|_| match text.len() as u64 > MAX_FILE_BYTES {
            true => Err(io::Error::other(format!("it has more than {MAX_FILE_BYTES} bytes"))),
            false => Ok(()),
        });
        checked.map_err(|source| IgnoreError::Read { path: path.to_path_buf(), source })?;
        Self::parse(&text, &path.display().to_string(), rule_id)
    }

    /// The entries of a text; `origin` stands for the file in errors.
    ///
    /// # Errors
    /// [`IgnoreError::Entry`] for a line that is none.
    pub fn parse(text: &[u8], origin: &str, rule_id: impl Fn(&str) -> &str) -> Result<Self, IgnoreError> {
        let mut list = Self::default();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let entry = Entry::parse(line).or_else(|| Entry::parse(without_comment(line)?));
            match entry.ok_or_else(|| IgnoreError::Entry { origin: origin.into(), line: number })? {
                Entry::Fingerprint(fingerprint) => drop(list.fingerprints.insert(fingerprint)),
                Entry::Place { rule, path, place } => {
                    let key = (rule_id(&rule).to_owned(), path);
                    list.places.entry(key).or_default().insert(place);
                }
            }
        }
        Ok(list)
    }

    /// Adds the entries of another list.
    pub fn extend(&mut self, other: Self) {
        self.fingerprints.extend(other.fingerprints);
        for (key, places) in other.places {
            self.places.entry(key).or_default().extend(places);
        }
    }

    /// Whether the finding is listed: itself, or any of its places. A secret that a later change to the file leaves where
    /// it is, or moves, is the same finding.
    pub fn ignores(&self, finding: &Finding) -> bool {
        if self.fingerprints.contains(finding.id.fingerprint()) {
            return true;
        }
        if self.places.is_empty() {
            return false;
        }
        let key = (finding.rule_id.as_str().to_owned(), finding.path.clone());
        let is_listed = |places: &HashSet<Place>, occurrence: &Occurrence| {
            [None, Some(occurrence.commit)]
                .into_iter()
                .any(|commit| places.contains(&Place { commit, line: occurrence.line }))
        };
        self.places
            .get(&key)
            .is_some_and(|places| finding.occurrences.iter().any(|occurrence| is_listed(places, occurrence)))
    }
}

/// What stands before a `#` that follows white space.
fn without_comment(line: &[u8]) -> Option<&[u8]> {
    let at = line.windows(2).position(|pair| pair[0].is_ascii_whitespace() && pair[1] == b'#')?;
    Some(line[..at].trim_ascii_end())
}

impl Entry {
    fn parse(text: &[u8]) -> Option<Self> {
        if let Some(fingerprint) = std::str::from_utf8(text).ok().filter(|text| is_fingerprint(text)) {
            return Some(Self::Fingerprint(fingerprint.to_owned()));
        }
        // Colons in paths are allowed, so the parts are taken from the ends.
        let mut parts = text.rsplitn(3, |byte| *byte == b':');
        let line = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
        let rule = std::str::from_utf8(parts.next()?).ok().filter(|rule| !rule.is_empty())?;
        let rest = parts.next()?;
        let colon = rest.iter().position(|byte| *byte == b':');
        let commit = colon.and_then(|colon| std::str::from_utf8(&rest[..colon]).ok()?.parse().ok());
        let path = match (commit, colon) {
            (Some(_), Some(colon)) => &rest[colon + 1..],
            _ => rest,
        };
        let path = path.strip_prefix(b"./").unwrap_or(path).to_vec();
        (!path.is_empty()).then(|| Self::Place { rule: rule.to_owned(), path, place: Place { commit, line } })
    }
}

fn is_fingerprint(text: &str) -> bool {
    text.strip_prefix(FINGERPRINT).is_some_and(|digits| {
        digits.len() == FINGERPRINT_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use secretscan_model::finding::LaterOccurrences;
    use secretscan_model::{Author, FindingId, SecretHash};

    use super::*;

    fn commit(byte: u8) -> CommitId {
        CommitId::from_bytes(&[byte; 20]).unwrap()
    }

    /// A finding in two commits.
    fn finding(rule: &str, path: &[u8]) -> Finding {
        let occurrence = |n: u8, line| Occurrence {
            corrected_date: i64::from(n),
            commit: commit(n),
            line,
            column: 1,
            end_line: line,
            end_column: 9,
            author: Author::default(),
            excerpt: String::new(),
            decoded_from: None,
            blob: None,
        };
        Finding {
            id: FindingId("v2-00112233445566778899aabbccddeeff.0123456789abcdef".into()),
            rule_id: rule.parse().unwrap(),
            description: String::new(),
            severity: "high".into(),
            confidence: "high".into(),
            tags: Vec::new(),
            secret_hash: SecretHash(String::new()),
            path: path.to_vec(),
            matched_by: std::collections::BTreeSet::new(),
            occurrences: vec![occurrence(1, 7), occurrence(2, 9)],
            later: LaterOccurrences::default(),
            seen: None,
        }
    }

    fn parse(text: &str) -> Result<IgnoreList, IgnoreError> {
        IgnoreList::parse(text.as_bytes(), "ignored", |id| if id == "theirs" { "ours" } else { id })
    }

    fn ignores(entry: &str) -> bool {
        parse(entry).unwrap().ignores(&finding("ours", b"a/b.txt"))
    }

    #[test]
    fn any_place_of_a_finding_will_do() {
        let (first, second) = (commit(1), commit(2));
        assert!(ignores(&format!("{first}:a/b.txt:ours:7")));
        assert!(ignores(&format!("{second}:a/b.txt:ours:9")));
        assert!(ignores("a/b.txt:ours:9") && ignores("./a/b.txt:theirs:7"));
        assert!(ignores("v2-00112233445566778899aabbccddeeff"));
        for other in [
            format!("{first}:a/b.txt:ours:9"),
            format!("{first}:b.txt:ours:7"),
            "a/b.txt:ours:8".into(),
            "a/b.txt:other:7".into(),
            "v2-00000000000000000000000000000000".into(),
        ] {
            assert!(!ignores(&other), "{other}");
        }
    }

    #[test]
    fn comments_and_empty_lines_are_passed_over() {
        let text =
            "# all\r\n\r\n  a/b.txt:ours:7  # ticket:5\r\nv2-00112233445566778899aabbccddeeff # x\n#\n";
        let list = parse(text).unwrap();
        assert_eq!((list.fingerprints.len(), list.places.len()), (1, 1));
        let mut both = parse("a/b.txt:ours:8").unwrap();
        both.extend(list);
        assert_eq!(both.places.values().map(HashSet::len).sum::<usize>(), 2);
    }

    #[test]
    fn paths_may_have_colons_and_any_bytes() {
        let list = IgnoreList::parse(b"c:/x #1\xff:ours:9", "ignored", |id| id).unwrap();
        assert!(list.ignores(&finding("ours", b"c:/x #1\xff")));
    }

    #[test]
    fn what_is_no_entry_is_refused_with_its_line() {
        for entry in ["file", "file:rule", "file:rule:x", ":rule:3", "file::3", "v2-123", "rule:3"] {
            let error = parse(&format!("# first\n{entry}\n")).unwrap_err();
            assert!(error.to_string().starts_with("ignored:2: neither"), "{entry}: {error}");
        }
        let missing = IgnoreList::read(Path::new("no/such/file"), |id| id).unwrap_err();
        assert!(matches!(missing, IgnoreError::Read { .. }));
        let endless = IgnoreList::read(Path::new("/dev/zero"), |id| id).unwrap_err();
        assert!(matches!(endless, IgnoreError::Read { .. }));
    }
}
