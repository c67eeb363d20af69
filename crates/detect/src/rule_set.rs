//! Loading rules: parse, take in what they extend, check, and build the [`RuleSet`].

use std::path::Path;
use std::sync::{Arc, OnceLock};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use toml::Spanned;

use crate::error::{Place, RuleError};
use crate::http_check::HttpCheck;
use crate::pattern::{LazyRegex, Pattern, PatternError};
use crate::rule::{Allowlist, Condition, Confidence, Examples, RegexTarget, Rule, RuleIndex};
use crate::syntax::{AllowlistSyntax, RuleSyntax, Source};

/// The built-in rules, in order of precedence among generic ones.
const BUILTIN: &[(&str, &str)] = &[
    ("builtin/allowlist.toml", include_str!("../rules/allowlist.toml")),
    ("builtin/ai.toml", include_str!("../rules/ai.toml")),
    ("builtin/analytics.toml", include_str!("../rules/analytics.toml")),
    ("builtin/chat.toml", include_str!("../rules/chat.toml")),
    ("builtin/ci.toml", include_str!("../rules/ci.toml")),
    ("builtin/cloud.toml", include_str!("../rules/cloud.toml")),
    ("builtin/commerce.toml", include_str!("../rules/commerce.toml")),
    ("builtin/communication.toml", include_str!("../rules/communication.toml")),
    ("builtin/crypto.toml", include_str!("../rules/crypto.toml")),
    ("builtin/developer-tools.toml", include_str!("../rules/developer-tools.toml")),
    ("builtin/identity.toml", include_str!("../rules/identity.toml")),
    ("builtin/infrastructure.toml", include_str!("../rules/infrastructure.toml")),
    ("builtin/keys.toml", include_str!("../rules/keys.toml")),
    ("builtin/mail.toml", include_str!("../rules/mail.toml")),
    ("builtin/media.toml", include_str!("../rules/media.toml")),
    ("builtin/monitoring.toml", include_str!("../rules/monitoring.toml")),
    ("builtin/packages.toml", include_str!("../rules/packages.toml")),
    ("builtin/payment.toml", include_str!("../rules/payment.toml")),
    ("builtin/productivity.toml", include_str!("../rules/productivity.toml")),
    ("builtin/security.toml", include_str!("../rules/security.toml")),
    ("builtin/social.toml", include_str!("../rules/social.toml")),
    ("builtin/source-hosting.toml", include_str!("../rules/source-hosting.toml")),
    ("builtin/databases.toml", include_str!("../rules/databases.toml")),
    ("builtin/files.toml", include_str!("../rules/files.toml")),
    ("builtin/generic.toml", include_str!("../rules/generic.toml")),
];
/// Raised when the engine finds something else with unchanged rules.
const ENGINE_VERSION: u32 = 1;
/// How deep rules may extend each other.
const MAX_EXTENDS: usize = 8;
/// A listed commit id must have this many digits.
const MIN_COMMIT_LEN: usize = 7;

/// Rules and global allowlists, ready for a [`crate::Scanner`].
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Rule>,
    allowlists: Vec<Allowlist>,
    version: String,
}

impl RuleSet {
    /// The rules that come with the program.
    pub fn builtin() -> Arc<Self> {
        static BUILTIN_SET: OnceLock<Arc<RuleSet>> = OnceLock::new();
        let build = || {
            let set = builtin_draft().and_then(Draft::build).expect("a test loads the built-in rules");
            Arc::new(set)
        };
        BUILTIN_SET.get_or_init(build).clone()
    }

    /// Rules from a text in gitleaks' TOML syntax; `origin` stands for the file in errors.
    ///
    /// # Errors
    /// See [`RuleError`]; an unknown key is one.
    pub fn parse(toml: &str, origin: &str) -> Result<Self, RuleError> {
        Draft::parse(toml, origin, None, 0)?.build()
    }

    /// Rules from a file. `extend.path` is taken relative to the file that says so.
    ///
    /// # Errors
    /// See [`RuleError`]; an unknown key is one.
    pub fn load(path: &Path) -> Result<Self, RuleError> {
        Draft::load(path, 0)?.build()
    }

    /// A hash of everything that decides what is found, such as `r1-1a2b3c4d5e6f`: equal versions find the same.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// All rules; the position is the [`RuleIndex`].
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule of a match.
    ///
    /// # Panics
    /// When the index is not from this rule set.
    pub fn rule(&self, index: RuleIndex) -> &Rule {
        &self.rules[usize::from(index.0)]
    }

    /// The allowlists for more than one rule.
    pub fn allowlists(&self) -> &[Allowlist] {
        &self.allowlists
    }

    /// Global and own allowlists of a rule, always in the same order.
    pub(crate) fn allowlists_of<'a>(&'a self, rule: &'a Rule) -> impl Iterator<Item = &'a Allowlist> {
        self.allowlists.iter().filter(|allowlist| allowlist.is_for(&rule.id)).chain(&rule.allowlists)
    }
}

fn builtin_draft() -> Result<Draft, RuleError> {
    let mut draft = Draft::default();
    for (origin, text) in BUILTIN {
        draft.extend(Draft::parse(text, origin, None, 0)?);
    }
    Ok(draft)
}

/// Rules on the way in: extended rules may still be completed or disabled.
#[derive(Default)]
struct Draft {
    rules: Vec<RuleDraft>,
    allowlists: Vec<Allowlist>,
}

struct RuleDraft {
    id: String,
    place: Place,
    /// Where the regex stands, when it has one.
    regex_place: Option<Place>,
    path: Option<LazyRegex>,
    allowlists: Vec<Allowlist>,
    verify: Option<HttpCheck>,
    syntax: RuleSyntax,
}

impl Draft {
    fn load(path: &Path, depth: usize) -> Result<Self, RuleError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| RuleError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string(), Some(path.parent().unwrap_or(Path::new(""))), depth)
    }

    fn parse(toml: &str, origin: &str, folder: Option<&Path>, depth: usize) -> Result<Self, RuleError> {
        if depth > MAX_EXTENDS {
            return Err(RuleError::TooDeep { origin: origin.into(), limit: MAX_EXTENDS });
        }
        let source = Source::new(origin, toml);
        let file = source.parse()?;
        let mut own = Self::default();
        for rule in file.rules {
            own.rules.push(RuleDraft::new(rule, &source)?);
        }
        for allowlist in file.allowlist.into_iter().chain(file.allowlists) {
            own.allowlists.push(build_allowlist(allowlist, &source, None)?);
        }
        let mut draft = if file.extend.use_default { builtin_draft()? } else { Self::default() };
        if let Some(path) = &file.extend.path {
            let folder = folder.ok_or_else(|| RuleError::NoFile { origin: origin.into() })?;
            draft.extend(Self::load(&folder.join(path), depth + 1)?);
        }
        draft.rules.retain(|rule| !file.extend.disabled_rules.contains(&rule.id));
        draft.extend(own);
        Ok(draft)
    }

    /// Adds rules; those with a known id complete or override the earlier rule.
    fn extend(&mut self, other: Self) {
        for rule in other.rules {
            match self.rules.iter_mut().find(|known| known.id == rule.id) {
                Some(known) => known.complete(rule),
                None => self.rules.push(rule),
            }
        }
        self.allowlists.extend(other.allowlists);
    }

    fn build(self) -> Result<RuleSet, RuleError> {
        let rules: Vec<Rule> = self.rules.into_iter().map(RuleDraft::build).collect::<Result<_, _>>()?;
        assert!(u16::try_from(rules.len()).is_ok(), "rule sets have fewer than 65,536 rules");
        let version = version(&rules, &self.allowlists);
        Ok(RuleSet { rules, allowlists: self.allowlists, version })
    }
}

impl RuleDraft {
    fn new(spanned: Spanned<RuleSyntax>, source: &Source<'_>) -> Result<Self, RuleError> {
        let start = spanned.span().start;
        let mut syntax = spanned.into_inner();
        let place = source.place(start, syntax.id.clone());
        let Some(id) = syntax.id.clone().filter(|id| !id.is_empty()) else {
            return Err(RuleError::Missing { place, key: "id" });
        };
        let lists = syntax.allowlist.take().into_iter().chain(std::mem::take(&mut syntax.allowlists));
        let allowlists =
            lists.map(|list| build_allowlist(list, source, Some(&id))).collect::<Result<_, _>>()?;
        let path = syntax.path.take().map(|path| parse_regex(path, "path", source, Some(&id))).transpose()?;
        let regex_place =
            syntax.regex.as_ref().map(|regex| source.place(regex.span().start, Some(id.clone())));
        let verify = syntax.verify.take().map(|check| check.build(source, &id)).transpose()?;
        Ok(Self { id, place, regex_place, path, allowlists, verify, syntax })
    }

    /// What `other` says replaces what this says; lists grow.
    fn complete(&mut self, other: Self) {
        let (mine, theirs) = (&mut self.syntax, other.syntax);
        if theirs.regex.is_some() {
            mine.regex = theirs.regex;
            self.regex_place = other.regex_place;
        }
        self.path = other.path.or(self.path.take());
        self.allowlists.extend(other.allowlists);
        self.verify = other.verify.or(self.verify.take());
        mine.description = theirs.description.or(mine.description.take());
        mine.severity = theirs.severity.or(mine.severity);
        mine.confidence = theirs.confidence.or(mine.confidence);
        mine.checksum = theirs.checksum.or(mine.checksum);
        mine.documentation = theirs.documentation.or(mine.documentation.take());
        mine.secret_group = theirs.secret_group.or(mine.secret_group);
        mine.entropy = theirs.entropy.or(mine.entropy);
        mine.generic = theirs.generic.or(mine.generic);
        mine.reject.extend(theirs.reject);
        mine.keywords.extend(theirs.keywords);
        mine.tags.extend(theirs.tags);
        mine.examples.matching.extend(theirs.examples.matching);
        mine.examples.near_misses.extend(theirs.examples.near_misses);
    }

    fn build(self) -> Result<Rule, RuleError> {
        let Self { id, place, regex_place, path, allowlists, verify, syntax } = self;
        let (Some(regex), Some(regex_place)) = (syntax.regex, regex_place) else {
            return Err(RuleError::Missing { place, key: "regex" });
        };
        if syntax.keywords.iter().any(String::is_empty) {
            return Err(RuleError::Value { place, key: "keywords", problem: "has an empty text".into() });
        }
        let pattern = Pattern::parse(regex.get_ref(), &syntax.keywords)
            .map_err(|error| pattern_error(error, "regex", regex_place))?;
        // gitleaks writes 0 for "not set".
        let secret_group = syntax.secret_group.filter(|group| *group > 0);
        if secret_group.is_some_and(|group| group > pattern.groups) {
            let problem = format!("is more than the {} groups of the regex", pattern.groups);
            return Err(RuleError::Value { place, key: "secretGroup", problem });
        }
        let is_generic = syntax.generic.unwrap_or(false);
        let confidence = if is_generic { Confidence::Medium } else { Confidence::High };
        let join = |examples: Vec<Vec<String>>| examples.into_iter().map(|pieces| pieces.concat()).collect();
        Ok(Rule {
            description: syntax.description.unwrap_or_else(|| id.clone()),
            id,
            severity: syntax.severity.unwrap_or_default(),
            confidence: syntax.confidence.unwrap_or(confidence),
            checksum: syntax.checksum,
            reject: syntax.reject,
            documentation: syntax.documentation,
            tags: syntax.tags,
            secret_group,
            keywords: syntax.keywords,
            entropy: syntax.entropy.filter(|entropy| *entropy > 0.0),
            is_generic,
            allowlists,
            examples: Examples {
                matching: join(syntax.examples.matching),
                near_misses: join(syntax.examples.near_misses),
            },
            verify,
            path,
            pattern,
        })
    }
}

fn build_allowlist(
    spanned: Spanned<AllowlistSyntax>,
    source: &Source<'_>,
    rule: Option<&str>,
) -> Result<Allowlist, RuleError> {
    let place = source.place(spanned.span().start, rule.map(Into::into));
    let syntax = spanned.into_inner();
    let refuse = |key, problem: &str| RuleError::Value { place: place.clone(), key, problem: problem.into() };
    let condition = match syntax.condition.as_deref().map(str::to_ascii_uppercase).as_deref() {
        None | Some("OR" | "||") => Condition::Or,
        Some("AND" | "&&") => Condition::And,
        Some(_) => return Err(refuse("condition", "must be OR or AND")),
    };
    let regex_target = match syntax.regex_target.as_deref() {
        None | Some("secret") => RegexTarget::Secret,
        Some("match") => RegexTarget::Match,
        Some("line") => RegexTarget::Line,
        Some(_) => return Err(refuse("regexTarget", "must be secret, match or line")),
    };
    if rule.is_some() && !syntax.target_rules.is_empty() {
        return Err(refuse("targetRules", "is for global allowlists only"));
    }
    let is_commit =
        |id: &String| id.len() >= MIN_COMMIT_LEN && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !syntax.commits.iter().all(is_commit) {
        return Err(refuse("commits", "must be hexadecimal commit ids of at least seven digits"));
    }
    if syntax.stopwords.iter().any(String::is_empty) {
        return Err(refuse("stopwords", "has an empty text"));
    }
    let parse_all = |regexes: Vec<Spanned<String>>, key| {
        regexes.into_iter().map(|regex| parse_regex(regex, key, source, rule)).collect::<Result<Vec<_>, _>>()
    };
    let allowlist = Allowlist {
        description: syntax.description,
        condition,
        regex_target,
        target_rules: syntax.target_rules,
        commits: syntax.commits.iter().map(|id| id.to_ascii_lowercase()).collect(),
        stopwords: syntax.stopwords.iter().map(|word| word.to_ascii_lowercase()).collect(),
        paths: parse_all(syntax.paths, "paths")?,
        regexes: parse_all(syntax.regexes, "regexes")?,
    };
    if !allowlist.has_place() && !allowlist.has_content() {
        return Err(refuse("allowlist", "has none of commits, paths, regexes and stopwords"));
    }
    Ok(allowlist)
}

fn parse_regex(
    text: Spanned<String>,
    key: &'static str,
    source: &Source<'_>,
    rule: Option<&str>,
) -> Result<LazyRegex, RuleError> {
    LazyRegex::parse(text.get_ref())
        .map_err(|error| pattern_error(error, key, source.place(text.span().start, rule.map(Into::into))))
}

fn pattern_error(error: PatternError, key: &'static str, place: Place) -> RuleError {
    match error {
        PatternError::Regex(source) => RuleError::Regex { place, key, source },
        PatternError::Unfit(problem) => RuleError::Value { place, key, problem },
    }
}

/// Hashes what decides the findings. Texts for people and examples are left out.
fn version(rules: &[Rule], allowlists: &[Allowlist]) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    };
    add(&format!("{ENGINE_VERSION} {} {}", rules.len(), allowlists.len()));
    for rule in rules {
        add(&rule.id);
        add(rule.bounded_regex());
        let Rule { secret_group, entropy, is_generic, checksum, reject, .. } = rule;
        add(&format!("{:?} {secret_group:?} {entropy:?} {is_generic} {checksum:?} {reject:?}", rule.path()));
        add(&format!("{:?} {}", rule.keywords, rule.allowlists.len()));
    }
    for allowlist in rules.iter().flat_map(|rule| &rule.allowlists).chain(allowlists) {
        let Allowlist { condition, regex_target, target_rules, commits, stopwords, .. } = allowlist;
        add(&format!("{condition:?} {regex_target:?} {target_rules:?} {commits:?} {stopwords:?}"));
        add(&format!("{:?}", allowlist.paths().collect::<Vec<_>>()));
        add(&format!("{:?}", allowlist.regexes().collect::<Vec<_>>()));
    }
    format!("r1-{}", &HEXLOWER.encode(&hash.finalize())[..12])
}
