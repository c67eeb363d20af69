//! Regexes: parsed and measured when rules load, compiled when first needed.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use regex_syntax::hir::{Hir, HirKind};
use serde::{Deserialize, Serialize};

use crate::bound::bound_repetitions;
use crate::go_syntax::from_go;
use crate::literal::{Literal, required_literals};
use crate::matcher::{Caches, Groups, Matcher, Open};
use crate::run::Run;
use crate::sieve::{limit_to_lift, sieve};

/// Patterns of more than this many states (see [`count_states`]) are refused.
const MAX_STATES: usize = 200_000;
/// A match must not be able to be longer than this: every candidate costs a window of this size.
const MAX_MATCH_LEN: usize = 64 << 10;

/// Why a text is no pattern.
#[derive(Debug)]
pub(crate) enum PatternError {
    /// Not a regex.
    Regex(Box<regex_syntax::Error>),
    /// A regex that the engine does not take.
    Unfit(String),
}

/// The regex of a rule with what the engine knows about its matches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pattern {
    /// As written.
    #[serde(borrow)]
    pub(crate) source: Cow<'static, str>,
    /// The UTF-8 of [`Pattern::bounded`]: most are never looked at, so nothing is checked when the rules load.
    #[serde(borrow)]
    bounded: Cow<'static, [u8]>,
    /// What finds the same, compiled on first use.
    #[serde(skip)]
    matcher: OnceLock<Arc<Matcher>>,
    /// From which limit of repetitions on its sieve has none; `None`: it has no sieve.
    lifted: Option<u32>,
    /// Compiled on first use.
    #[serde(skip)]
    sieve: OnceLock<Arc<Matcher>>,
    /// How many capture groups there are, the whole match not counted.
    pub(crate) groups: usize,
    /// The longest possible match.
    pub(crate) max_len: usize,
    /// Every match has all of these rows of bytes. Not in the compiled form: see [`crate::search::Search::whole_rules`].
    #[serde(skip)]
    pub(crate) runs: Vec<Run>,
    /// Every match has one of these. Empty: no such set is known, and the regex reads every byte of each content, or of
    /// each that has a keyword.
    /// Not in the compiled form either.
    #[serde(skip)]
    pub(crate) literals: Vec<Literal>,
    /// Whether there are literals.
    pub(crate) has_literals: bool,
    /// Whether it takes the whole content to tell if a match counts: the keywords need not stand in the match, or where
    /// a match starts depends on those before it.
    pub(crate) is_gated: bool,
    /// About as many states as the compiled regex has.
    pub(crate) states: usize,
}

impl Pattern {
    /// Parses, bounds and measures the regex of a rule with these keywords.
    pub(crate) fn parse(source: &str, keywords: &[String]) -> Result<Self, PatternError> {
        let hir = parse(source)?;
        if repeats_repeated_groups(&hir) {
            return Err(PatternError::Unfit(
                "repeats a repetition with a group in it, such as `(?:(x){2})?`; write `(?:(?:x){2})?` or a group around \
                 the inner repetition"
                    .into(),
            ));
        }
        let hir = bound_repetitions(hir);
        let states = check_states(&hir)?;
        let properties = hir.properties();
        let max_len = match (properties.minimum_len(), properties.maximum_len()) {
            (Some(0), _) => return Err(PatternError::Unfit("matches the empty text".into())),
            (Some(_), Some(max)) if max <= MAX_MATCH_LEN => max,
            (Some(_), _) => {
                return Err(PatternError::Unfit(format!(
                    "can match more than {MAX_MATCH_LEN} bytes; give its repetitions upper limits"
                )));
            }
            (None, _) => return Err(PatternError::Unfit("can never match".into())),
        };
        let keywords: Vec<Vec<u8>> = keywords.iter().map(|word| word.to_ascii_lowercase().into()).collect();
        let (literals, has_keywords) = required_literals(&hir, &keywords);
        let is_gated = literals.is_empty() || (!keywords.is_empty() && !has_keywords);
        Ok(Self {
            source: source.to_owned().into(),
            bounded: hir.to_string().into_bytes().into(),
            matcher: OnceLock::new(),
            lifted: limit_to_lift(&hir),
            sieve: OnceLock::new(),
            groups: properties.explicit_captures_len(),
            max_len,
            runs: Run::all_of(&hir),
            has_literals: !literals.is_empty(),
            literals,
            is_gated,
            states,
        })
    }

    /// What a rule without a regex has: matches nothing, and costs nothing.
    pub(crate) fn never() -> Self {
        Self {
            source: "".into(),
            // The empty class.
            bounded: b"[a&&b]".into(),
            matcher: OnceLock::new(),
            lifted: None,
            sieve: OnceLock::new(),
            groups: 0,
            max_len: 0,
            runs: Vec::new(),
            literals: Vec::new(),
            has_literals: false,
            is_gated: false,
            states: 0,
        }
    }

    /// The regex that runs, with bounded repetitions and with its flags spelled out.
    pub(crate) fn bounded(&self) -> &str {
        std::str::from_utf8(&self.bounded).expect("it was a text")
    }

    /// The leftmost match that starts at one of these places: see [`Matcher::find`]. `number` is that of the rule.
    pub(crate) fn find(
        &self,
        caches: &mut Caches,
        number: usize,
        content: &[u8],
        places: (Range<usize>, usize),
        read: &mut usize,
    ) -> Option<Groups> {
        if let Some(sieve) = self.sieve()
            && let Ok(found) = sieve.find((caches, 2 * number), content, places.clone(), read)
        {
            return found;
        }
        let found = self.matcher().find((caches, 2 * number + 1), content, places, read);
        found.unwrap_or_else(|Open| unreachable!("it tells of all matches"))
    }

    /// The compiled regex.
    fn matcher(&self) -> &Matcher {
        self.matcher.get_or_init(|| Arc::new(Matcher::new(&self.hir(), usize::MAX)))
    }

    fn sieve(&self) -> Option<&Matcher> {
        let compile = |limit| Arc::new(sieve(self.hir(), limit));
        self.lifted.map(|limit| &**self.sieve.get_or_init(|| compile(limit)))
    }

    /// What `bounded` says; the source takes less time to parse.
    fn hir(&self) -> Hir {
        match self.max_len {
            0 => Hir::fail(),
            _ => bound_repetitions(parse(&self.source).expect("parsed before")),
        }
    }

    /// Whether the regex has to read every byte of a content.
    pub(crate) fn reads_everything(&self) -> bool {
        self.is_gated && !self.has_literals
    }
}

/// Parses a regex in Rust's syntax or, where that fails, in Go's. Without Unicode mode, unless it needs that.
pub(crate) fn parse(text: &str) -> Result<Hir, PatternError> {
    parse_rust(text).or_else(|error| parse_rust(&from_go(text)).map_err(|_| PatternError::Regex(error)))
}

fn parse_rust(text: &str) -> Result<Hir, Box<regex_syntax::Error>> {
    let with = |unicode| {
        let parsed = regex_syntax::ParserBuilder::new().unicode(unicode).utf8(false).build().parse(text);
        parsed.map_err(Box::new)
    };
    with(false).or_else(|_| with(true))
}

/// How many states it has, unless they are too many.
pub(crate) fn check_states(hir: &Hir) -> Result<usize, PatternError> {
    let states = count_states(hir);
    if states > MAX_STATES {
        return Err(PatternError::Unfit("is too big: lower the limits of its repetitions".into()));
    }
    Ok(states)
}

/// Whether a repetition stands directly in another one and has capture groups in it: see `unnested` in `bound.rs`.
fn repeats_repeated_groups(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Literal(_) | HirKind::Class(_) => false,
        HirKind::Repetition(outer) => {
            let is_repeated = matches!(outer.sub.kind(), HirKind::Repetition(inner) if inner.min > 0);
            is_repeated && outer.sub.properties().explicit_captures_len() > 0
                || repeats_repeated_groups(&outer.sub)
        }
        HirKind::Capture(capture) => repeats_repeated_groups(&capture.sub),
        HirKind::Concat(subs) | HirKind::Alternation(subs) => subs.iter().any(repeats_repeated_groups),
    }
}

/// About as many states as the compiled regex will have.
pub(crate) fn count_states(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(regex_syntax::hir::Class::Bytes(_)) => 1,
        HirKind::Class(regex_syntax::hir::Class::Unicode(class)) => 1 + 4 * class.ranges().len(),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min + 1) as usize;
            count_states(&repetition.sub).saturating_mul(times.max(1)).saturating_add(1)
        }
        HirKind::Capture(capture) => count_states(&capture.sub).saturating_add(2),
        HirKind::Concat(subs) | HirKind::Alternation(subs) => {
            subs.iter().fold(1, |sum, sub| sum.saturating_add(count_states(sub)))
        }
    }
}

#[cfg(test)]
mod tests {
    use regex::bytes::Regex;

    use super::*;
    use crate::lazy_regex::LazyRegex;

    fn problem(regex: &str) -> String {
        match Pattern::parse(regex, &[]) {
            Err(PatternError::Unfit(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }

    fn is_match(pattern: &Pattern, text: &str) -> bool {
        let places = (0..text.len(), text.len());
        pattern.find(&mut Caches::default(), 0, text.as_bytes(), places, &mut 0).is_some()
    }

    #[test]
    fn unfit_patterns_are_refused_with_the_reason() {
        assert!(problem("(?:abc)?").contains("empty"));
        assert!(problem("abc(?:[a-z]{900}){100}").contains("more than"));
        assert!(problem("abc(?:[a-z]{900}){1000}").contains("too big"));
        assert!(matches!(Pattern::parse("abc(", &[]), Err(PatternError::Regex(_))));
    }

    #[test]
    fn keywords_outside_the_match_gate_the_content() {
        let words = ["Token".to_owned()];
        assert!(!Pattern::parse("(?i)my_token=[a-z]{8}", &words).unwrap().is_gated);
        let gated = Pattern::parse("[a-z]{32}", &words).unwrap();
        assert!(gated.is_gated && gated.literals.is_empty());
    }

    #[test]
    fn a_repetition_in_a_repetition_means_what_it_says() {
        for regex in ["abc(?:[0-9]{3})?!", "abc(?:x{2}){2}?y", "abc(?:(?:x*)?y)*!"] {
            let pattern = Pattern::parse(regex, &[]).unwrap();
            let plain = Regex::new(regex).unwrap();
            for text in ["abc!", "abc123!", "abcxxxxy", "abcxxy", "abcyxy!", "abcxx!"] {
                let bytes = text.as_bytes();
                let bounded = Regex::new(pattern.bounded()).unwrap();
                assert_eq!(bounded.find(bytes), plain.find(bytes), "{regex} in {text}");
            }
        }
    }

    #[test]
    fn a_pattern_in_gos_syntax_is_taken() {
        let pattern = Pattern::parse(r"key\Q(x)\E=[^[]{3}\$\{{V}", &[]).unwrap();
        assert!(is_match(&pattern, "key(x)=abc${{V}"));
        assert_eq!(pattern.source, r"key\Q(x)\E=[^[]{3}\$\{{V}");
        let lazy = LazyRegex::parse("[[]a{b").unwrap();
        assert!(lazy.is_match(b"[a{b") && lazy.as_str() == "[[]a{b");
    }

    #[test]
    fn patterns_that_read_everything_are_known() {
        let reads = |regex: &str, words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Pattern::parse(regex, &words).unwrap().reads_everything()
        };
        assert!(reads("[a-z]{20}", &[]) && reads("[a-z]{20}", &["token"]));
        assert!(!reads("key_[a-z]{20}", &[]) && !reads("key_[a-z]{20}", &["token"]));
        let never = Pattern::never();
        assert!(!never.reads_everything() && !is_match(&never, "a&&b ab"));
    }

    #[test]
    fn a_pattern_that_needs_unicode_gets_it() {
        let pattern = Pattern::parse(r"key=\p{Greek}{3}", &[]).unwrap();
        assert!(is_match(&pattern, "key=αβγ"));
    }
}
