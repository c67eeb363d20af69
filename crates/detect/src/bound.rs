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
            Hir::repetition(Repetition { min, max: Some(max), greedy, sub: Box::new(unnested(sub)) })
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

/// The same without a repetition at the top. The pattern is printed and parsed again, and `regex-syntax` prints
/// `(?:x{3})?` as `x{3}?`, which means something else: a lazy repetition.
fn unnested(hir: Hir) -> Hir {
    let HirKind::Repetition(Repetition { min, max, greedy, sub }) = hir.kind().clone() else { return hir };
    let repeat = |min, max| Hir::repetition(Repetition { min, max, greedy, sub: sub.clone() });
    match min {
        0 if greedy => Hir::alternation(vec![repeat(1, max), Hir::empty()]),
        0 => Hir::alternation(vec![Hir::empty(), repeat(1, max)]),
        // Groups can't be written twice.
        _ if sub.properties().explicit_captures_len() > 0 => hir,
        _ => Hir::concat(vec![(*sub).clone(), repeat(min - 1, max.map(|max| max - 1))]),
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
    fn limits_are_the_documented_ones() {
        assert_eq!(max_len("a*"), 4096);
        assert_eq!(max_len("a{3,}"), 4099);
        assert_eq!(max_len("(?:ab)+"), 130);
        assert_eq!(max_len("(?:a+b)*"), 64 * 66);
        assert_eq!(max_len("(a+b)?"), 4098);
        assert_eq!(max_len("a{2,5}"), 5);
    }
}
