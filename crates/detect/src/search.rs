//! From content to the matches of each rule's regex: literals, windows, regexes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::byte_set::ByteSets;
use crate::finder::{Finder, Text};
use crate::landmarks::{Copied, KnownHit, Landmark, Landmarks, MARGIN_BEFORE, Reach, zones};
use crate::literal::Literal;
use crate::matcher::Caches;
use crate::pool::Pool;
use crate::rule::Rule;
use crate::rules::Rules;
use crate::run::Run;
use crate::windows::{Starts, Windows};

/// Comments that exclude the matches on their line.
const ALLOW_COMMENTS: [&str; 2] = ["secretscan:allow", "gitleaks:allow"];
/// So many bytes around a match look-around sees: `\b` decodes up to one character, the line anchors look at two bytes.
pub(crate) const CONTEXT: usize = 8;

/// What finding a text means.
#[derive(Debug, Serialize, Deserialize)]
enum Meaning {
    /// A match of the rule may start around here. `before` and `after` are places in [`Search::neighbours`].
    Candidate { rule: u16, before: u16, after: u16, min_before: u32, max_before: u32 },
    /// The rule's keyword is there.
    Keyword { rule: u16 },
    /// The line is allowed.
    Allow,
}

/// What is known of a text of the finder.
#[derive(Debug, Serialize, Deserialize)]
struct OfText {
    len: u32,
    /// Its places in [`Search::meanings`]: first those that count for the whole content, then those that the
    /// surroundings decide.
    meanings: Range<u32>,
    /// Where the latter begin.
    near: u32,
}

/// What is asked about a rule before its regex runs.
#[derive(Debug, Serialize, Deserialize)]
struct OfRule {
    /// Its places in [`Search::runs`].
    runs: Range<usize>,
    max_len: usize,
    is_gated: bool,
}

/// All literals of a rule set in one finder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
pub(crate) struct Search {
    finder: Finder,
    /// By text of the finder.
    texts: Vec<OfText>,
    meanings: Vec<Meaning>,
    neighbours: ByteSets,
    /// By rule.
    rules: Vec<OfRule>,
    /// The rules without literals.
    slow: Vec<u16>,
    /// The rows of bytes of all rules, close together: they are asked for millions of times.
    runs: Vec<Run>,
    #[serde(skip)]
    caches: Pool<Caches>,
}

/// A match of a rule's regex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hit {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) rule: u16,
    pub(crate) secret_start: usize,
    pub(crate) secret_end: usize,
}

impl Hit {
    /// The same where all is elsewhere.
    pub(crate) fn moved(self, place: impl Fn(usize) -> usize) -> Self {
        Self {
            start: place(self.start),
            end: place(self.end),
            secret_start: place(self.secret_start),
            secret_end: place(self.secret_end),
            ..self
        }
    }
}

/// What is in one content.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    /// Sorted by start.
    pub(crate) hits: Vec<Hit>,
    /// Where the allow comments stand, ascending.
    pub(crate) allow_comments: Vec<usize>,
}

impl Search {
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let mut texts: Vec<(Text, Vec<Meaning>)> = Vec::new();
        let mut known: HashMap<(Cow<'static, [u8]>, bool), usize> = HashMap::new();
        let mut add = |text: Text, meaning| {
            let at = *known.entry((text.bytes.clone(), text.is_exact)).or_insert(texts.len());
            match texts.get_mut(at) {
                Some((known, meanings)) => {
                    known.before = known.before.union(text.before);
                    known.after = known.after.union(text.after);
                    meanings.push(meaning);
                }
                None => texts.push((text, vec![meaning])),
            }
        };
        let mut neighbours = ByteSets::default();
        for (rule, index) in rules.iter().zip(0_u16..) {
            assert_eq!(
                rule.pattern.has_literals,
                !rule.pattern.literals.is_empty(),
                "whole_rules was forgotten"
            );
            for Literal { text, min_before, max_before, .. } in &rule.pattern.literals {
                let candidate = Meaning::Candidate {
                    rule: index,
                    min_before: compact(*min_before),
                    max_before: compact(*max_before),
                    before: neighbours.place_of(text.before),
                    after: neighbours.place_of(text.after),
                };
                add(text.clone(), candidate);
            }
            if rule.pattern.is_gated {
                for keyword in &rule.keywords {
                    add(Text::anywhere(keyword), Meaning::Keyword { rule: index });
                }
            }
        }
        for comment in ALLOW_COMMENTS {
            add(Text::anywhere(comment), Meaning::Allow);
        }
        let (mut runs, mut of_rules) = (Vec::new(), Vec::with_capacity(rules.len()));
        for Rule { pattern, .. } in rules {
            let first = runs.len();
            runs.extend_from_slice(&pattern.runs);
            let (max_len, is_gated) = (pattern.max_len, pattern.is_gated);
            of_rules.push(OfRule { runs: first..runs.len(), max_len, is_gated });
        }
        let mut meanings = Vec::new();
        let mut of_texts = Vec::with_capacity(texts.len());
        for (text, all) in &mut texts {
            let near = |meaning: &Meaning| meaning.is_near(&of_rules);
            all.sort_by_key(near);
            let first = meanings.len();
            of_texts.push(OfText {
                len: compact(text.bytes.len()),
                meanings: compact(first)..compact(first + all.len()),
                near: compact(first + all.partition_point(|meaning| !near(meaning))),
            });
            meanings.append(all);
        }
        let slow = rules.iter().zip(0_u16..).filter(|(rule, _)| rule.is_slow()).map(|(_, index)| index);
        Self {
            finder: Finder::new(texts.into_iter().map(|(text, _)| text).collect()),
            texts: of_texts,
            meanings,
            neighbours,
            rules: of_rules,
            slow: slow.collect(),
            runs,
            caches: Pool::default(),
        }
    }

    /// Lays out what the compiled form leaves out.
    pub(crate) fn lay_out(&mut self) {
        self.finder.lay_out();
    }

    /// The rules with their literals and rows, which the compiled form has here alone.
    pub(crate) fn whole_rules(&self, rules: &Rules) -> Vec<Rule> {
        let mut rules: Vec<Rule> = rules.iter().cloned().collect();
        for (Rule { pattern, .. }, of_rule) in rules.iter_mut().zip(&self.rules) {
            pattern.literals.clear();
            pattern.runs = self.runs[of_rule.runs.clone()].to_vec();
        }
        for (text, of_text) in self.finder.texts().zip(&self.texts) {
            for meaning in self.meanings_in(&of_text.meanings) {
                if let Meaning::Candidate { rule, min_before, max_before, before, after } = meaning {
                    let (before, after) = (self.neighbours.at(*before), self.neighbours.at(*after));
                    let text = Text { before, after, ..text.clone() };
                    let literal = Literal {
                        text,
                        min_before: *min_before as usize,
                        max_before: *max_before as usize,
                        cut_off: [].into(),
                    };
                    rules[usize::from(*rule)].pattern.literals.push(literal);
                }
            }
        }
        rules
    }

    fn meanings_in(&self, places: &Range<u32>) -> &[Meaning] {
        &self.meanings[places.start as usize..places.end as usize]
    }

    /// Every literal that stands in the content.
    pub(crate) fn landmarks(&self, content: &[u8]) -> Landmarks {
        let mut list = Vec::new();
        let scratch = &mut self.caches.get().scratch;
        self.finder.find(content, 0..content.len(), scratch, |text, start| {
            list.push(Landmark { start, text, settled: None });
        });
        Landmarks::new(list, content.len())
    }

    /// The literals that may stand in a match, in content that consists of parts of another one and of new bytes.
    pub(crate) fn landmarks_of_delta(
        &self,
        content: &[u8],
        base: &Landmarks,
        copied: &[Copied],
    ) -> Landmarks {
        let lens = (base.content_len(), content.len());
        let Some(zones) = zones(copied, lens, MARGIN_BEFORE.max(self.finder.max_len())) else {
            return self.landmarks(content);
        };
        let mut list = Vec::new();
        let scratch = &mut self.caches.get().scratch;
        for zone in &zones {
            self.finder.find(content, zone.clone(), scratch, |text, start| {
                list.push(Landmark { start, text, settled: None });
            });
        }
        let mut zones = zones.iter().peekable();
        let mut hits = Vec::new();
        for copied in copied {
            let end = copied.from + copied.len;
            for landmark in base.from(copied.from).iter().take_while(|landmark| landmark.start < end) {
                let moved = landmark.moved(copied, lens);
                while zones.next_if(|zone| zone.end <= moved.start).is_some() {}
                if zones.peek().is_none_or(|zone| moved.start < zone.start) {
                    list.push(moved);
                }
            }
            let inside = |known: &&KnownHit| known.first >= copied.from && known.read <= end;
            hits.extend(base.hits.iter().filter(inside).filter_map(|known| known.moved(copied, lens)));
        }
        hits.sort_unstable_by_key(|known| (known.hit.rule, known.first));
        let mut landmarks = Landmarks::new(list, content.len());
        landmarks.hits = hits;
        landmarks
    }

    /// Every match of every rule's regex, as if each had searched the whole content (those rules aside whose
    /// keywords are missing). Landmarks that a delta would find again are forgotten.
    pub(crate) fn find(&self, rules: &Rules, content: &[u8], landmarks: &mut Landmarks) -> Hits {
        let mut hits = Hits::default();
        let mut candidates: Vec<Starts> = Vec::new();
        let mut has_keyword = vec![false; rules.len()];
        // Of those that stand in no match, what a delta of the content can't find again, but may need.
        let mut is_kept = vec![false; landmarks.list().len()];
        // What shows that they stand in no match; `None`: they do, or it is not known.
        let mut settled = vec![Some(Reach::NEAREST); landmarks.list().len()];
        for (landmark, index) in landmarks.list().iter().zip(0..) {
            let OfText { len, ref meanings, near } = self.texts[landmark.text as usize];
            let at = landmark.start;
            let is_there = |neighbour: Option<&u8>, place: u16| {
                neighbour.is_none_or(|byte| self.neighbours.has(place, *byte))
            };
            let end = if landmark.settled.is_some() { near } else { meanings.end };
            settled[index] = landmark.settled.or(Some(Reach::NEAREST));
            for meaning in self.meanings_in(&(meanings.start..end)) {
                match meaning {
                    Meaning::Candidate { rule, min_before, max_before, before, after } => {
                        let before_it = at.checked_sub(1).map(|before| &content[before]);
                        if !is_there(content.get(at + len as usize), *after) || !is_there(before_it, *before)
                        {
                            continue;
                        }
                        is_kept[index] |= self.rules[usize::from(*rule)].is_gated;
                        let first = at.saturating_sub(*max_before as usize);
                        let last = at.checked_sub(*min_before as usize);
                        let runs = self.rules[usize::from(*rule)].runs.clone();
                        let is_without =
                            |run: &&Run| last.is_none_or(|last| !run.may_be_in(content, first, last));
                        match (last, self.runs[runs].iter().find(is_without)) {
                            (Some(last), None) => {
                                candidates.push(Starts { rule: *rule, first, last, landmark: index });
                            }
                            (last, run) => {
                                let end = last.zip(run).map_or(at, |(last, run)| run.end_of_last(last));
                                let before = (*max_before as usize).max(*min_before as usize);
                                settle(&mut settled[index], before, end.saturating_sub(at));
                            }
                        }
                    }
                    Meaning::Keyword { rule } => {
                        is_kept[index] = true;
                        has_keyword[usize::from(*rule)] = true;
                    }
                    Meaning::Allow => {
                        is_kept[index] = true;
                        hits.allow_comments.push(at);
                    }
                }
            }
        }
        candidates.retain(|starts| {
            !self.rules[usize::from(starts.rule)].is_gated || has_keyword[usize::from(starts.rule)]
        });
        let mut caches = self.caches.get();
        candidates.sort_unstable();
        let known = std::mem::take(&mut landmarks.hits);
        let mut windows = Windows::new(rules, content, &known);
        for of_rule in candidates.chunk_by(|a, b| a.rule == b.rule) {
            let places = landmarks.list();
            windows.find(&mut caches, of_rule, |starts, read| {
                let at = places[starts.landmark].start;
                match read {
                    Some(Range { start, end }) => {
                        let after = (end + CONTEXT).saturating_sub(at);
                        settle(&mut settled[starts.landmark], at - start + CONTEXT, after);
                    }
                    None => settled[starts.landmark] = None,
                }
            });
        }
        landmarks.keep(|index| match settled[index] {
            Some(reach) if is_kept[index] || reach.is_far() => Some(Some(reach)),
            Some(_) => None,
            None => Some(None),
        });
        // Without literals any place is a candidate.
        for index in &self.slow {
            let rule = &rules[usize::from(*index)];
            if rule.keywords.is_empty() || has_keyword[usize::from(*index)] {
                let all = Starts { rule: *index, first: 0, last: content.len(), landmark: 0 };
                windows.find(&mut caches, &[all], |_, _| {});
            }
        }
        (hits.hits, landmarks.hits) = windows.finish();
        hits
    }
}

/// Lengths and counts of rules: far less than memory could hold of them, and read often.
fn compact(number: usize) -> u32 {
    u32::try_from(number).expect("no rule set has so much")
}

/// Notes that so much around a literal shows that it stands in no match of one more rule.
fn settle(settled: &mut Option<Reach>, before: usize, after: usize) {
    *settled = settled.and_then(|reach| Some(reach.union(Reach::new(before, after)?)));
}

impl Meaning {
    /// Whether what stands around the text decides, and not all of the content.
    fn is_near(&self, rules: &[OfRule]) -> bool {
        matches!(self, Self::Candidate { rule, .. } if !rules[usize::from(*rule)].is_gated)
    }
}

#[cfg(test)]
mod tests;
