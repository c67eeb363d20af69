//! Finds texts that every match of a pattern contains, and how far from the start of the match they stand.

use std::borrow::Cow;

use regex_syntax::hir::{Class, Hir, HirKind};

/// Shorter texts occur too often to be worth a candidate.
const MIN_LEN: usize = 3;
/// At most this many texts are spelled out of classes and alternations side by side.
const MAX_SPELLED: usize = 32;
/// Classes of more characters are not spelled out.
const MAX_CLASS: usize = 10;

/// A text in a match.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Literal {
    /// The text; with ASCII letters in lower case, unless it is exact.
    #[serde(borrow)]
    pub(crate) text: Cow<'static, [u8]>,
    /// Whether it must stand in the content as it is here, and not with letters of either case.
    pub(crate) is_exact: bool,
    /// The fewest bytes of the match before the text.
    pub(crate) min_before: usize,
    /// The most bytes of the match before the text.
    pub(crate) max_before: usize,
}

impl Literal {
    /// The text with ASCII letters in lower case.
    pub(crate) fn lower(&self) -> Vec<u8> {
        self.text.to_ascii_lowercase()
    }
}

/// The best set of which every match has a member, or an empty one; and whether every member has one of the
/// lower-cased `keywords` inside, so that the keywords need no look-up of their own. Such sets are preferred.
///
/// Every repetition in `hir` must have an upper limit.
pub(crate) fn required_literals(hir: &Hir, keywords: &[Vec<u8>]) -> (Vec<Literal>, bool) {
    let mut sets = Vec::new();
    collect(hir, 0, 0, keywords, &mut sets);
    let best = best(sets, keywords).unwrap_or_default();
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
    let (of_common, of_other) = if literal.is_exact { (2.0, 3.0) } else { (1.5, 2.5) };
    literal.text.iter().map(|byte| if common(*byte) { of_common } else { of_other }).sum()
}

fn min_len(hir: &Hir) -> usize {
    hir.properties().minimum_len().unwrap_or(0)
}

fn max_len(hir: &Hir) -> usize {
    hir.properties().maximum_len().unwrap_or(usize::MAX)
}

/// Adds the candidate sets of `hir`, which starts between `min_before` and `max_before` bytes into the match.
fn collect(
    hir: &Hir,
    min_before: usize,
    max_before: usize,
    keywords: &[Vec<u8>],
    sets: &mut Vec<Vec<Literal>>,
) {
    match hir.kind() {
        HirKind::Concat(subs) => collect_concat(subs, min_before, max_before, keywords, sets),
        HirKind::Capture(capture) => collect(&capture.sub, min_before, max_before, keywords, sets),
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            collect(&repetition.sub, min_before, max_before, keywords, sets);
        }
        HirKind::Alternation(subs) => {
            if let Some(spelled) = spell(hir) {
                push(&spelled, min_before, max_before, sets);
            } else {
                collect_alternation(subs, min_before, max_before, keywords, sets);
            }
        }
        HirKind::Literal(_) | HirKind::Class(_) => {
            if let Some(spelled) = spell(hir) {
                push(&spelled, min_before, max_before, sets);
            }
        }
        HirKind::Empty | HirKind::Look(_) | HirKind::Repetition(_) => {}
    }
}

/// A set for every run of neighbours that can be spelled out together, and the sets inside the others.
fn collect_concat(
    subs: &[Hir],
    min_before: usize,
    max_before: usize,
    keywords: &[Vec<u8>],
    sets: &mut Vec<Vec<Literal>>,
) {
    let (mut min_at, mut max_at) = (min_before, max_before);
    let mut run = vec![Text::default()];
    let (mut run_min, mut run_max, mut run_from) = (min_at, max_at, 0);
    for (place, sub) in subs.iter().enumerate() {
        let joined = spell(sub).and_then(|texts| join(&run, &texts));
        if let Some(joined) = joined {
            run = joined;
        } else {
            push(&run, run_min, run_max, sets);
            collect(sub, min_at, max_at, keywords, sets);
            if let HirKind::Alternation(branches) = sub.kind()
                && run_from < place
            {
                // What branches have in common may have been taken out of them, and the rest may be too short.
                let whole = |branch: &Hir| {
                    Hir::concat(subs[run_from..place].iter().chain([branch]).cloned().collect())
                };
                let branches: Vec<Hir> = branches.iter().map(whole).collect();
                collect_alternation(&branches, run_min, run_max, keywords, sets);
            }
            // What did not fit behind the run may begin the next one.
            (run_min, run_max, run_from, run) = match spell(sub) {
                Some(texts) => (min_at, max_at, place, texts),
                None => {
                    let (min, max) = (min_at + min_len(sub), max_at.saturating_add(max_len(sub)));
                    (min, max, place + 1, vec![Text::default()])
                }
            };
        }
        min_at += min_len(sub);
        max_at = max_at.saturating_add(max_len(sub));
    }
    push(&run, run_min, run_max, sets);
}

/// The union of the best set of each branch.
fn collect_alternation(
    subs: &[Hir],
    min_before: usize,
    max_before: usize,
    keywords: &[Vec<u8>],
    sets: &mut Vec<Vec<Literal>>,
) {
    let mut union = Vec::new();
    for sub in subs {
        let mut of_branch = Vec::new();
        collect(sub, min_before, max_before, keywords, &mut of_branch);
        match best(of_branch, keywords) {
            Some(best) => union.extend(best),
            None => return,
        }
    }
    sets.push(union);
}

/// Turns spelled texts into a set, unless one of them is too short.
fn push(texts: &[Text], min_before: usize, max_before: usize, sets: &mut Vec<Vec<Literal>>) {
    if texts.iter().any(|text| text.bytes.len() < MIN_LEN) {
        return;
    }
    let mut set: Vec<Literal> = Vec::new();
    for text in texts {
        let is_exact = !text.any_case;
        let text = if is_exact { text.bytes.clone() } else { text.bytes.to_ascii_lowercase() };
        set.push(Literal { text: text.into(), is_exact, min_before, max_before });
    }
    // A text that another one begins adds nothing: both start at the same place.
    let covers = |a: &Literal, b: &Literal| match (a.is_exact, b.is_exact) {
        (true, true) => b.text.starts_with(&a.text),
        (false, _) => b.lower().starts_with(&a.text),
        (true, false) => false,
    };
    let mut kept: Vec<Literal> = Vec::new();
    set.sort_by_key(|literal| (literal.text.len(), literal.is_exact));
    for literal in set {
        if !kept.iter().any(|other| covers(other, &literal)) {
            kept.push(literal);
        }
    }
    sets.push(kept);
}

/// One text that a part of a pattern can stand for.
#[derive(Clone, Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    any_case: bool,
}

/// Every text the pattern matches, if they are few.
fn spell(hir: &Hir) -> Option<Vec<Text>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(vec![Text::default()]),
        HirKind::Literal(literal) => Some(vec![Text { bytes: literal.0.to_vec(), any_case: false }]),
        HirKind::Class(class) => spell_class(class),
        HirKind::Capture(capture) => spell(&capture.sub),
        HirKind::Repetition(repetition) => {
            let max = repetition.max?;
            if max as usize > MAX_SPELLED {
                return None;
            }
            let once = spell(&repetition.sub)?;
            let mut all = Vec::new();
            let mut texts = vec![Text::default()];
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
            subs.iter().try_fold(vec![Text::default()], |texts, sub| join(&texts, &spell(sub)?))
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
fn spell_class(class: &Class) -> Option<Vec<Text>> {
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
    let mut texts: Vec<Text> = Vec::new();
    for byte in &bytes {
        let any_case = byte.is_ascii_alphabetic() && bytes.contains(&(byte ^ 0x20));
        if !(any_case && byte.is_ascii_uppercase()) {
            texts.push(Text { bytes: vec![*byte], any_case });
        }
    }
    (!texts.is_empty() && texts.len() <= MAX_CLASS).then_some(texts)
}

/// Every text of `left` followed by every one of `right`, if they are few.
fn join(left: &[Text], right: &[Text]) -> Option<Vec<Text>> {
    if left.len() * right.len() > MAX_SPELLED {
        return None;
    }
    let mut all = Vec::with_capacity(left.len() * right.len());
    for left in left {
        for right in right {
            let bytes = [left.bytes.as_slice(), right.bytes.as_slice()].concat();
            all.push(Text { bytes, any_case: left.any_case || right.any_case });
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
