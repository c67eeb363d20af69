//! A finding: one secret in one file path, however many commits hold it.
//!
//! Findings of one identity form a semilattice under [`Finding::merge`]: merging is commutative, associative and
//! idempotent, so batches may report in any order and any number of times and the store ends the same.

mod later;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ids::{BlobId, CommitId, RuleId};
use crate::lifecycle::Look;

pub use later::{LaterOccurrences, MAX_LATER, ShortId, ShortOccurrence};

/// At most this many occurrences are kept with a finding in full: the earliest ones.
pub const MAX_OCCURRENCES: usize = 20;

/// The keyed hash (HMAC-SHA-256, 32 bytes, lower-case hex) of a secret. Never the secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHash(pub String);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The identity of a finding in its repository: the fingerprint of the secret, and the file as 16 hexadecimal digits, with a dot
/// between. Two tokens of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FindingId(pub String);

impl FindingId {
    /// The fingerprint of the secret, a hash of the rule's id and the secret's hash: a version prefix (`v2-`) and 32 hexadecimal
    /// digits. It stays the same while lines move and files are renamed or copied.
    pub fn fingerprint(&self) -> &str {
        self.0.split('.').next().unwrap_or(&self.0)
    }
}

/// A text that is not the id of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the id of a finding is v2- and 32 hexadecimal digits, a dot, and 16 more")]
pub struct BadFindingId;

impl FromStr for FindingId {
    type Err = BadFindingId;

    /// Anything that may be part of a key.
    fn from_str(text: &str) -> Result<Self, BadFindingId> {
        let is_token = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let (fingerprint, file) = text.split_once('.').ok_or(BadFindingId)?;
        let is_id = text.len() <= 64 && is_token(fingerprint) && is_token(file);
        if is_id { Ok(Self(text.to_owned())) } else { Err(BadFindingId) }
    }
}

/// Who wrote a commit, as the commit says.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Author {
    /// The name; not UTF-8 bytes are replaced.
    pub name: String,
    /// The e-mail address.
    pub email: String,
    /// Author time, seconds since the Unix epoch.
    pub time: i64,
}

/// One commit that brought the secret to the path, and where the secret stands in that version of the file.
///
/// Ordered by `(corrected_date, commit, line, column)`: an ancestor comes before its descendants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Occurrence {
    /// The committer time in seconds, corrected to be greater than that of every parent (Git's commit-graph calls it
    /// the corrected commit date).
    pub corrected_date: i64,
    /// The commit.
    pub commit: CommitId,
    /// Line of the first byte of the secret, from 1.
    pub line: u32,
    /// Column of the first character of the secret, in characters (Unicode code points), from 1.
    pub column: u32,
    /// Line of the last byte of the secret, from 1.
    pub end_line: u32,
    /// Column after the last character of the secret, from 1.
    pub end_column: u32,
    /// Who wrote the commit.
    pub author: Author,
    /// The line with the secret, shortened, the secret masked.
    pub excerpt: String,
    /// Where the file holds the secret in another form, how that is undone, from the outside, with `>` in between:
    /// `base64`, `hex`, `percent`, `unicode`, `html` or `joined`. The place is that of the other form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoded_from: Option<String>,
    /// The content that holds it; `None` for what is in no file, and where the name of the file is masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<BlobId>,
}

impl Occurrence {
    /// Whether both are the same but for the content, which records of earlier versions do not name.
    fn is_same_place(&self, other: &Self) -> bool {
        let of = |at: &Self| (at.corrected_date, at.commit, at.line, at.column, at.end_line, at.end_column);
        of(self) == of(other)
            && self.author == other.author
            && self.excerpt == other.excerpt
            && self.decoded_from == other.decoded_from
    }
}

/// When batches brought a finding: by the looks at the refs for which they were cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The first.
    pub first: Look,
    /// The last.
    pub last: Look,
    /// The last at which a branch ended at what a batch brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_tip: Option<Look>,
}

impl Seen {
    /// Seen by one batch.
    pub fn at(look: Look, is_at_tip: bool) -> Self {
        Self { first: look.clone(), last: look.clone(), at_tip: is_at_tip.then_some(look) }
    }

    fn merge(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            at_tip: self.at_tip.max(other.at_tip),
        }
    }
}

/// What a secret is in its repository, whichever file holds it: what people decide about it is decided for all of them. Part
/// of a key: `rule.s1-hash`, with the first half of the hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretIdentity(pub String);

/// One secret in one file path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The identity.
    pub id: FindingId,
    /// The rule that found it.
    pub rule_id: RuleId,
    /// The rule's description.
    pub description: String,
    /// The rule's severity: `critical`, `high`, `medium` or `low`.
    pub severity: String,
    /// How sure it is that the rule's matches are secrets: `high`, `medium` or `low`.
    #[serde(default)]
    pub confidence: String,
    /// The rule's free labels.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The keyed hash of the secret.
    pub secret_hash: SecretHash,
    /// The path in the repository, raw bytes (Git does not promise UTF-8).
    pub path: Vec<u8>,
    /// The hashes of the rule, as the scans that found it had it (see [`crate::RuleHashes`]); empty where nobody asks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub matched_by: BTreeSet<String>,
    /// Where it was, earliest first; the first one introduced it. At most [`MAX_OCCURRENCES`], never empty: content
    /// that is in no commit (staged, a plain directory) has one occurrence with a commit id of zeros.
    pub occurrences: Vec<Occurrence>,
    /// Those after the earliest ones, in short.
    #[serde(default, skip_serializing_if = "LaterOccurrences::is_empty")]
    pub later: LaterOccurrences,
    /// When batches brought it; `None` outside of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

impl Finding {
    /// The earliest occurrence: the commit that introduced the secret to the path.
    pub fn introduced(&self) -> &Occurrence {
        &self.occurrences[0]
    }

    /// The path as text; bytes that are not UTF-8 are replaced.
    pub fn display_path(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.path)
    }

    /// The secret in its repository.
    pub fn secret(&self) -> SecretIdentity {
        // What stands in a record may be anything, and a key may not.
        let hash: String = self.secret_hash.0.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
        SecretIdentity(format!("{}.s1-{hash}", self.rule_id))
    }

    /// Joins what two scans know of the same finding: the earliest [`MAX_OCCURRENCES`] of both, the rest in short, and when
    /// it was seen.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        debug_assert_eq!(self.id, other.id);
        self.later.merge(other.later);
        self.add(other.occurrences, other.seen);
        self.matched_by.extend(other.matched_by);
        self
    }

    /// Adds occurrences, and when they were seen.
    pub fn add(&mut self, occurrences: Vec<Occurrence>, seen: Option<Seen>) {
        self.seen = match (self.seen.take(), seen) {
            (Some(one), Some(other)) => Some(one.merge(other)),
            (one, other) => one.or(other),
        };
        self.occurrences.extend(occurrences);
        self.occurrences.sort();
        self.occurrences.dedup_by(|next, kept| {
            let is_same = next.is_same_place(kept);
            if is_same {
                kept.blob = kept.blob.max(next.blob);
            }
            is_same
        });
        if self.occurrences.len() > MAX_OCCURRENCES {
            let rest = self.occurrences.split_off(MAX_OCCURRENCES);
            self.later.extend(rest.iter());
        }
    }
}
