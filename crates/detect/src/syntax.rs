//! The rule file as written: the TOML keys of gitleaks as its README documents them, and a few of ours (`severity`,
//! `confidence`, `documentation`, `checksum`, `reject`, `generic`, `examples`, `verify`).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::checksum::Checksum;
use crate::error::{Place, RuleError};
use crate::http_check::HttpCheckSyntax;
use crate::rule::{Confidence, Severity};
use crate::shape::Shape;

/// No rule file is larger.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct FileSyntax {
    #[serde(rename = "title")]
    _title: Option<String>,
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(rename = "minVersion")]
    _min_version: Option<String>,
    #[serde(default)]
    pub(crate) extend: ExtendSyntax,
    #[serde(default)]
    pub(crate) rules: Vec<Spanned<RuleSyntax>>,
    /// The older spelling, a single table.
    pub(crate) allowlist: Option<Spanned<AllowlistSyntax>>,
    #[serde(default)]
    pub(crate) allowlists: Vec<Spanned<AllowlistSyntax>>,
}

/// Which other rules are taken in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ExtendSyntax {
    #[serde(default)]
    pub(crate) use_default: bool,
    pub(crate) path: Option<String>,
    /// Known only to be refused by name.
    pub(crate) url: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) disabled_rules: Vec<String>,
}

/// One rule. Only the id is always there: a rule may complete one of the same id in the extended rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RuleSyntax {
    pub(crate) id: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) severity: Option<Severity>,
    pub(crate) confidence: Option<Confidence>,
    pub(crate) documentation: Option<String>,
    pub(crate) checksum: Option<Checksum>,
    #[serde(default)]
    pub(crate) reject: Vec<Shape>,
    pub(crate) regex: Option<Spanned<String>>,
    pub(crate) path: Option<Spanned<String>>,
    pub(crate) secret_group: Option<usize>,
    pub(crate) entropy: Option<f64>,
    pub(crate) generic: Option<bool>,
    #[serde(default)]
    pub(crate) keywords: Vec<String>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    /// The older spelling, a single table.
    pub(crate) allowlist: Option<Spanned<AllowlistSyntax>>,
    #[serde(default)]
    pub(crate) allowlists: Vec<Spanned<AllowlistSyntax>>,
    /// Rules without which a match of this one does not count.
    #[serde(default)]
    pub(crate) required: Vec<Spanned<RequiredSyntax>>,
    /// Whether it only serves rules that require it.
    pub(crate) skip_report: Option<bool>,
    #[serde(default)]
    pub(crate) examples: ExamplesSyntax,
    pub(crate) verify: Option<HttpCheckSyntax>,
}

/// A rule that another one requires, and how near.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RequiredSyntax {
    pub(crate) id: Option<String>,
    pub(crate) within_lines: Option<u32>,
    pub(crate) within_columns: Option<u32>,
}

/// An allowlist of a rule or of all.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct AllowlistSyntax {
    #[serde(default)]
    pub(crate) description: String,
    pub(crate) condition: Option<String>,
    pub(crate) regex_target: Option<String>,
    #[serde(default)]
    pub(crate) target_rules: Vec<String>,
    #[serde(default)]
    pub(crate) commits: Vec<String>,
    #[serde(default)]
    pub(crate) paths: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) regexes: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) stopwords: Vec<String>,
}

/// Each example is a list of pieces that are joined, so that the rule files themselves hold no secrets.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExamplesSyntax {
    #[serde(default, rename = "match")]
    pub(crate) matching: Vec<Vec<String>>,
    #[serde(default, rename = "miss")]
    pub(crate) near_misses: Vec<Vec<String>>,
}

/// A text with the places in it.
pub(crate) struct Source<'a> {
    pub(crate) origin: &'a str,
    text: &'a str,
}

impl<'a> Source<'a> {
    pub(crate) fn new(origin: &'a str, text: &'a str) -> Self {
        Self { origin, text }
    }

    pub(crate) fn parse(&self) -> Result<FileSyntax, RuleError> {
        toml::from_str(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            RuleError::Syntax { place: self.place(at, self.rule_before(at)), message: error.message().into() }
        })
    }

    /// The place at a byte offset.
    pub(crate) fn place(&self, at: usize, rule: Option<String>) -> Place {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        Place { origin: self.origin.into(), line, rule }
    }

    /// The id of the rule that an offset lies in, as far as it can be told from a file that does not parse.
    fn rule_before(&self, at: usize) -> Option<String> {
        const HEADER: &str = "[[rules]]";
        let start = self.text.get(..at)?.rfind(HEADER)? + HEADER.len();
        let section = &self.text[start..];
        let section = &section[..section.find(HEADER).unwrap_or(section.len())];
        section.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == "id").then(|| value.trim().trim_matches(['"', '\'']).to_owned())
        })
    }
}

/// The text of a rule file, which in a repository of strangers may be a link to whatever never ends.
pub(crate) fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}
