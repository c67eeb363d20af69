//! Secrets that were hidden, and which of them a program found.

use secretscan_benches::programs::Task;
use secretscan_benches::report::Reported;
use serde::{Deserialize, Serialize};

/// Where a secret is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    File,
    Utf16,
    Binary,
    LongLine,
    Base64,
    Zip,
    Gzip,
    DeletedFile,
    RemovedLines,
    Merge,
    OtherReference,
    CommitMessage,
    TagMessage,
    Staged,
}

impl Place {
    /// All places of a generated history.
    pub const HISTORY: [Self; 13] = [
        Self::File,
        Self::Utf16,
        Self::Binary,
        Self::LongLine,
        Self::Base64,
        Self::Zip,
        Self::Gzip,
        Self::DeletedFile,
        Self::RemovedLines,
        Self::Merge,
        Self::OtherReference,
        Self::CommitMessage,
        Self::TagMessage,
    ];

    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Utf16 => "UTF-16 file",
            Self::Binary => "among binary data",
            Self::LongLine => "line of 200 kB",
            Self::Base64 => "in base64",
            Self::Zip => "file in a zip",
            Self::Gzip => "gzipped file",
            Self::DeletedFile => "file deleted later",
            Self::RemovedLines => "lines removed later",
            Self::Merge => "in a merge commit only",
            Self::OtherReference => "no branch (refs/pull)",
            Self::CommitMessage => "commit message",
            Self::TagMessage => "tag message",
            Self::Staged => "staged file",
        }
    }

    /// Whether a program at a task gets to see what is hidden there.
    pub fn is_seen_at(self, task: Task) -> bool {
        match task {
            Task::History => self != Self::Staged,
            Task::Staged => self == Self::Staged,
            Task::Directory => self.is_checked_out(),
        }
    }

    /// Whether the tip of the default branch has it.
    pub fn is_checked_out(self) -> bool {
        match self {
            Self::File
            | Self::Utf16
            | Self::Binary
            | Self::LongLine
            | Self::Base64
            | Self::Zip
            | Self::Gzip => true,
            Self::DeletedFile | Self::RemovedLines | Self::OtherReference => false,
            Self::CommitMessage | Self::TagMessage | Self::Staged => false,
            // The merge's own file stays.
            Self::Merge => true,
        }
    }
}

/// A secret that was hidden.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Planted {
    /// What it opens.
    pub kind: String,
    /// Where it is.
    pub place: Place,
    /// Texts without white space; a program that reports one of them has found the secret.
    pub values: Vec<String>,
}

/// What a program found of what was hidden.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// For each hidden secret, in their order, whether it was found.
    pub planted: Vec<bool>,
    /// How many findings hold none of them.
    pub others: usize,
}

impl Found {
    /// Looks for the secrets in what a program reported: for each finding, the texts that it shows.
    pub fn new(planted: &[Planted], reported: &[Reported]) -> Self {
        let mut found = Self { planted: vec![false; planted.len()], others: 0 };
        for finding in reported {
            // UTF-16 is reported with its NUL bytes, what spans lines with its indentation.
            let finding: String = finding.text.chars().filter(|c| !c.is_whitespace() && *c != '\0').collect();
            let mut is_planted = false;
            for (planted, found) in planted.iter().zip(&mut found.planted) {
                if planted.values.iter().any(|value| finding.contains(value)) {
                    (*found, is_planted) = (true, true);
                }
            }
            found.others += usize::from(!is_planted);
        }
        found
    }

    /// How many of the hidden secrets were found.
    pub fn count(&self) -> usize {
        self.planted.iter().filter(|found| **found).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_by_any_of_its_values_whatever_stands_around_it() {
        let planted = |values: &[&str]| Planted {
            kind: "key".into(),
            place: Place::File,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let planted = [planted(&["first"]), planted(&["second", "c2Vjb25k"]), planted(&["third"])];
        let finding = |text: &str| Reported { text: text.to_owned(), ..Reported::default() };
        let reported = ["key = first;", "s\0e\0c\0o\0n\0\n d\0", "else", "first"].map(finding);
        assert_eq!(Found::new(&planted, &reported), Found { planted: vec![true, true, false], others: 1 });
        assert_eq!(Found::new(&planted, &[finding("c2Vjb25k")]).count(), 1);
        assert_eq!(Found::new(&planted, &[finding("thi")]).count(), 0, "a part of it is not enough");
    }
}
