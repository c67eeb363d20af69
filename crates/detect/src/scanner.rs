//! The scanner: matches of the rules in a content, filtered by everything that the content alone decides.

use std::sync::Arc;

use crate::content::{LineCursor, Transcoded, line_end};
use crate::entropy::shannon;
use crate::excerpt::{MaskedRanges, excerpt};
use crate::rule::{Condition, Rule, RuleIndex};
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
        Self { rules, search }
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

    /// Whether a match in content at this path, in this commit (full id in lower-case hexadecimal), is to be reported:
    /// the rule applies to the path and no allowlist excludes the match there.
    ///
    /// The match must come from a scanner with the same rules.
    pub fn is_reported(&self, raw: &RawMatch, path: &[u8], commit: Option<&str>) -> bool {
        let rule = self.rules.rule(raw.rule);
        if rule.path.as_ref().is_some_and(|regex| !regex.get().is_match(path)) {
            return false;
        }
        !self.rules.allowlists_of(rule).zip(0_u16..).any(|(allowlist, index)| {
            allowlist.has_place()
                && (allowlist.condition == Condition::Or || raw.excluded_by.contains(&index))
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
        self.drop_generic(&mut kept);
        let allowed_lines = lines_of(content, &found.allow_comments);
        kept.sort_by_key(|(hit, _)| (hit.secret_start, hit.secret_end, hit.rule));
        let mut matches = Vec::with_capacity(kept.len());
        let mut start = LineCursor::new(content);
        for (hit, excluded_by) in kept {
            start.advance(hit.secret_start);
            let mut end = start.clone();
            end.advance(hit.secret_end - 1);
            let lines = start.line()..=end.line();
            if allowed_lines.iter().any(|line| lines.contains(line)) {
                continue;
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
        let rule = self.rule(hit);
        let secret = &content[hit.secret_start..hit.secret_end];
        if rule.entropy.is_some_and(|least| shannon(secret) <= least) {
            return None;
        }
        if rule.checksum.is_some_and(|checksum| !checksum.holds(secret)) {
            return None;
        }
        if rule.reject.iter().any(|shape| shape.holds(secret)) {
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
        let rank = |hit: &Hit| if self.rule(hit).is_generic { u32::from(hit.rule) + 1 } else { 0 };
        let mut taken: Vec<(usize, usize, u32)> = kept
            .iter()
            .filter(|(hit, _)| self.rule(hit).path.is_none())
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

    fn rule(&self, hit: &Hit) -> &Rule {
        self.rules.rule(RuleIndex(hit.rule))
    }
}

/// The lines of ascending offsets.
fn lines_of(content: &[u8], offsets: &[usize]) -> Vec<u32> {
    let mut cursor = LineCursor::new(content);
    let mut lines: Vec<u32> = offsets
        .iter()
        .map(|offset| {
            cursor.advance(*offset);
            cursor.line()
        })
        .collect();
    lines.dedup();
    lines
}

/// The lines of the match, within [`LINE_LIMIT`].
fn line_around<'a>(content: &'a [u8], hit: &Hit) -> &'a [u8] {
    let from = hit.start.saturating_sub(LINE_LIMIT);
    let start = memchr::memrchr(b'\n', &content[from..hit.start]).map_or(from, |newline| from + newline + 1);
    &content[start..line_end(content, hit.end, LINE_LIMIT)]
}
