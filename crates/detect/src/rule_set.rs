//! Loading rules: parse, take in what they extend, check, and build the [`RuleSet`].

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use toml::Spanned;

use crate::alias::canonical;
use crate::error::{Place, RuleError};
use crate::http_check::HttpCheck;
use crate::pattern::{LazyRegex, Pattern, PatternError};
use crate::rule::{Allowlist, Condition, Confidence, Examples, RegexTarget, Required, Rule, RuleIndex};
use crate::syntax::{AllowlistSyntax, ExamplesSyntax, RequiredSyntax, RuleSyntax, Source};

/// The built-in rules, in order of precedence among generic ones.
const BUILTIN: &[(&str, &str)] = &[
    ("builtin/allowlist.toml", include_str!("../../rules/builtin/allowlist.toml")),
    ("builtin/ai.toml", include_str!("../../rules/builtin/ai.toml")),
    ("builtin/analytics.toml", include_str!("../../rules/builtin/analytics.toml")),
    ("builtin/chat.toml", include_str!("../../rules/builtin/chat.toml")),
    ("builtin/ci.toml", include_str!("../../rules/builtin/ci.toml")),
    ("builtin/cloud.toml", include_str!("../../rules/builtin/cloud.toml")),
    ("builtin/commerce.toml", include_str!("../../rules/builtin/commerce.toml")),
    ("builtin/communication.toml", include_str!("../../rules/builtin/communication.toml")),
    ("builtin/crypto.toml", include_str!("../../rules/builtin/crypto.toml")),
    ("builtin/developer-tools.toml", include_str!("../../rules/builtin/developer-tools.toml")),
    ("builtin/identity.toml", include_str!("../../rules/builtin/identity.toml")),
    ("builtin/infrastructure.toml", include_str!("../../rules/builtin/infrastructure.toml")),
    ("builtin/keys.toml", include_str!("../../rules/builtin/keys.toml")),
    ("builtin/mail.toml", include_str!("../../rules/builtin/mail.toml")),
    ("builtin/media.toml", include_str!("../../rules/builtin/media.toml")),
    ("builtin/monitoring.toml", include_str!("../../rules/builtin/monitoring.toml")),
    ("builtin/packages.toml", include_str!("../../rules/builtin/packages.toml")),
    ("builtin/payment.toml", include_str!("../../rules/builtin/payment.toml")),
    ("builtin/productivity.toml", include_str!("../../rules/builtin/productivity.toml")),
    ("builtin/security.toml", include_str!("../../rules/builtin/security.toml")),
    ("builtin/social.toml", include_str!("../../rules/builtin/social.toml")),
    ("builtin/source-hosting.toml", include_str!("../../rules/builtin/source-hosting.toml")),
    ("builtin/databases.toml", include_str!("../../rules/builtin/databases.toml")),
    ("builtin/files.toml", include_str!("../../rules/builtin/files.toml")),
    ("builtin/generic.toml", include_str!("../../rules/builtin/generic.toml")),
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
    warnings: Vec<String>,
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

    /// What the rule files say that has no effect: they speak of default rules of gitleaks that are none of ours.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Joins rules; those that they require must be among them.
    pub(crate) fn assemble(mut rules: Vec<Rule>, allowlists: Vec<Allowlist>, warnings: Vec<String>) -> Self {
        assert!(u16::try_from(rules.len()).is_ok(), "rule sets have fewer than 65,536 rules");
        let ids: HashMap<String, RuleIndex> =
            rules.iter().zip(0_u16..).map(|(rule, index)| (rule.id.clone(), RuleIndex(index))).collect();
        for required in rules.iter_mut().flat_map(|rule| &mut rule.required) {
            required.rule = ids[&required.id];
        }
        let version = version(&rules, &allowlists);
        Self { rules, allowlists, warnings, version }
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
    /// Rules that are not to report, which others may require all the same.
    disabled: Vec<RuleDraft>,
    allowlists: Vec<AllowlistDraft>,
    /// Whether the built-in rules stand in for those of gitleaks, of which some have no counterpart.
    has_default: bool,
}

struct AllowlistDraft {
    place: Place,
    allowlist: Allowlist,
}

struct RuleDraft {
    id: String,
    place: Place,
    /// Where the regex stands, when it has one.
    regex_place: Option<Place>,
    path: Option<LazyRegex>,
    allowlists: Vec<Allowlist>,
    verify: Option<HttpCheck>,
    required: Vec<(Place, RequiredSyntax)>,
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
            let place = source.place(allowlist.span().start, None);
            own.allowlists
                .push(AllowlistDraft { place, allowlist: build_allowlist(allowlist, &source, None)? });
        }
        if let Some(url) = &file.extend.url {
            let place = source.place(url.span().start, None);
            let problem = "is not supported: rules are never fetched over the network; download the file and name it \
                           in `extend.path`";
            return Err(RuleError::Value { place, key: "extend.url", problem: problem.into() });
        }
        let mut draft = if file.extend.use_default { builtin_draft()? } else { Self::default() };
        draft.has_default |= file.extend.use_default;
        if let Some(path) = &file.extend.path {
            let folder = folder.ok_or_else(|| RuleError::NoFile { origin: origin.into() })?;
            draft.extend(Self::load(&folder.join(path), depth + 1)?);
        }
        for id in &file.extend.disabled_rules {
            let id = draft.known_id(id);
            draft.disabled.extend(draft.rules.extract_if(.., |rule| rule.id == id));
        }
        draft.extend(own);
        Ok(draft)
    }

    /// Adds rules; those with a known id complete or override the earlier rule.
    fn extend(&mut self, other: Self) {
        for rule in other.rules {
            // A rule with a regex of its own need not be what we know by another id.
            let id = if rule.syntax.regex.is_some() { rule.id.clone() } else { self.known_id(&rule.id) };
            match self.rules.iter_mut().find(|known| known.id == id) {
                Some(known) => known.complete(rule),
                None => self.rules.push(rule),
            }
        }
        self.disabled.extend(other.disabled);
        self.allowlists.extend(other.allowlists);
        self.has_default |= other.has_default;
    }

    fn has(&self, id: &str) -> bool {
        self.rules.iter().chain(&self.disabled).any(|rule| rule.id == id)
    }

    /// The id by which these rules know a rule that gitleaks may know by another.
    fn known_id(&self, id: &str) -> String {
        let ours = canonical(id);
        if !self.has(id) && self.has(ours) { ours.into() } else { id.into() }
    }

    fn build(mut self) -> Result<RuleSet, RuleError> {
        let mut warnings = Vec::new();
        if self.has_default {
            // It completes a default rule of gitleaks that has no counterpart here.
            let is_rule = |rule: &RuleDraft| rule.syntax.regex.is_some() || rule.path.is_some();
            for RuleDraft { place, .. } in self.rules.extract_if(.., |rule| !is_rule(rule)) {
                warnings.push(format!("{place}: the rule has no effect: no built-in rule has its id"));
            }
        }
        let mut allowlists = Vec::with_capacity(self.allowlists.len());
        for mut draft in std::mem::take(&mut self.allowlists) {
            self.resolve_targets(&mut draft, &mut warnings)?;
            allowlists.push(draft.allowlist);
        }
        self.enable_required();
        let required =
            (0..self.rules.len()).map(|n| self.resolve_required(n)).collect::<Result<Vec<_>, _>>()?;
        let rules = self.rules.into_iter().zip(required);
        let rules = rules.map(|(rule, required)| rule.build(required)).collect::<Result<_, _>>()?;
        Ok(RuleSet::assemble(rules, allowlists, warnings))
    }

    /// Takes disabled rules back as helpers of those that require them.
    fn enable_required(&mut self) {
        for rule in std::mem::take(&mut self.disabled) {
            let is_required = |other: &RuleDraft| {
                let mut ids = other.required.iter().filter_map(|(_, required)| required.id.as_deref());
                ids.any(|id| id == rule.id || canonical(id) == rule.id)
            };
            if !self.rules.iter().any(|other| other.id == rule.id) && self.rules.iter().any(is_required) {
                let syntax = RuleSyntax { skip_report: Some(true), ..rule.syntax };
                self.rules.push(RuleDraft { required: Vec::new(), syntax, ..rule });
            }
        }
    }

    fn resolve_targets(
        &self,
        AllowlistDraft { place, allowlist }: &mut AllowlistDraft,
        warnings: &mut Vec<String>,
    ) -> Result<(), RuleError> {
        for target in &mut allowlist.target_rules {
            *target = self.known_id(target);
            if self.has(target) {
                continue;
            }
            let problem = format!("names the rule `{target}`, which is not there");
            if !self.has_default {
                return Err(RuleError::Value { place: place.clone(), key: "targetRules", problem });
            }
            warnings.push(format!("{place}: `targetRules` {problem}"));
        }
        Ok(())
    }

    /// What the rule at this position requires.
    fn resolve_required(&self, n: usize) -> Result<Vec<Required>, RuleError> {
        let resolve = |(place, required): &(Place, RequiredSyntax)| {
            let refuse =
                |problem: String| Err(RuleError::Value { place: place.clone(), key: "required", problem });
            let Some(id) = &required.id else { return refuse("has no `id`".into()) };
            let id = self.known_id(id);
            match self.rules.iter().position(|rule| rule.id == id) {
                None => refuse(format!("names the rule `{id}`, which is not there")),
                Some(other) if other == n => refuse("names the rule itself".into()),
                Some(other) if self.rules[other].syntax.regex.is_none() => {
                    refuse(format!("names the rule `{id}`, which has no regex"))
                }
                Some(other) => Ok(Required {
                    id,
                    within_lines: required.within_lines,
                    within_columns: required.within_columns,
                    rule: RuleIndex(u16::try_from(other).expect("rule sets have fewer than 65,536 rules")),
                }),
            }
        };
        self.rules[n].required.iter().map(resolve).collect()
    }
}

impl RuleDraft {
    fn new(spanned: Spanned<RuleSyntax>, source: &Source<'_>) -> Result<Self, RuleError> {
        let start = spanned.span().start;
        let mut syntax = spanned.into_inner();
        let place = source.place(start, syntax.id.clone());
        let Some(id) = syntax.id.clone().filter(|id| !id.is_empty()) else {
            return Err(RuleError::Missing { place, keys: "no `id`" });
        };
        let lists = syntax.allowlist.take().into_iter().chain(std::mem::take(&mut syntax.allowlists));
        let allowlists =
            lists.map(|list| build_allowlist(list, source, Some(&id))).collect::<Result<_, _>>()?;
        let place_of =
            |required: &Spanned<RequiredSyntax>| source.place(required.span().start, Some(id.clone()));
        let required = std::mem::take(&mut syntax.required)
            .into_iter()
            .map(|required| (place_of(&required), required.into_inner()))
            .collect();
        let path = syntax.path.take().map(|path| parse_regex(path, "path", source, Some(&id))).transpose()?;
        let regex_place =
            syntax.regex.as_ref().map(|regex| source.place(regex.span().start, Some(id.clone())));
        let verify = syntax.verify.take().map(|check| check.build(source, &id)).transpose()?;
        Ok(Self { id, place, regex_place, path, allowlists, verify, required, syntax })
    }

    /// What `other` says replaces what this says; lists grow. What belongs to a regex goes with it.
    fn complete(&mut self, other: Self) {
        let (mine, theirs) = (&mut self.syntax, other.syntax);
        if theirs.regex.is_some() {
            mine.regex = theirs.regex;
            self.regex_place = other.regex_place;
            (mine.secret_group, mine.checksum, mine.examples) = (None, None, ExamplesSyntax::default());
            mine.reject.clear();
            self.verify = None;
            if theirs.keywords.is_empty() {
                mine.keywords.clear();
            }
        }
        self.path = other.path.or(self.path.take());
        self.allowlists.extend(other.allowlists);
        self.verify = other.verify.or(self.verify.take());
        self.required.extend(other.required);
        mine.skip_report = theirs.skip_report.or(mine.skip_report);
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

    fn build(self, required: Vec<Required>) -> Result<Rule, RuleError> {
        let Self { id, place, regex_place, path, allowlists, verify, required: _, syntax } = self;
        if syntax.regex.is_none() && path.is_none() {
            return Err(RuleError::Missing { place, keys: "neither `regex` nor `path`" });
        }
        if syntax.regex.is_none() && !required.is_empty() {
            return Err(RuleError::Missing { place, keys: "`required` but no `regex`" });
        }
        if syntax.keywords.iter().any(String::is_empty) {
            return Err(RuleError::Value { place, key: "keywords", problem: "has an empty text".into() });
        }
        let pattern = match (syntax.regex, regex_place) {
            (Some(regex), Some(place)) => Pattern::parse(regex.get_ref(), &syntax.keywords)
                .map_err(|error| pattern_error(error, "regex", place))?,
            _ => Pattern::never(),
        };
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
            required,
            is_helper: syntax.skip_report.unwrap_or(false),
            examples: Examples {
                matching: join(syntax.examples.matching),
                near_misses: join(syntax.examples.near_misses),
            },
            verify,
            place,
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
        add(&format!("{:?} {}", rule.required, rule.is_helper));
    }
    for allowlist in rules.iter().flat_map(|rule| &rule.allowlists).chain(allowlists) {
        let Allowlist { condition, regex_target, target_rules, commits, stopwords, .. } = allowlist;
        add(&format!("{condition:?} {regex_target:?} {target_rules:?} {commits:?} {stopwords:?}"));
        add(&format!("{:?}", allowlist.paths().collect::<Vec<_>>()));
        add(&format!("{:?}", allowlist.regexes().collect::<Vec<_>>()));
    }
    format!("r1-{}", &HEXLOWER.encode(&hash.finalize())[..12])
}
