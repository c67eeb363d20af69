//! A smaller regex that matches wherever the regex of a rule does, and answers for it almost always.
//!
//! The upper limits of repetitions make most of an automaton: `[\w-]{10,4000}` has 4000 states, which have to be compiled
//! before the first search, and which multiply in a DFA where the limits follow each other. Most content is dismissed, and
//! most matches are found, without a limit being reached.

use regex_syntax::hir::{Capture, Hir, HirKind, Repetition};

use crate::matcher::Matcher;
use crate::pattern::count_states;

/// Regexes of up to so many states are small enough.
const SMALL: usize = 512;
/// Lower limits stay: so few bytes say too little.
const SHORTEST: u32 = 64;

/// Compiles the sieve of a regex: without the limits from this one on, see [`limit_to_lift`]. It tells what the regex finds
/// in matches of up to so many bytes: no repetition in them can reach a limit that was lifted.
pub(crate) fn sieve(hir: Hir, limit: u32) -> Matcher {
    Matcher::new(&lift(hir, limit), limit as usize)
}

/// From where on the upper limits of this regex, whose repetitions all have one, must be lifted to make it small, or as small
/// as it gets; `None` if that is not much smaller.
pub(crate) fn limit_to_lift(hir: &Hir) -> Option<u32> {
    let states = count_states(hir);
    if states <= SMALL {
        return None;
    }
    let mut limits = Vec::new();
    add_limits(hir, &mut limits);
    limits.sort_unstable_by(|a, b| b.cmp(a));
    limits.dedup();
    let states_without = |limit: u32| count_states(&lift(hir.clone(), limit));
    let enough = limits.iter().copied().find(|limit| states_without(*limit) <= SMALL);
    enough.or(limits.last().copied()).filter(|limit| states_without(*limit) <= states / 2)
}

fn add_limits(hir: &Hir, limits: &mut Vec<u32>) {
    match hir.kind() {
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => {}
        HirKind::Repetition(repetition) => {
            limits.extend(liftable(repetition).filter(|limit| *limit >= SHORTEST));
            add_limits(&repetition.sub, limits);
        }
        HirKind::Capture(capture) => add_limits(&capture.sub, limits),
        HirKind::Concat(subs) | HirKind::Alternation(subs) => {
            subs.iter().for_each(|sub| add_limits(sub, limits));
        }
    }
}

/// The limit of a repetition, if it can be lifted: each time must take a byte, or a short match could go beyond it.
fn liftable(repetition: &Repetition) -> Option<u32> {
    let takes_bytes = repetition.sub.properties().minimum_len().is_some_and(|len| len > 0);
    repetition.max.filter(|max| takes_bytes && *max > repetition.min)
}

/// The same without the limits from this one on.
fn lift(hir: Hir, limit: u32) -> Hir {
    let all = |subs: Vec<Hir>| subs.into_iter().map(|sub| lift(sub, limit)).collect();
    match hir.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Look(look) => Hir::look(look),
        HirKind::Repetition(repetition) => {
            let max = match liftable(&repetition) {
                Some(max) if max >= limit => None,
                _ => repetition.max,
            };
            let sub = Box::new(lift(*repetition.sub, limit));
            Hir::repetition(Repetition { max, sub, ..repetition })
        }
        HirKind::Capture(Capture { index, name, sub }) => {
            Hir::capture(Capture { index, name, sub: Box::new(lift(*sub, limit)) })
        }
        HirKind::Concat(subs) => Hir::concat(all(subs)),
        HirKind::Alternation(subs) => Hir::alternation(all(subs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::bound_repetitions;
    use crate::matcher::{Caches, Groups};

    fn parse(regex: &str) -> Hir {
        bound_repetitions(regex_syntax::ParserBuilder::new().utf8(false).build().parse(regex).unwrap())
    }

    /// All texts of at most so many of these bytes.
    fn texts(bytes: &[u8], len: u32) -> impl Iterator<Item = Vec<u8>> {
        let count = bytes.len();
        (0..=len).flat_map(move |len| {
            (0..count.pow(len))
                .map(move |number| (0..len).map(|place| bytes[number / count.pow(place) % count]).collect())
        })
    }

    #[test]
    fn what_a_sieve_tells_is_what_the_regex_finds() {
        let regexes = [
            "a{1,3}b",
            "a{2,4}(b)?",
            "(a){0,2}(b|ab){1,3}",
            "b(?:-?a){1,3}?-",
            "(?:a{1,2}b){1,2}a",
            r"\ba{1,3}\b",
            "(?:a|(b)){2,3}$",
            "(a{1,2}?)(a{0,3})-",
        ];
        let mut told = 0;
        for regex in regexes {
            let hir = parse(regex);
            let matcher = Matcher::new(&hir, usize::MAX);
            for limit in 2..=4 {
                let sieve = sieve(hir.clone(), limit);
                let mut caches = Caches::default();
                for text in texts(b"ab-", 7) {
                    // From one place, from few, and from so many that they are searched at once.
                    for starts in [0..1, 2..4, 0..text.len() + 1] {
                        let places =
                            (starts.start.min(text.len())..starts.end.min(text.len() + 1), text.len());
                        let sifted = sieve.find((&mut caches, 0), &text, places.clone(), &mut 0);
                        let found = matcher.find((&mut caches, 1), &text, places, &mut 0).unwrap();
                        if let Ok(sifted) = sifted {
                            let all =
                                |groups: Groups| (0..groups.len()).map(|group| groups.get(group)).collect();
                            let [sifted, found] = [sifted, found].map(|groups| groups.map(all));
                            let (sifted, found): (Option<Vec<_>>, Option<Vec<_>>) = (sifted, found);
                            assert_eq!(sifted, found, "{regex} without {limit} in {text:?}");
                            told += 1;
                        }
                    }
                }
            }
        }
        assert!(told > 100_000, "{told}");
    }

    #[test]
    fn as_few_limits_are_lifted_as_make_it_small() {
        assert_eq!(limit_to_lift(&parse("(?-u)key=[a-z]{20,400}")), None);
        assert_eq!(limit_to_lift(&parse("(?-u)[a-z]{1,80}=[a-z]{20,4000}")), Some(4000));
        assert_eq!(limit_to_lift(&parse("(?-u)[a-z]{1,400}=(?:[a-z]{20,400}=){2,9}")), Some(400));
        assert_eq!(limit_to_lift(&parse("(?-u)[a-z]{1,400}=(?:[a-z]{20,400}=){2,99}")), Some(99));
        assert_eq!(limit_to_lift(&parse("(?-u)[a-z]{600}=[a-z]{1,64}")), None);
    }

    #[test]
    fn a_limit_stays_where_a_repetition_need_not_take_a_byte() {
        assert_eq!(limit_to_lift(&parse("k(?:a?b?){1,600}")), None);
    }
}
