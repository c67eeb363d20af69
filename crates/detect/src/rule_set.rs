//! Loading rules: parse, take in what they extend, check, and build the [`RuleSet`].

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::alias::canonical;
use crate::error::{Place, RuleError};
use crate::http_check::HttpCheck;
use crate::lazy_regex::LazyRegex;
use crate::pattern::{Pattern, PatternError};
use crate::rule::{Allowlist, Condition, Confidence, Examples, RegexTarget, Required, Rule, RuleIndex};
use crate::rules::Rules;
use crate::search::Search;
use crate::syntax::{AllowlistSyntax, ExamplesSyntax, RequiredSyntax, RuleSyntax, Source, read_file};
use crate::version::version;

/// Stands for the place of the allowlists that come with the program.
const BUILTIN: &str = "builtin";
/// How deep rules may extend each other.
const MAX_EXTENDS: usize = 8;
/// A listed commit id must have this many digits.
const MIN_COMMIT_LEN: usize = 7;

/// Rules and global allowlists, ready for a [`crate::Scanner`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
pub struct RuleSet {
    rules: Rules,
    /// Those about paths alone that report.
    path_rules: Vec<RuleIndex>,
    allowlists: Vec<Allowlist>,
    warnings: Vec<String>,
    version: String,
    search: Search,
}

impl RuleSet {
    /// Rules from a text in gitleaks' TOML syntax; `origin` stands for the file in errors, and `default` are the rules
    /// that `extend.useDefault` stands for.
    ///
    /// # Errors
    /// See [`RuleError`]; an unknown key is one.
    pub fn parse(toml: &str, origin: &str, default: Option<&Self>) -> Result<Self, RuleError> {
        Draft::parse(toml, &Surroundings { origin, folder: None, default, depth: 0 })?.build()
    }

    /// Rules from a file. `extend.path` is taken relative to the file that says so.
    ///
    /// # Errors
    /// See [`RuleError`]; an unknown key is one.
    pub fn load(path: &Path, default: Option<&Self>) -> Result<Self, RuleError> {
        Draft::load(path, default, 0)?.build()
    }

    /// Rules from several texts, each with what stands for the file in errors; generic rules yield to those of earlier
    /// texts.
    ///
    /// # Errors
    /// See [`RuleError`]; an unknown key is one.
    pub fn join<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, RuleError> {
        let mut draft = Draft::default();
        for (origin, text) in texts {
            let around = Surroundings { origin, folder: None, default: None, depth: 0 };
            draft.extend(Draft::parse(text, &around)?);
        }
        draft.build()
    }

    /// Everything that a scan needs, without the examples, for [`RuleSet::from_compiled`] of the same version of this
    /// crate.
    pub fn compile(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a rule set has nothing that postcard can't write")
    }

    /// What [`RuleSet::compile`] wrote: ready in a fraction of the time that parsing takes.
    ///
    /// # Errors
    /// When it was something else.
    pub fn from_compiled(bytes: &'static [u8]) -> Result<Self, postcard::Error> {
        let mut rules: Self = postcard::from_bytes(bytes)?;
        rules.search.lay_out();
        Ok(rules)
    }

    /// The same rules with these examples, in the order of the rules.
    pub fn with_examples(self, examples: Vec<Examples>) -> Self {
        Self { rules: self.rules.with_examples(examples), ..self }
    }

    pub(crate) fn path_rules(&self) -> &[RuleIndex] {
        &self.path_rules
    }

    pub(crate) fn search(&self) -> &Search {
        &self.search
    }

    /// A hash of everything that decides what is found, such as `r1-1a2b3c4d5e6f`: equal versions find the same.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// All rules; the position is the [`RuleIndex`].
    pub fn rules(&self) -> &Rules {
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

    /// All rules, fit to be joined with others.
    pub(crate) fn whole_rules(&self) -> Vec<Rule> {
        self.search.whole_rules(&self.rules)
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
        let search = Search::new(&rules);
        let path_rules = rules.iter().zip(0_u16..).filter(|(rule, _)| rule.is_path_only() && !rule.is_helper);
        let path_rules = path_rules.map(|(_, index)| RuleIndex(index)).collect();
        Self { rules: rules.into_iter().collect(), path_rules, allowlists, warnings, version, search }
    }

    /// Global and own allowlists of a rule, always in the same order.
    pub(crate) fn allowlists_of<'a>(&'a self, rule: &'a Rule) -> impl Iterator<Item = &'a Allowlist> {
        self.allowlists.iter().filter(|allowlist| allowlist.is_for(&rule.id)).chain(&rule.allowlists)
    }
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
    /// What its regex and keywords make, where that is known already.
    pattern: Option<Pattern>,
    syntax: RuleSyntax,
}

/// What a rule file may refer to.
struct Surroundings<'a> {
    /// Stands for the file in errors.
    origin: &'a str,
    /// Where it is.
    folder: Option<&'a Path>,
    /// What `extend.useDefault` stands for.
    default: Option<&'a RuleSet>,
    /// How many files extend each other already.
    depth: usize,
}

impl Draft {
    fn load(path: &Path, default: Option<&RuleSet>, depth: usize) -> Result<Self, RuleError> {
        let text = read_file(path).map_err(|source| RuleError::Read { path: path.to_owned(), source })?;
        let folder = Some(path.parent().unwrap_or(Path::new("")));
        Self::parse(&text, &Surroundings { origin: &path.display().to_string(), folder, default, depth })
    }

    /// Rules that are ready, to be extended.
    fn of(rules: &RuleSet) -> Self {
        let allowlist = |allowlist: &Allowlist| AllowlistDraft {
            place: Place { origin: BUILTIN.into(), line: 0, rule: None },
            allowlist: allowlist.clone(),
        };
        Self {
            rules: rules.whole_rules().into_iter().map(RuleDraft::of).collect(),
            disabled: Vec::new(),
            allowlists: rules.allowlists.iter().map(allowlist).collect(),
            has_default: true,
        }
    }

    fn parse(toml: &str, around: &Surroundings<'_>) -> Result<Self, RuleError> {
        let Surroundings { origin, folder, default, depth } = *around;
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
        let mut draft = match default {
            Some(default) if file.extend.use_default => Self::of(default),
            None if file.extend.use_default => return Err(RuleError::NoDefault { origin: origin.into() }),
            _ => Self::default(),
        };
        if let Some(path) = &file.extend.path {
            let folder = folder.ok_or_else(|| RuleError::NoFile { origin: origin.into() })?;
            draft.extend(Self::load(&folder.join(path), default, depth + 1)?);
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
    /// A rule that is ready.
    fn of(rule: Rule) -> Self {
        let required = |required: Required| {
            let Required { id, within_lines, within_columns, .. } = required;
            (rule.place.clone(), RequiredSyntax { id: Some(id), within_lines, within_columns })
        };
        let has_regex = !rule.is_path_only();
        Self {
            id: rule.id.clone(),
            regex_place: has_regex.then(|| rule.place.clone()),
            path: rule.path,
            allowlists: rule.allowlists,
            verify: rule.verify,
            required: rule.required.into_iter().map(required).collect(),
            syntax: RuleSyntax {
                id: Some(rule.id),
                description: Some(rule.description),
                severity: Some(rule.severity),
                confidence: Some(rule.confidence),
                checksum: rule.checksum,
                reject: rule.reject,
                documentation: rule.documentation,
                regex: has_regex.then(|| Spanned::new(0..0, rule.pattern.source.to_string())),
                path: None,
                secret_group: rule.secret_group,
                keywords: rule.keywords,
                entropy: rule.entropy,
                tags: rule.tags,
                generic: Some(rule.is_generic),
                allowlist: None,
                allowlists: Vec::new(),
                required: Vec::new(),
                skip_report: Some(rule.is_helper),
                examples: ExamplesSyntax::default(),
                verify: None,
            },
            pattern: Some(rule.pattern),
            place: rule.place,
        }
    }

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
        Ok(Self { id, place, regex_place, path, allowlists, verify, required, pattern: None, syntax })
    }

    /// What `other` says replaces what this says; lists grow. What belongs to a regex goes with it.
    fn complete(&mut self, other: Self) {
        let (mine, theirs) = (&mut self.syntax, other.syntax);
        if theirs.regex.is_some() || !theirs.keywords.is_empty() {
            self.pattern = None;
        }
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
        let Self { id, place, regex_place, path, allowlists, verify, required: _, pattern, syntax } = self;
        if syntax.regex.is_none() && path.is_none() {
            return Err(RuleError::Missing { place, keys: "neither `regex` nor `path`" });
        }
        if syntax.regex.is_none() && !required.is_empty() {
            return Err(RuleError::Missing { place, keys: "`required` but no `regex`" });
        }
        if syntax.keywords.iter().any(String::is_empty) {
            return Err(RuleError::Value { place, key: "keywords", problem: "has an empty text".into() });
        }
        let pattern = match (pattern, syntax.regex, regex_place) {
            (Some(pattern), ..) => pattern,
            (None, Some(regex), Some(place)) => Pattern::parse(regex.get_ref(), &syntax.keywords)
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
