//! Finds texts that every match of a pattern contains, and how far from the start of the match they stand.

use std::ops::Range;

use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::byte_set::ByteSet;
use crate::finder::Text;

/// Shorter texts occur too often to be worth a candidate.
const MIN_LEN: usize = 3;
/// At most this many texts are spelled out of classes and alternations side by side.
const MAX_SPELLED: usize = 32;
/// Classes of more characters are not spelled out.
const MAX_CLASS: usize = 10;
/// Of longer texts the start is looked for.
const MAX_LEN: usize = 32;

/// A text in a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    pub(crate) text: Text,
    /// The fewest bytes of the match before the text.
    pub(crate) min_before: usize,
    /// The most bytes of the match before the text.
    pub(crate) max_before: usize,
    /// What follows the text in every match, where a longer text was cut.
    pub(crate) cut_off: Box<[u8]>,
}

impl Literal {
    /// The whole text with ASCII letters in lower case.
    pub(crate) fn lower(&self) -> Vec<u8> {
        [&*self.text.bytes, &self.cut_off].concat().to_ascii_lowercase()
    }
}

/// The best set of which every match has a member, or an empty one; and whether every member has one of the
/// lower-cased `keywords` inside, so that the keywords need no look-up of their own. Such sets are preferred.
///
/// Every repetition in `hir` must have an upper limit.
pub(crate) fn required_literals(hir: &Hir, keywords: &[Vec<u8>]) -> (Vec<Literal>, bool) {
    let mut collector = Collector { keywords, sets: Vec::new() };
    collector.add(hir, Place { min: 0, max: 0, before: ByteSet::ALL, after: ByteSet::ALL });
    let best = best(collector.sets, keywords).unwrap_or_default();
    let has_keywords = have_keywords(&best, keywords);
    (best, has_keywords)
}

fn have_keywords(set: &[Literal], keywords: &[Vec<u8>]) -> bool {
    let has_keyword = |literal: &Literal| {
        keywords.iter().any(|word| memchr::memmem::find(&literal.lower(), word).is_some())
    };
    set.iter().all(has_keyword)
}

fn best(sets: Vec<Vec<Literal>>, keywords: &[Vec<u8>]) -> Option<Vec<Literal>> {
    sets.into_iter().max_by(|a, b| {
        let has = |set| have_keywords(set, keywords);
        has(a).cmp(&has(b)).then(score(a).total_cmp(&score(b)))
    })
}

/// How good a set is: rare texts, few of them, near the start of the match.
fn score(set: &[Literal]) -> f64 {
    let rarest = set.iter().map(rarity).fold(f64::INFINITY, f64::min);
    let at_start = set.iter().all(|literal| literal.max_before == literal.min_before);
    rarest.min(16.0) - (set.len() as f64).log2() + if at_start { 4.0 } else { 0.0 }
}

/// Roughly the number of bits by which the text cuts down the candidates.
fn rarity(literal: &Literal) -> f64 {
    let common = |byte: u8| byte.is_ascii_lowercase() || byte == b' ';
    let (of_common, of_other) = if literal.text.is_exact { (2.0, 3.0) } else { (1.5, 2.5) };
    literal.text.bytes.iter().map(|byte| if common(*byte) { of_common } else { of_other }).sum()
}

fn min_len(hir: &Hir) -> usize {
    hir.properties().minimum_len().unwrap_or(0)
}

fn max_len(hir: &Hir) -> usize {
    hir.properties().maximum_len().unwrap_or(usize::MAX)
}

/// Where in a match a part of the pattern stands, and between what.
#[derive(Clone, Copy)]
struct Place {
    /// The fewest bytes of the match before it.
    min: usize,
    /// The most bytes of the match before it.
    max: usize,
    before: ByteSet,
    after: ByteSet,
}

impl Place {
    /// The place of `subs[parts]`, where that of all `subs` in a row is this.
    fn of_parts(self, subs: &[Hir], parts: Range<usize>) -> Self {
        let before = &subs[..parts.start];
        Self {
            min: self.min + before.iter().map(min_len).sum::<usize>(),
            max: before.iter().map(max_len).fold(self.max, usize::saturating_add),
            before: ByteSet::before(before, self.before),
            after: ByteSet::after(&subs[parts.end..], self.after),
        }
    }
}

/// The candidate sets of a pattern.
struct Collector<'a> {
    keywords: &'a [Vec<u8>],
    sets: Vec<Vec<Literal>>,
}

impl Collector<'_> {
    /// Adds the sets of `hir`, which stands there.
    fn add(&mut self, hir: &Hir, place: Place) {
        match hir.kind() {
            HirKind::Concat(subs) => self.add_concat(subs, place),
            HirKind::Capture(capture) => self.add(&capture.sub, place),
            HirKind::Repetition(repetition) if repetition.min > 0 => {
                // The next or the last round may be the neighbour.
                let sub = std::slice::from_ref(&*repetition.sub);
                let before = ByteSet::before(sub, place.before).union(place.before);
                let after = ByteSet::after(sub, place.after).union(place.after);
                self.add(&repetition.sub, Place { before, after, ..place });
            }
            HirKind::Alternation(subs) => match spell(hir) {
                Some(spelled) => self.push(&spelled, place),
                None => self.add_alternation(subs, place),
            },
            HirKind::Literal(_) | HirKind::Class(_) => {
                if let Some(spelled) = spell(hir) {
                    self.push(&spelled, place);
                }
            }
            HirKind::Empty | HirKind::Look(_) | HirKind::Repetition(_) => {}
        }
    }

    /// A set for every run of neighbours that can be spelled out together, and the sets inside the others.
    fn add_concat(&mut self, subs: &[Hir], place: Place) {
        let mut run = vec![Spelled::default()];
        let mut run_from = 0;
        for (at, sub) in subs.iter().enumerate() {
            let spelled = spell(sub);
            if let Some(joined) = spelled.as_ref().and_then(|texts| join(&run, texts)) {
                run = joined;
                continue;
            }
            self.push(&run, place.of_parts(subs, run_from..at));
            self.add(sub, place.of_parts(subs, at..at + 1));
            if let HirKind::Alternation(branches) = sub.kind()
                && run_from < at
            {
                // What branches have in common may have been taken out of them, and the rest may be too short.
                let whole =
                    |branch: &Hir| Hir::concat(subs[run_from..at].iter().chain([branch]).cloned().collect());
                let branches: Vec<Hir> = branches.iter().map(whole).collect();
                self.add_alternation(&branches, place.of_parts(subs, run_from..at + 1));
            }
            // What did not fit behind the run may begin the next one.
            (run_from, run) = match spelled {
                Some(texts) => (at, texts),
                None => (at + 1, vec![Spelled::default()]),
            };
        }
        self.push(&run, place.of_parts(subs, run_from..subs.len()));
    }

    /// The union of the best set of each branch.
    fn add_alternation(&mut self, subs: &[Hir], place: Place) {
        let mut union = Vec::new();
        for sub in subs {
            let mut of_branch = Collector { keywords: self.keywords, sets: Vec::new() };
            of_branch.add(sub, place);
            match best(of_branch.sets, self.keywords) {
                Some(best) => union.extend(best),
                None => return,
            }
        }
        self.sets.push(union);
    }

    /// Adds spelled texts as a set, unless one of them is too short.
    fn push(&mut self, texts: &[Spelled], place: Place) {
        if texts.iter().any(|text| text.bytes.len() < MIN_LEN) {
            return;
        }
        let mut set: Vec<Literal> = texts.iter().map(|text| text.literal(place)).collect();
        // A text that another one begins adds nothing: both start at the same place.
        let covers = |a: &Text, b: &Text| match (a.is_exact, b.is_exact) {
            (true, true) => b.bytes.starts_with(&a.bytes),
            (false, _) => b.bytes.to_ascii_lowercase().starts_with(&a.bytes),
            (true, false) => false,
        };
        let mut kept: Vec<Literal> = Vec::new();
        set.sort_by_key(|Literal { text, .. }| (text.bytes.len(), text.is_exact));
        for literal in set {
            match kept.iter_mut().find(|other| covers(&other.text, &literal.text)) {
                Some(Literal { text: other, .. }) => {
                    let text = &literal.text;
                    let next = text.bytes.get(other.bytes.len()).map(|next| ByteSet::any_case(*next));
                    other.before = other.before.union(text.before);
                    other.after = other.after.union(next.unwrap_or(text.after));
                }
                None => kept.push(literal),
            }
        }
        self.sets.push(kept);
    }
}

/// One text that a part of a pattern can stand for.
#[derive(Clone, Debug, Default)]
struct Spelled {
    bytes: Vec<u8>,
    any_case: bool,
    /// Whether it starts with `\b`.
    starts_bounded: bool,
    /// Whether it ends with `\b`.
    ends_bounded: bool,
}

impl Spelled {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    fn literal(&self, place: Place) -> Literal {
        let Place { min: min_before, max: max_before, mut before, mut after } = place;
        let word = ByteSet::word();
        let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| word.has(*byte));
        if self.starts_bounded && is_word(self.bytes.first()) {
            before = before.without(word);
        }
        if self.ends_bounded && is_word(self.bytes.last()) {
            after = after.without(word);
        }
        let mut bytes = if self.any_case { self.bytes.to_ascii_lowercase() } else { self.bytes.clone() };
        let cut_off = bytes.split_off(bytes.len().min(MAX_LEN));
        if let Some(next) = cut_off.first() {
            after = ByteSet::any_case(*next);
        }
        let text = Text { bytes: bytes.into(), is_exact: !self.any_case, before, after };
        Literal { text, min_before, max_before, cut_off: cut_off.into() }
    }
}

/// Every text the pattern matches, if they are few.
fn spell(hir: &Hir) -> Option<Vec<Spelled>> {
    match hir.kind() {
        HirKind::Look(Look::WordAscii | Look::WordUnicode) => {
            Some(vec![Spelled { starts_bounded: true, ends_bounded: true, ..Spelled::default() }])
        }
        HirKind::Empty | HirKind::Look(_) => Some(vec![Spelled::default()]),
        HirKind::Literal(literal) => Some(vec![Spelled::new(literal.0.to_vec())]),
        HirKind::Class(class) => spell_class(class),
        HirKind::Capture(capture) => spell(&capture.sub),
        HirKind::Repetition(repetition) => {
            let max = repetition.max?;
            if max as usize > MAX_SPELLED {
                return None;
            }
            let once = spell(&repetition.sub)?;
            let mut all = Vec::new();
            let mut texts = vec![Spelled::default()];
            for times in 0..=max {
                if times >= repetition.min {
                    all.extend(texts.iter().cloned());
                }
                if times < max {
                    texts = join(&texts, &once)?;
                }
            }
            (all.len() <= MAX_SPELLED).then_some(all)
        }
        HirKind::Concat(subs) => {
            subs.iter().try_fold(vec![Spelled::default()], |texts, sub| join(&texts, &spell(sub)?))
        }
        HirKind::Alternation(subs) => {
            let mut all = Vec::new();
            for sub in subs {
                all.extend(spell(sub)?);
                if all.len() > MAX_SPELLED {
                    return None;
                }
            }
            Some(all)
        }
    }
}

/// The characters of a small ASCII class; a letter in both cases counts once.
fn spell_class(class: &Class) -> Option<Vec<Spelled>> {
    let bytes: Vec<u8> = match class {
        Class::Bytes(class) => class
            .ranges()
            .iter()
            .flat_map(|range| range.start()..=range.end())
            .take(2 * MAX_CLASS + 1)
            .collect(),
        Class::Unicode(class) => {
            let chars = class.ranges().iter().flat_map(|range| range.start()..=range.end());
            chars
                .take(2 * MAX_CLASS + 1)
                .map(|c| u8::try_from(c).ok().filter(u8::is_ascii))
                .collect::<Option<_>>()?
        }
    };
    let mut texts: Vec<Spelled> = Vec::new();
    for byte in &bytes {
        let any_case = byte.is_ascii_alphabetic() && bytes.contains(&(byte ^ 0x20));
        if !(any_case && byte.is_ascii_uppercase()) {
            texts.push(Spelled { any_case, ..Spelled::new(vec![*byte]) });
        }
    }
    (!texts.is_empty() && texts.len() <= MAX_CLASS).then_some(texts)
}

/// Every text of `left` followed by every one of `right`, if they are few.
fn join(left: &[Spelled], right: &[Spelled]) -> Option<Vec<Spelled>> {
    if left.len() * right.len() > MAX_SPELLED {
        return None;
    }
    let mut all = Vec::with_capacity(left.len() * right.len());
    for left in left {
        for right in right {
            all.push(Spelled {
                bytes: [left.bytes.as_slice(), right.bytes.as_slice()].concat(),
                any_case: left.any_case || right.any_case,
                starts_bounded: left.starts_bounded || left.bytes.is_empty() && right.starts_bounded,
                ends_bounded: right.ends_bounded || right.bytes.is_empty() && left.ends_bounded,
            });
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literals(regex: &str, keywords: &[&str]) -> (Vec<String>, bool, (usize, usize)) {
        let hir = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(regex).unwrap();
        let keywords: Vec<Vec<u8>> = keywords.iter().map(|word| word.as_bytes().to_vec()).collect();
        let (set, has_keywords) = required_literals(&crate::bound::bound_repetitions(hir), &keywords);
        let before = set.first().map_or((0, 0), |first| (first.min_before, first.max_before));
        let mut texts: Vec<String> = set.into_iter().map(|l| String::from_utf8(l.lower()).unwrap()).collect();
        texts.sort();
        (texts, has_keywords, before)
    }

    #[test]
    fn what_branches_have_in_common_counts_for_each() {
        let (texts, has_keywords, _) = literals("(?i)(?:bws[a-z]{0,3}|bitwarden)=", &["bws", "bitwarden"]);
        assert_eq!((texts, has_keywords), (vec!["bitwarden".into(), "bws".into()], true));
    }

    #[test]
    fn prefixes_are_spelled_out() {
        assert_eq!(literals(r"\bgh[po]_[0-9]{8}", &[]).0, ["gho_", "ghp_"]);
        assert_eq!(literals(r"postgres(?:ql)?:", &[]).0, ["postgres:", "postgresql:"]);
        assert_eq!(literals(r"(?i)bearer", &[]).0, ["bearer"]);
        assert_eq!(literals(r"(A3T[A-Z0-9]|AKIA)[A-Z]{16}", &[]).0, ["a3t", "akia"]);
    }

    #[test]
    fn inner_texts_come_with_their_distance() {
        assert_eq!(literals(r"[a-z]{2,9}_token=", &[]), (vec!["_token=".into()], false, (2, 9)));
        assert_eq!(literals(r"[a-z]{4}", &[]).0, [""; 0]);
        assert_eq!(literals(r"(abc)?[0-9]+", &[]).0, [""; 0]);
    }

    #[test]
    fn a_set_with_the_keywords_is_preferred() {
        assert_eq!(literals(r"ABCDEFG[0-9]+xyz", &["xyz"]).0, ["xyz"]);
        assert!(!literals(r"ABCDEFG[0-9]+", &["xyz"]).1);
    }
}
