//! A finding: one secret in one file path, however many commits hold it.
//!
//! Findings of one fingerprint form a semilattice under [`Finding::merge`]: merging is commutative, associative and
//! idempotent, so batches may report in any order and any number of times and the store ends the same.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{CommitId, RuleId};

/// At most this many occurrences are kept with a finding: the earliest ones.
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

/// The stable identity of a finding: a version prefix (`v1-`) and 32 hexadecimal digits, a hash of rule id, secret
/// hash and path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

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
}

/// One secret in one file path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The identity.
    pub fingerprint: Fingerprint,
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

    /// Joins what two scans know of the same finding: the earliest [`MAX_OCCURRENCES`] of both, and what
    /// either was matched by.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        debug_assert_eq!(self.fingerprint, other.fingerprint);
        self.occurrences.extend(other.occurrences);
        self.occurrences.sort();
        self.occurrences.dedup();
        self.occurrences.truncate(MAX_OCCURRENCES);
        self.matched_by.extend(other.matched_by);
        self
    }
}
