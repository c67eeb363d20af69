//! Gives every repetition an upper limit, so that every match has a greatest length and a window around a literal
//! is enough to find it.
//!
//! `x*`, `x+` and `x{n,}` repeat at most [`WIDE`] times more than their minimum when `x` is one character, and
//! [`NARROW`] times when it is longer or stands inside another repetition. A secret longer than that is found up to
//! the limit, or not at all when the rule needs what comes after: such a rule should write its own limit.

use regex_syntax::hir::{Capture, Hir, HirKind, Repetition};

/// The limit for a repeated character.
const WIDE: u32 = 4096;
/// The limit for anything else.
const NARROW: u32 = 64;
/// Repeating less often than this leaves the repetitions inside their wide limit.
const FEW: u32 = 8;

/// The same pattern with every repetition limited.
pub(crate) fn bound_repetitions(hir: Hir) -> Hir {
    bound(hir, false)
}

fn bound(hir: Hir, is_nested: bool) -> Hir {
    match hir.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Look(look) => Hir::look(look),
        HirKind::Repetition(Repetition { min, max, greedy, sub }) => {
            let limit = if is_character(&sub) && !is_nested { WIDE } else { NARROW };
            let sub = bound(*sub, is_nested || max.is_none_or(|max| max >= FEW));
            let max = max.unwrap_or(min.saturating_add(limit));
            if (min, max) == (0, 1) && matches!(sub.kind(), HirKind::Repetition(_)) {
                // The printed form of `(?:x{2})?` would be `x{2}?`, which says something else.
                let branches = if greedy { vec![sub, Hir::empty()] } else { vec![Hir::empty(), sub] };
                return Hir::alternation(branches);
            }
            Hir::repetition(Repetition { min, max: Some(max), greedy, sub: Box::new(sub) })
        }
        HirKind::Capture(Capture { index, name, sub }) => {
            Hir::capture(Capture { index, name, sub: Box::new(bound(*sub, is_nested)) })
        }
        HirKind::Concat(subs) => Hir::concat(subs.into_iter().map(|sub| bound(sub, is_nested)).collect()),
        HirKind::Alternation(subs) => {
            Hir::alternation(subs.into_iter().map(|sub| bound(sub, is_nested)).collect())
        }
    }
}

fn is_character(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Class(_) => true,
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => text.chars().count() == 1,
            Err(_) => literal.0.len() == 1,
        },
        HirKind::Capture(capture) => is_character(&capture.sub),
        HirKind::Empty
        | HirKind::Look(_)
        | HirKind::Repetition(_)
        | HirKind::Concat(_)
        | HirKind::Alternation(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn max_len(regex: &str) -> usize {
        let hir = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(regex).unwrap();
        bound_repetitions(hir).properties().maximum_len().unwrap()
    }

    #[test]
    fn an_optional_repetition_prints_as_one() {
        for regex in ["ab{2}c", "a(?:b{2})?c", "a(?:b{2})??c", "a(?:b?){0,2}c", "a(?:b{2}){0,2}c"] {
            let parse = |text: &str| {
                regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(text).unwrap()
            };
            let printed = bound_repetitions(parse(regex)).to_string();
            for text in ["ac", "abc", "abbc", "abbbbc"] {
                let matches = |regex: &str| regex::bytes::Regex::new(regex).unwrap().is_match(text.as_bytes());
                assert_eq!(matches(&printed), matches(regex), "{regex} became {printed}, in {text}");
            }
        }
    }

    #[test]
    fn limits_are_the_documented_ones() {
        assert_eq!(max_len("a*"), 4096);
        assert_eq!(max_len("a{3,}"), 4099);
        assert_eq!(max_len("(?:ab)+"), 130);
        assert_eq!(max_len("(?:a+b)*"), 64 * 66);
        assert_eq!(max_len("(a+b)?"), 4098);
        assert_eq!(max_len("a{2,5}"), 5);
    }
}
