//! What the rules find in a content, by their definition: every regex over all of it, then one exclusion after the
//! other. No prefilter, no windows, nothing of the engine but the rules as data.

use std::ops::Range;

use anyhow::Context;
use regex::bytes::{Regex, RegexBuilder};
use secretscan_detect::{Allowlist, Condition, RegexTarget, Rule, RuleSet};

/// Comments that exclude the matches on their line.
const ALLOW_COMMENTS: [&str; 2] = ["secretscan:allow", "gitleaks:allow"];
/// How much of the line before and after a match an allowlist sees.
const LINE_LIMIT: usize = 4096;
/// Large enough for the repetitions in the built-in rules.
const SIZE_LIMIT: usize = 512 << 20;

/// Rules with compiled regexes.
pub(crate) struct NaiveScanner<'a> {
    rules: Vec<NaiveRule<'a>>,
}

struct NaiveRule<'a> {
    rule: &'a Rule,
    regex: Regex,
    path: Option<Regex>,
    allowlists: Vec<NaiveAllowlist<'a>>,
}

struct NaiveAllowlist<'a> {
    allowlist: &'a Allowlist,
    paths: Vec<Regex>,
    regexes: Vec<Regex>,
}

/// What a rule finds in a content whatever its path and commit; they may still exclude it.
#[derive(Clone, Debug)]
pub(crate) struct NaiveMatch {
    /// The place of the rule in the rule set.
    pub(crate) rule: usize,
    pub(crate) secret: Vec<u8>,
    whole: Vec<u8>,
    line: Vec<u8>,
    whole_range: Range<usize>,
    secret_range: Range<usize>,
}

impl NaiveMatch {
    /// The secret without the backslashes that JSON may put before slashes.
    pub(crate) fn value(&self) -> Vec<u8> {
        let mut value = self.secret.clone();
        while let Some(at) = value.windows(2).position(|pair| pair == br"\/") {
            value.remove(at);
        }
        value
    }
}

/// The path and the commit (hexadecimal) that a content stands at.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) commit: &'a str,
}

impl<'a> NaiveScanner<'a> {
    pub(crate) fn new(rules: &'a RuleSet) -> anyhow::Result<Self> {
        let compile =
            |rule| NaiveRule::new(rule, rules).with_context(|| format!("compiling rule {}", rule.id));
        Ok(Self { rules: rules.rules().iter().map(compile).collect::<anyhow::Result<_>>()? })
    }

    /// The matches in a content, as bytes and, after a UTF-16 byte order mark, as text too.
    pub(crate) fn scan(&self, content: &[u8]) -> Vec<NaiveMatch> {
        let mut matches = self.scan_bytes(content);
        let text = match content {
            [0xFF, 0xFE, rest @ ..] => Some(decode_utf16(rest, u16::from_le_bytes)),
            [0xFE, 0xFF, rest @ ..] => Some(decode_utf16(rest, u16::from_be_bytes)),
            _ => None,
        };
        matches.extend(text.iter().flat_map(|text| self.scan_bytes(text.as_bytes())));
        matches
    }

    /// Whether a match in content at this place is to be reported.
    pub(crate) fn is_reported(&self, found: &NaiveMatch, place: Place<'_>) -> bool {
        let rule = &self.rules[found.rule];
        let is_for_path =
            |rule: &NaiveRule<'_>| rule.path.as_ref().is_none_or(|regex| regex.is_match(place.path));
        is_for_path(rule)
            && rule.rule.required.iter().all(|required| is_for_path(self.by_id(&required.id)))
            && !rule.allowlists.iter().any(|allowlist| allowlist.excludes(found, Some(place)))
    }

    /// The matches of rules about paths alone.
    pub(crate) fn scan_path(&self, path: &[u8]) -> Vec<NaiveMatch> {
        let rules = self.rules.iter().enumerate();
        let matching = rules.filter(|(_, naive)| {
            naive.rule.is_path_only()
                && !naive.rule.is_helper
                && naive.path.as_ref().is_some_and(|regex| regex.is_match(path))
        });
        let found = |(rule, _)| NaiveMatch {
            rule,
            secret: path.to_vec(),
            whole: Vec::new(),
            line: Vec::new(),
            whole_range: 0..0,
            secret_range: 0..0,
        };
        matching.map(found).collect()
    }

    fn by_id(&self, id: &str) -> &NaiveRule<'a> {
        self.rules.iter().find(|naive| naive.rule.id == id).expect("rule sets have what their rules require")
    }

    pub(crate) fn rule_id(&self, found: &NaiveMatch) -> &str {
        &self.rules[found.rule].rule.id
    }

    fn scan_bytes(&self, content: &[u8]) -> Vec<NaiveMatch> {
        let lower = content.to_ascii_lowercase();
        let mut matches = Vec::new();
        for (index, naive) in self.rules.iter().enumerate() {
            let keywords = &naive.rule.keywords;
            if !keywords.is_empty()
                && !keywords.iter().any(|word| contains(&lower, &word.to_ascii_lowercase()))
            {
                continue;
            }
            for captures in naive.regex.captures_iter(content) {
                let whole = captures.get_match().range();
                let group =
                    |group| captures.get(group).map(|group| group.range()).filter(|range| !range.is_empty());
                let secret = match naive.rule.secret_group {
                    Some(number) => group(number),
                    None => (1..captures.len()).find_map(group),
                };
                let secret_range = secret.unwrap_or_else(|| whole.clone());
                let found = NaiveMatch {
                    rule: index,
                    secret: content[secret_range.clone()].to_vec(),
                    whole: content[whole.clone()].to_vec(),
                    line: content[line_of(content, &whole)].to_vec(),
                    whole_range: whole,
                    secret_range,
                };
                let has_entropy = naive.rule.entropy.is_none_or(|least| entropy(&found.secret) > least);
                let has_checksum = naive.rule.checksum.is_none_or(|checksum| checksum.holds(&found.secret));
                let has_shape = !naive.rule.reject.iter().any(|shape| shape.holds(&found.secret));
                if has_entropy
                    && has_checksum
                    && has_shape
                    && !naive.allowlists.iter().any(|allowlist| allowlist.excludes(&found, None))
                {
                    matches.push(found);
                }
            }
        }
        let is_complete = |found: &NaiveMatch| self.is_complete(found, &matches, content);
        let matches: Vec<NaiveMatch> = matches.iter().filter(|found| is_complete(found)).cloned().collect();
        let yields = |found: &NaiveMatch| matches.iter().any(|other| self.must_yield(found, other));
        let is_allowed = |found: &NaiveMatch| has_allow_comment(content, &found.whole_range);
        matches.iter().filter(|found| !yields(found) && !is_allowed(found)).cloned().collect()
    }

    /// Whether it reports by itself, and every rule that it requires has a match near it.
    fn is_complete(&self, found: &NaiveMatch, all: &[NaiveMatch], content: &[u8]) -> bool {
        let place = |found: &NaiveMatch| {
            let before = &content[..found.secret_range.start];
            let lines: Vec<&[u8]> = before.split(|byte| *byte == b'\n').collect();
            (lines.len(), lines.last().map_or(0, |line| line.len()))
        };
        let rule = self.rules[found.rule].rule;
        let (line, column) = place(found);
        !rule.is_helper
            && rule.required.iter().all(|required| {
                all.iter().filter(|other| self.rule_id(other) == required.id).map(place).any(|(l, c)| {
                    required.within_lines.is_none_or(|most| l.abs_diff(line) <= most as usize)
                        && required.within_columns.is_none_or(|most| c.abs_diff(column) <= most as usize)
                })
            })
    }

    /// On overlapping secrets, a generic rule yields to any other that is for all paths, to a generic one only when
    /// that comes earlier.
    fn must_yield(&self, found: &NaiveMatch, other: &NaiveMatch) -> bool {
        let (own, others) = (&self.rules[found.rule], &self.rules[other.rule]);
        own.rule.is_generic
            && others.path.is_none()
            && (!others.rule.is_generic || other.rule < found.rule)
            && found.secret_range.start < other.secret_range.end
            && other.secret_range.start < found.secret_range.end
    }
}

impl<'a> NaiveRule<'a> {
    fn new(rule: &'a Rule, rules: &'a RuleSet) -> Result<Self, regex::Error> {
        let global = rules.allowlists().iter().filter(|allowlist| allowlist.is_for(&rule.id));
        Ok(Self {
            rule,
            regex: RegexBuilder::new(rule.bounded_regex()).size_limit(SIZE_LIMIT).build()?,
            path: rule.path().map(compile_condition).transpose()?,
            allowlists: global.chain(&rule.allowlists).map(NaiveAllowlist::new).collect::<Result<_, _>>()?,
        })
    }
}

impl<'a> NaiveAllowlist<'a> {
    fn new(allowlist: &'a Allowlist) -> Result<Self, regex::Error> {
        let paths = allowlist.paths().map(compile_condition).collect::<Result<_, _>>()?;
        let regexes = allowlist.regexes().map(compile_condition).collect::<Result<_, _>>()?;
        Ok(Self { allowlist, paths, regexes })
    }

    /// Without a place: whether it excludes the match at every place.
    fn excludes(&self, found: &NaiveMatch, place: Option<Place<'_>>) -> bool {
        let Allowlist { condition, regex_target, commits, stopwords, .. } = self.allowlist;
        let target = match regex_target {
            RegexTarget::Secret => &found.secret,
            RegexTarget::Match => &found.whole,
            RegexTarget::Line => &found.line,
        };
        let lower = found.secret.to_ascii_lowercase();
        let is_path = |place: Place<'_>| self.paths.iter().any(|regex| regex.is_match(place.path));
        let is_commit = |place: Place<'_>| commits.iter().any(|id| place.commit.starts_with(id.as_str()));
        let mut conditions = Vec::new();
        if !self.regexes.is_empty() {
            conditions.push(self.regexes.iter().any(|regex| regex.is_match(target)));
        }
        if !stopwords.is_empty() {
            conditions.push(stopwords.iter().any(|word| contains(&lower, word)));
        }
        if !self.paths.is_empty() {
            conditions.push(place.is_some_and(is_path));
        }
        if !commits.is_empty() {
            conditions.push(place.is_some_and(is_commit));
        }
        match condition {
            Condition::Or => conditions.contains(&true),
            Condition::And => !conditions.contains(&false),
        }
    }
}

/// Bytes mode, with Unicode only where the regex can't do without.
fn compile_condition(text: &str) -> Result<Regex, regex::Error> {
    let build = |unicode| RegexBuilder::new(text).unicode(unicode).size_limit(SIZE_LIMIT).build();
    build(false).or_else(|_| build(true))
}

fn contains(content: &[u8], word: &str) -> bool {
    memchr::memmem::find(content, word.as_bytes()).is_some()
}

/// Shannon entropy in bits per byte.
fn entropy(bytes: &[u8]) -> f64 {
    let share = |byte: u8| bytes.iter().filter(|other| **other == byte).count() as f64 / bytes.len() as f64;
    let shares = (0..=u8::MAX).map(share).filter(|share| *share > 0.0);
    shares.map(|share| -share * share.log2()).sum()
}

fn decode_utf16(bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}

/// From the start of the first line of the range to the end of its last, without the line break, within the limit.
fn line_of(content: &[u8], range: &Range<usize>) -> Range<usize> {
    let mut start = range.start;
    while start > 0 && content[start - 1] != b'\n' && range.start - start < LINE_LIMIT {
        start -= 1;
    }
    let mut end = range.end;
    while end < content.len() && content[end] != b'\n' && end - range.end < LINE_LIMIT {
        end += 1;
    }
    if content.get(end) == Some(&b'\n') && end > range.end && content[end - 1] == b'\r' {
        end -= 1;
    }
    start..end
}

/// A comment on any line of the match or, when it has several, alone on the line before it.
fn has_allow_comment(content: &[u8], whole: &Range<usize>) -> bool {
    let text = &content[whole.clone()];
    let start = whole.start + (text.len() - text.trim_ascii_start().len());
    let end = whole.end - (text.len() - text.trim_ascii_end().len());
    let line_start = |at: usize| content[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let first = line_start(start);
    let rest = &content[end..];
    let last = rest.iter().position(|byte| *byte == b'\n').map_or(content.len(), |at| end + at);
    let lines = content[first..last].to_ascii_lowercase();
    let before = &content[line_start(first.saturating_sub(1))..first].to_ascii_lowercase();
    ALLOW_COMMENTS.iter().any(|comment| {
        let is_alone = || {
            let at = memchr::memmem::find(before, comment.as_bytes());
            let plain = |bytes: &[u8]| !bytes.iter().any(|b| b.is_ascii_alphanumeric() || !b.is_ascii());
            at.is_some_and(|at| plain(&before[..at]) && plain(&before[at + comment.len()..]))
        };
        contains(&lines, comment) || (content[start..end].contains(&b'\n') && is_alone())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use secretscan_detect::{Depth, Scanner};

    use super::*;
    use crate::random::Random;

    /// They are independent, so what they agree on is what the rules say.
    #[test]
    fn the_engine_agrees_on_all_examples() {
        let rules = Arc::new(secretscan_rules::builtin_with_examples());
        // The naive one does not decode.
        let engine = Scanner::new(rules.clone()).with_depth(Depth { decode: 0, archive: 0 });
        let naive = NaiveScanner::new(&rules).unwrap();
        let examples = |rule: &Rule| [&rule.examples.matching[..], &rule.examples.near_misses].concat();
        let single: Vec<String> = rules.rules().iter().flat_map(examples).collect();
        let all = single.iter().cloned().chain(single.chunks(20).map(|together| together.join("\n")));
        let place = Place { path: b"src/main.rs", commit: "0123456789abcdef0123456789abcdef01234567" };
        for (number, content) in all.enumerate() {
            let content = content.as_bytes();
            // Among several examples something may decode, before which generic rules yield.
            let is_compared = |id: &&str| {
                let rule = rules.rules().iter().find(|rule| rule.id == **id);
                number < single.len() || rule.is_some_and(|rule| !rule.is_generic)
            };
            let by_naive: BTreeSet<(&str, Vec<u8>)> = naive
                .scan(content)
                .into_iter()
                .filter(|found| naive.is_reported(found, place))
                .map(|found| (naive.rule_id(&found), found.value()))
                .filter(|(id, _)| is_compared(id))
                .collect();
            let by_engine: BTreeSet<(&str, Vec<u8>)> = engine
                .scan(content)
                .into_iter()
                .filter(|found| engine.is_reported(found, place.path, Some(place.commit)))
                .filter(|found| found.decoded_from.is_none())
                .map(|found| (rules.rule(found.rule).id.as_str(), found.secret.expose().to_vec()))
                .filter(|(id, _)| is_compared(id))
                .collect();
            assert_eq!(by_naive, by_engine, "{}", content.escape_ascii());
        }
    }

    #[test]
    fn the_engine_agrees_on_composite_rules_paths_and_comments() {
        const RULES: &str = r"
[[rules]]
id = 'near'
regex = '''secret-([0-9])'''
required = [{ id = 'user', withinLines = 1, withinColumns = 12 }]
[[rules]]
id = 'both'
regex = '''(?s)BEGIN\s(.{1,20}?)\sEND'''
required = [{ id = 'user' }, { id = 'env', withinColumns = 6 }]
[[rules]]
id = 'user'
regex = '''user-[ab]'''
[[rules]]
id = 'env'
regex = '''env-[ab]'''
path = '''[.]env$'''
skipReport = true
[[rules]]
id = 'any'
regex = '''(?:secret|env)-[0-9ab]'''
generic = true
[[rules]]
id = 'file'
path = '''^a'''
";
        const PIECES: &[&str] = &[
            "secret-1",
            "secret-2",
            "user-a",
            "user-b",
            "env-a",
            "BEGIN",
            "END",
            "# gitleaks:allow",
            "\n",
            "\n",
            "\r\n",
            " ",
            " ",
            "\t",
            "    ",
            "x",
            "/* secretscan:allow */",
        ];
        let rules = Arc::new(RuleSet::parse(RULES, "test", None).unwrap());
        let (naive, engine) = (NaiveScanner::new(&rules).unwrap(), Scanner::new(rules.clone()));
        let mut random = Random::new(1);
        for _ in 0..20_000 {
            let content: String = (0..random.below(24)).map(|_| *random.choose(PIECES)).collect();
            let path = random.choose(&["a/.env", "b/.env", "b"]).as_bytes();
            let mut by_naive: Vec<(&str, Vec<u8>)> = naive
                .scan(content.as_bytes())
                .into_iter()
                .chain(naive.scan_path(path))
                .filter(|found| naive.is_reported(found, Place { path, commit: "0123" }))
                .map(|found| (naive.rule_id(&found), found.value()))
                .collect();
            let mut by_engine: Vec<(&str, Vec<u8>)> = engine
                .scan(content.as_bytes())
                .into_iter()
                .chain(engine.scan_path(path))
                .filter(|found| engine.is_reported(found, path, Some("0123")))
                .map(|found| (rules.rule(found.rule).id.as_str(), found.secret.expose().to_vec()))
                .collect();
            by_naive.sort();
            by_engine.sort();
            assert_eq!(by_naive, by_engine, "{content:?}");
        }
    }
}
