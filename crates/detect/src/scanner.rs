//! The scanner: matches of the rules in a content, filtered by everything that the content alone decides.

use std::sync::Arc;

use crate::comment::AllowedLines;
use crate::content::{LineCursor, Transcoded, line_end};
use crate::entropy::shannon;
use crate::excerpt::{MaskedRanges, clean, excerpt};
use crate::proximity::drop_incomplete;
use crate::rule::{Allowlist, Condition, Rule, RuleIndex};
use crate::rule_set::RuleSet;
use crate::search::{Hit, Search};
use crate::secret::Secret;

/// How much of the lines around a match allowlists see, on either side.
const LINE_LIMIT: usize = 4096;

/// Finds secrets with one rule set. Cheap to clone and to share.
#[derive(Clone, Debug)]
pub struct Scanner {
    rules: Arc<RuleSet>,
    search: Arc<Search>,
    /// The rules about paths alone.
    path_rules: Arc<[RuleIndex]>,
    ignores_comments: bool,
}

/// A place where a rule found a secret in some content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMatch {
    /// The rule.
    pub rule: RuleIndex,
    /// Offset of the first byte of the secret in the content as given, also when that is UTF-16.
    pub start: usize,
    /// Offset after the last byte of the secret in the content as given.
    pub end: usize,
    /// Line of the first byte of the secret, from 1. Line and column of UTF-16 content are those of its UTF-8 form.
    pub line: u32,
    /// Column of the first byte of the secret, in bytes, from 1.
    pub column: u32,
    /// Line of the last byte of the secret, from 1.
    pub end_line: u32,
    /// Column after the last byte of the secret, in bytes, from 1.
    pub end_column: u32,
    /// The secret.
    pub secret: Secret,
    /// The line or lines, at most 200 characters around the secret, all secrets masked.
    pub excerpt: String,
    /// Positions among the rule's allowlists of those that exclude the match at the paths and commits they name:
    /// what they ask of the content holds.
    excluded_by: Vec<u16>,
}

impl Scanner {
    /// A scanner with these rules.
    pub fn new(rules: Arc<RuleSet>) -> Self {
        let search = Arc::new(Search::new(rules.rules()));
        let indexes = rules.rules().iter().zip(0_u16..);
        let path_rules = indexes.filter(|(rule, _)| rule.is_path_only() && !rule.is_helper);
        let path_rules = path_rules.map(|(_, index)| RuleIndex(index)).collect();
        Self { rules, search, path_rules, ignores_comments: false }
    }

    /// The same, but comments in the content do not exclude matches.
    #[must_use]
    pub fn ignoring_comments(self) -> Self {
        Self { ignores_comments: true, ..self }
    }

    /// The rules.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Everything that the rules find in the content, whatever its path and commit, in order of offset.
    ///
    /// Content that looks like UTF-16 is scanned as bytes and as text.
    pub fn scan(&self, content: &[u8]) -> Vec<RawMatch> {
        let mut matches = self.scan_bytes(content);
        if let Some(transcoded) = Transcoded::from_utf16(content) {
            let of_text = self.scan_bytes(&transcoded.text).into_iter().map(|found| RawMatch {
                start: transcoded.original_offset(found.start),
                end: transcoded.original_offset(found.end),
                ..found
            });
            matches.extend(of_text);
            matches.sort_by_key(|found| (found.start, found.end, found.rule));
        }
        matches
    }

    /// Whether [`Scanner::scan_path`] can find anything.
    pub fn has_path_rules(&self) -> bool {
        !self.path_rules.is_empty()
    }

    /// What the rules that are about paths alone find: the secret is the path, and it stands at the start of the file.
    ///
    /// These matches need no content; [`Scanner::is_reported`] holds for them too.
    pub fn scan_path(&self, path: &[u8]) -> Vec<RawMatch> {
        let is_match = |index: &&RuleIndex| {
            self.rule(**index).path.as_ref().is_some_and(|regex| regex.get().is_match(path))
        };
        let matches = self.path_rules.iter().filter(is_match).map(|index| {
            let allowlists = self.rules.allowlists_of(self.rule(*index)).zip(0_u16..);
            // What an allowlist asks of a content can't hold.
            let of_place = allowlists.filter(|(allowlist, _)| !allowlist.has_content());
            RawMatch {
                rule: *index,
                start: 0,
                end: 0,
                line: 1,
                column: 1,
                end_line: 1,
                end_column: 1,
                secret: Secret::new(path),
                excerpt: clean(path),
                excluded_by: of_place.map(|(_, position)| position).collect(),
            }
        });
        matches.collect()
    }

    /// Whether a match in content at this path, in this commit (full id in lower-case hexadecimal), is to be reported:
    /// the rule applies to the path and no allowlist excludes the match there.
    ///
    /// The match must come from a scanner with the same rules.
    pub fn is_reported(&self, raw: &RawMatch, path: &[u8], commit: Option<&str>) -> bool {
        let rule = self.rule(raw.rule);
        let holds = |_: &Allowlist, position: u16| raw.excluded_by.contains(&position);
        // Of what is required it is known that it is near, not which match it is.
        let needs_none = |allowlist: &Allowlist, _: u16| !allowlist.has_content();
        self.applies(rule, path, commit, holds)
            && rule
                .required
                .iter()
                .all(|required| self.applies(self.rule(required.rule), path, commit, needs_none))
    }

    /// Whether the rule is for this place. `holds` says of an allowlist that needs both whether what it asks of the
    /// content holds.
    fn applies(
        &self,
        rule: &Rule,
        path: &[u8],
        commit: Option<&str>,
        holds: impl Fn(&Allowlist, u16) -> bool,
    ) -> bool {
        rule.path.as_ref().is_none_or(|regex| regex.get().is_match(path))
            && !self.rules.allowlists_of(rule).zip(0_u16..).any(|(allowlist, position)| {
                allowlist.has_place()
                    && (allowlist.condition == Condition::Or || holds(allowlist, position))
                    && allowlist.matches_place(path, commit)
            })
    }

    fn scan_bytes(&self, content: &[u8]) -> Vec<RawMatch> {
        let found = self.search.find(self.rules.rules(), content);
        if found.hits.is_empty() {
            return Vec::new();
        }
        let masked =
            MaskedRanges::new(found.hits.iter().map(|hit| (hit.secret_start, hit.secret_end)).collect());
        let mut kept: Vec<(Hit, Vec<u16>)> = Vec::new();
        for hit in found.hits {
            if let Some(excluded_by) = self.filter(content, &hit) {
                kept.push((hit, excluded_by));
            }
        }
        kept.sort_by_key(|(hit, _)| (hit.secret_start, hit.secret_end, hit.rule));
        drop_incomplete(&self.rules, content, &mut kept);
        self.drop_generic(&mut kept);
        let comments: &[usize] = if self.ignores_comments { &[] } else { &found.allow_comments };
        let allowed = AllowedLines::new(content, comments);
        let mut matches = Vec::with_capacity(kept.len());
        let mut start = LineCursor::new(content);
        for (hit, excluded_by) in kept {
            start.advance(hit.secret_start);
            let mut end = start.clone();
            end.advance(hit.secret_end - 1);
            if !allowed.is_empty() {
                let (before, after) = lines_beyond_secret(content, &hit);
                if allowed.allow(start.line() - before, end.line() + after) {
                    continue;
                }
            }
            let range = (hit.secret_start, hit.secret_end);
            matches.push(RawMatch {
                rule: RuleIndex(hit.rule),
                start: hit.secret_start,
                end: hit.secret_end,
                line: start.line(),
                column: start.column(),
                end_line: end.line(),
                end_column: end.column().saturating_add(1),
                secret: Secret::new(&content[hit.secret_start..hit.secret_end]),
                excerpt: excerpt(content, &masked, range, start.line_start()),
                excluded_by,
            });
        }
        matches
    }

    /// `None` when entropy or an allowlist excludes the hit wherever the content stands; else the positions of the
    /// allowlists that exclude it at their paths and commits.
    fn filter(&self, content: &[u8], hit: &Hit) -> Option<Vec<u16>> {
        let rule = self.rule(RuleIndex(hit.rule));
        let secret = &content[hit.secret_start..hit.secret_end];
        if rule.entropy.is_some_and(|least| shannon(secret) <= least) {
            return None;
        }
        if rule.checksum.is_some_and(|checksum| !checksum.holds(secret)) {
            return None;
        }
        let whole = &content[hit.start..hit.end];
        let line = line_around(content, hit);
        let mut excluded_by = Vec::new();
        for (allowlist, index) in self.rules.allowlists_of(rule).zip(0_u16..) {
            let is_wanted_place = allowlist.condition == Condition::And && allowlist.has_place();
            let holds = allowlist.has_content() && allowlist.matches_content(secret, whole, line);
            if is_wanted_place {
                if holds || !allowlist.has_content() {
                    excluded_by.push(index);
                }
            } else if holds {
                return None;
            }
        }
        Some(excluded_by)
    }

    /// Of hits on overlapping secrets, generic rules yield to the others and among each other to the earlier rule.
    /// A rule that is for some paths only makes nobody yield, since it may not apply.
    fn drop_generic(&self, kept: &mut Vec<(Hit, Vec<u16>)>) {
        let rule = |hit: &Hit| self.rule(RuleIndex(hit.rule));
        let rank = |hit: &Hit| if rule(hit).is_generic { u32::from(hit.rule) + 1 } else { 0 };
        let mut taken: Vec<(usize, usize, u32)> = kept
            .iter()
            .filter(|(hit, _)| rule(hit).path.is_none())
            .map(|(hit, _)| (hit.secret_start, hit.secret_end, rank(hit)))
            .collect();
        taken.sort_unstable();
        let longest = taken.iter().map(|(start, end, _)| end - start).max().unwrap_or(0);
        kept.retain(|(hit, _)| {
            let own = rank(hit);
            let first = taken.partition_point(|(start, ..)| *start + longest <= hit.secret_start);
            !taken[first..]
                .iter()
                .take_while(|(start, ..)| *start < hit.secret_end)
                .any(|(_, end, rank)| *end > hit.secret_start && *rank < own)
        });
    }

    fn rule(&self, index: RuleIndex) -> &Rule {
        self.rules.rule(index)
    }
}

/// How many line breaks the match has before and after the secret. White space at its ends is passed over: a regex may
/// look for a line break, so as to see where a word starts.
fn lines_beyond_secret(content: &[u8], hit: &Hit) -> (u32, u32) {
    let line_breaks =
        |bytes: &[u8]| u32::try_from(memchr::memchr_iter(b'\n', bytes).count()).unwrap_or(u32::MAX);
    let before = content[hit.start..hit.secret_start].trim_ascii_start();
    let after = content[hit.secret_end..hit.end].trim_ascii_end();
    (line_breaks(before), line_breaks(after))
}

/// The lines of the match, within [`LINE_LIMIT`].
fn line_around<'a>(content: &'a [u8], hit: &Hit) -> &'a [u8] {
    let from = hit.start.saturating_sub(LINE_LIMIT);
    let start = memchr::memrchr(b'\n', &content[from..hit.start]).map_or(from, |newline| from + newline + 1);
    &content[start..line_end(content, hit.end, LINE_LIMIT)]
}
