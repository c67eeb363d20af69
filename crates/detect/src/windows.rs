//! The regex of a rule, run where a literal says that a match may start.

use std::ops::Range;

use crate::landmarks::KnownHit;
use crate::matcher::{Caches, Groups};
use crate::rule::Rule;
use crate::rules::Rules;
use crate::search::Hit;

/// A match of the rule may start at `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Starts {
    pub(crate) rule: u16,
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// The place in the list of the landmark that says so.
    pub(crate) landmark: usize,
}

/// Looks through windows of one content.
pub(crate) struct Windows<'a> {
    rules: &'a Rules,
    content: &'a [u8],
    /// What is known from the content's base, by rule, then place.
    known: &'a [KnownHit],
    hits: Vec<Hit>,
    /// What deltas of the content take over.
    found: Vec<KnownHit>,
}

impl<'a> Windows<'a> {
    pub(crate) fn new(rules: &'a Rules, content: &'a [u8], known: &'a [KnownHit]) -> Self {
        Self { rules, content, known, hits: Vec::new(), found: Vec::new() }
    }

    /// All hits by start, and what deltas take over.
    pub(crate) fn finish(mut self) -> (Vec<Hit>, Vec<KnownHit>) {
        self.hits.sort_unstable();
        (self.hits, self.found)
    }

    /// Adds the matches that start in one of the windows, as `find_iter` over the whole content would give them: leftmost,
    /// not overlapping. `starts` is of one rule and sorted; rules come in order. Of each start `settle` is told the bytes
    /// that say that nothing starts there; `None`: there is a match, or might be one if an earlier match did not hide it.
    pub(crate) fn find(
        &mut self,
        caches: &mut Caches,
        starts: &[Starts],
        mut settle: impl FnMut(&Starts, Option<Range<usize>>),
    ) {
        let mut at = 0;
        let mut rest = starts;
        while let Some(mut window) = rest.first().copied() {
            let mut len = 1;
            while let Some(next) = rest.get(len).filter(|next| next.first <= window.last) {
                window.last = window.last.max(next.last);
                len += 1;
            }
            let known = self.hits.len();
            let is_hidden = at > window.first;
            let read = match self.known(&window).filter(|_| !is_hidden) {
                Some(KnownHit { hit, read, .. }) => {
                    at = hit.end;
                    self.hits.push(hit);
                    read
                }
                None => self.find_in(caches, &window, &mut at),
            };
            if let [hit] = self.hits[known..]
                && !is_hidden
            {
                self.found.push(KnownHit { first: window.first, last: window.last, hit, read });
            }
            let is_open = is_hidden || self.hits.len() > known;
            for starts in &rest[..len] {
                settle(starts, (!is_open).then_some(window.first..read));
            }
            rest = &rest[len..];
        }
    }

    fn known(&self, window: &Starts) -> Option<KnownHit> {
        let key = |known: &KnownHit| (known.hit.rule, known.first);
        let place = self.known.binary_search_by_key(&(window.rule, window.first), key).ok()?;
        Some(self.known[place]).filter(|known| known.last == window.last)
    }

    /// Adds the matches in a window that start at `at` or later, moves `at` behind them, and gives the end of the bytes
    /// that were looked at.
    fn find_in(&mut self, caches: &mut Caches, window: &Starts, at: &mut usize) -> usize {
        let rule = &self.rules[usize::from(window.rule)];
        let mut read = window.last;
        *at = window.first.max(*at);
        // A match that starts in the window ends in it too.
        let end = self.content.len().min(window.last + rule.pattern.max_len);
        while *at <= window.last
            && let Some(groups) = rule.pattern.find(
                caches,
                usize::from(window.rule),
                self.content,
                (*at..window.last + 1, end),
                &mut read,
            )
            && let Some(whole) = groups.get(0)
        {
            let secret = secret_range(rule, &groups).unwrap_or(whole.clone());
            *at = whole.end;
            self.hits.push(Hit {
                rule: window.rule,
                start: whole.start,
                end: whole.end,
                secret_start: secret.start,
                secret_end: secret.end,
            });
        }
        read
    }
}

/// The range of the group that is the secret; `None` when that is the whole match.
fn secret_range(rule: &Rule, groups: &Groups) -> Option<Range<usize>> {
    let group = |index| groups.get(index).filter(|range| !range.is_empty());
    match rule.secret_group {
        Some(index) => group(index),
        None => (1..groups.len()).find_map(group),
    }
}
