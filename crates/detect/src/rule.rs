//! Rules as the engine uses them: checked, with regexes that compile on first use.

use std::fmt;

use crate::checksum::Checksum;
use crate::error::Place;
use crate::http_check::HttpCheck;
use crate::lazy_regex::LazyRegex;
use crate::pattern::Pattern;
use crate::shape::Shape;

/// The place of a rule in its rule set; see [`crate::RuleSet::rule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct RuleIndex(pub u16);

/// How bad a leak of this kind is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Little harm, or often not a secret.
    Low,
    /// The default.
    #[default]
    Medium,
    /// Access to one service.
    High,
    /// Access to infrastructure, money or source code.
    Critical,
}

impl Severity {
    /// All of them, the worst first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Medium, Self::Low];

    /// The one of this name. A name that is none is taken for the worst, so that nothing is passed over.
    pub fn of(name: &str) -> Self {
        Self::ALL.into_iter().find(|severity| severity.as_str() == name).unwrap_or(Self::Critical)
    }

    /// `low`, `medium`, `high` or `critical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// How sure it is that a match of a rule is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Looks like a secret by its surroundings; one in several is none.
    Low,
    /// The default of generic rules: surroundings and form agree.
    Medium,
    /// The default of the others: a form that nothing else has.
    High,
}

impl Confidence {
    /// `low`, `medium` or `high`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One kind of secret: how to find it, and what to say about it.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
pub struct Rule {
    /// The id, such as `github-personal-access-token`.
    pub id: String,
    /// One sentence for people.
    pub description: String,
    /// How bad a leak is.
    pub severity: Severity,
    /// How sure it is that a match is a secret.
    pub confidence: Confidence,
    /// A match whose secret fails this is none.
    pub checksum: Option<Checksum>,
    /// A match whose secret has one of these shapes is none.
    pub reject: Vec<Shape>,
    /// Where the provider documents the token.
    pub documentation: Option<String>,
    /// Free labels.
    pub tags: Vec<String>,
    /// Which capture group is the secret; `None`: the first one that took part with at least one byte, or else the
    /// whole match.
    pub secret_group: Option<usize>,
    /// When not empty, content without any of these texts (ASCII letters in any case) has no match.
    pub keywords: Vec<String>,
    /// The secret's Shannon entropy (bits per byte) must be greater than this.
    pub entropy: Option<f64>,
    /// Whether its matches yield to those of other rules on the same bytes.
    pub is_generic: bool,
    /// The exclusions of this rule.
    pub allowlists: Vec<Allowlist>,
    /// A match counts only where each of these has one near enough.
    pub required: Vec<Required>,
    /// Whether its matches only serve rules that require it and are not reported themselves.
    pub is_helper: bool,
    /// What the rule must and must not find. Not part of the compiled form.
    #[serde(skip)]
    pub examples: Examples,
    /// How to ask the provider whether a secret is in use.
    pub verify: Option<HttpCheck>,
    /// Where it is written.
    pub place: Place,
    pub(crate) path: Option<LazyRegex>,
    pub(crate) pattern: Pattern,
}

impl Rule {
    /// The regex as written in the rule file; `None`: the rule is about paths alone, and every file whose path matches
    /// [`Rule::path`] is a match.
    pub fn regex(&self) -> Option<&str> {
        (!self.is_path_only()).then_some(&self.pattern.source)
    }

    /// Whether the rule has no regex.
    pub fn is_path_only(&self) -> bool {
        self.pattern.source.is_empty()
    }

    /// The regex that runs: repetitions without a limit got one; see `crates/detect/src/bound.rs`.
    pub fn bounded_regex(&self) -> &str {
        self.pattern.bounded()
    }

    /// The regex that a path must match for the rule to apply.
    pub fn path(&self) -> Option<&str> {
        self.path.as_ref().map(LazyRegex::as_str)
    }

    /// The length in bytes of the longest possible match.
    pub fn max_match_len(&self) -> usize {
        self.pattern.max_len
    }

    /// Whether a match depends on nothing but the bytes of the match and a few around it. Not so for a rule whose
    /// keywords, or whose required matches, may stand anywhere in the content.
    pub fn is_local(&self) -> bool {
        !self.pattern.is_gated && self.required.is_empty()
    }

    /// Whether the regex has to read every byte of a content, or of each content with a keyword: no text is known that
    /// every match contains.
    pub fn is_slow(&self) -> bool {
        self.pattern.reads_everything()
    }
}

/// A rule that must have a match near a match of another.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Required {
    /// The id of the rule.
    pub id: String,
    /// At most so many lines apart, counted between the lines where the secrets start; `None`: anywhere.
    pub within_lines: Option<u32>,
    /// At most so many columns apart, counted likewise; `None`: anywhere.
    pub within_columns: Option<u32>,
    /// The place of the rule in the rule set.
    pub(crate) rule: RuleIndex,
}

/// Texts for [`crate::RuleSet::check`].
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Examples {
    /// In each of these the rule finds something.
    pub matching: Vec<String>,
    /// In none of these the rule finds anything.
    pub near_misses: Vec<String>,
}

/// How the conditions of an allowlist combine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Condition {
    /// One kind of condition is enough.
    #[default]
    Or,
    /// Every kind of condition that the allowlist has must hold.
    And,
}

/// What the regexes of an allowlist look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RegexTarget {
    /// The secret.
    #[default]
    Secret,
    /// The whole match of the rule's regex.
    Match,
    /// The line or lines of the match, at most 4,096 bytes on either side.
    Line,
}

/// What is not to be reported.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
pub struct Allowlist {
    /// Why.
    pub description: String,
    /// How the conditions combine.
    pub condition: Condition,
    /// What `regexes` look at.
    pub regex_target: RegexTarget,
    /// For a global allowlist: the ids of the rules it is for; empty: all.
    pub target_rules: Vec<String>,
    /// Commit ids in lower-case hexadecimal; a prefix of at least seven digits is enough.
    pub commits: Vec<String>,
    /// Texts that, anywhere in the secret (lower-cased), exclude it.
    pub stopwords: Vec<String>,
    pub(crate) paths: Vec<LazyRegex>,
    pub(crate) regexes: Vec<LazyRegex>,
}

impl Allowlist {
    /// The path regexes as written.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(LazyRegex::as_str)
    }

    /// The content regexes as written.
    pub fn regexes(&self) -> impl Iterator<Item = &str> {
        self.regexes.iter().map(LazyRegex::as_str)
    }

    /// Whether it is for this rule.
    pub fn is_for(&self, rule: &str) -> bool {
        self.target_rules.is_empty() || self.target_rules.iter().any(|id| id == rule)
    }

    /// Whether the content part alone excludes the match, or, for [`Condition::And`], holds.
    pub(crate) fn matches_content(&self, secret: &[u8], whole: &[u8], line: &[u8]) -> bool {
        let target = match self.regex_target {
            RegexTarget::Secret => secret,
            RegexTarget::Match => whole,
            RegexTarget::Line => line,
        };
        let has_regex = || self.regexes.iter().any(|regex| regex.is_match(target));
        let has_stopword = || {
            let lower = secret.to_ascii_lowercase();
            self.stopwords.iter().any(|word| memchr::memmem::find(&lower, word.as_bytes()).is_some())
        };
        match self.condition {
            Condition::Or => has_regex() || (!self.stopwords.is_empty() && has_stopword()),
            Condition::And => {
                (self.regexes.is_empty() || has_regex()) && (self.stopwords.is_empty() || has_stopword())
            }
        }
    }

    /// The same for path and commit.
    pub(crate) fn matches_place(&self, path: &[u8], commit: Option<&str>) -> bool {
        let has_path = || self.paths.iter().any(|regex| regex.is_match(path));
        let has_commit =
            || commit.is_some_and(|id| self.commits.iter().any(|listed| id.starts_with(listed.as_str())));
        match self.condition {
            Condition::Or => has_path() || has_commit(),
            Condition::And => {
                (self.paths.is_empty() || has_path()) && (self.commits.is_empty() || has_commit())
            }
        }
    }

    /// Whether path or commit play a part.
    pub(crate) fn has_place(&self) -> bool {
        !self.paths.is_empty() || !self.commits.is_empty()
    }

    /// Whether the secret or its surroundings play a part.
    pub(crate) fn has_content(&self) -> bool {
        !self.regexes.is_empty() || !self.stopwords.is_empty()
    }
}
