//! What can be wrong with rules.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Where in the rules something is wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// The file, or what stands for it.
    pub origin: String,
    /// The line, from 1.
    pub line: usize,
    /// The rule, when it is in one.
    pub rule: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.origin, self.line)?;
        match &self.rule {
            Some(rule) => write!(f, " (rule `{rule}`)"),
            None => Ok(()),
        }
    }
}

/// Rules that can't be used.
#[derive(Debug, Error)]
pub enum RuleError {
    /// The file can't be read.
    #[error("cannot read the rules in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the TOML parser says.
        message: String,
    },
    /// A regex that can't be parsed.
    #[error("{place}: `{key}` is not a valid regex")]
    Regex {
        /// Where.
        place: Place,
        /// The key that holds it.
        key: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<regex_syntax::Error>,
    },
    /// A rule without a key that it needs.
    #[error("{place}: the rule has {keys}")]
    Missing {
        /// Where.
        place: Place,
        /// What is there and what is not.
        keys: &'static str,
    },
    /// A value that is well-formed but makes no sense.
    #[error("{place}: `{key}` {problem}")]
    Value {
        /// Where.
        place: Place,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// No rule has this id.
    #[error("no rule has the id `{id}`")]
    UnknownRule {
        /// The id.
        id: String,
    },
    /// `extend.path` leads in a circle or too deep.
    #[error("{origin}: rules extend each other more than {limit} levels deep")]
    TooDeep {
        /// The file where it was noticed.
        origin: String,
        /// How many levels are allowed.
        limit: usize,
    },
    /// `extend.useDefault` where there are no rules that it could stand for.
    #[error("{origin}: `extend.useDefault` has no rules to stand for here")]
    NoDefault {
        /// What stands for the file.
        origin: String,
    },
    /// `extend.path` in rules that come from no file.
    #[error("{origin}: `extend.path` needs rules that are loaded from a file")]
    NoFile {
        /// What stands for the file.
        origin: String,
    },
}
