//! Regexes of which is only asked whether they match: those of allowlists and paths.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use regex_automata::Input;
use regex_automata::hybrid::dfa::{self, DFA};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_syntax::hir::Hir;
use serde::{Deserialize, Serialize};

use crate::matcher::lazy_dfa;
use crate::pattern::{PatternError, check_states, parse};
use crate::pool::Pool;

/// What the states of one may occupy before they are made anew.
const CACHE_BYTES: usize = 2 << 20;

/// A regex that compiles on first use. Bytes mode, without Unicode classes unless the pattern needs them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LazyRegex {
    #[serde(borrow)]
    text: Cow<'static, str>,
    #[serde(skip)]
    compiled: OnceLock<Arc<Compiled>>,
}

/// What a process asks of most of these is a few short texts, so they must be ready soon: the `regex` crate takes more than
/// twice as long, to be fast with long texts.
#[derive(Debug)]
struct Compiled {
    dfa: DFA,
    /// For what the DFA refuses: content that is not ASCII around Unicode word boundaries.
    fallback: PikeVM,
    caches: Pool<Caches>,
}

#[derive(Debug, Default)]
struct Caches {
    dfa: Option<dfa::Cache>,
    fallback: Option<pikevm::Cache>,
}

impl LazyRegex {
    /// Checks that the pattern can be compiled, without compiling it.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        check_states(&parse(text)?)?;
        Ok(Self { text: text.to_owned().into(), compiled: OnceLock::new() })
    }

    /// The regex as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches somewhere in the text.
    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        let compile = || {
            let hir = parse(&self.text).expect("parsed before");
            Arc::new(Compiled::new(&hir).expect("measured before"))
        };
        self.compiled.get_or_init(compile).is_match(text)
    }
}

impl Compiled {
    fn new(hir: &Hir) -> Result<Self, Box<dyn std::error::Error>> {
        let dfa = lazy_dfa(hir, WhichCaptures::None, CACHE_BYTES)?;
        let fallback = PikeVM::new_from_nfa(dfa.get_nfa().clone())?;
        Ok(Self { dfa, fallback, caches: Pool::default() })
    }

    fn is_match(&self, text: &[u8]) -> bool {
        let Caches { dfa, fallback } = &mut *self.caches.get();
        let dfa = dfa.get_or_insert_with(|| self.dfa.create_cache());
        match self.dfa.try_search_fwd(dfa, &Input::new(text).earliest(true)) {
            Ok(end) => end.is_some(),
            Err(_) => {
                self.fallback.is_match(fallback.get_or_insert_with(|| self.fallback.create_cache()), text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_matches_what_the_regex_crate_does() {
        let plain = [r"^ab+$", r"(?i)\bkey\b", "[^a]", r"(?m)^x|y\z", "a{3,5}?", r"\bβ\b|ü\b", ""];
        let all = plain.map(|regex| (regex, false)).into_iter().chain([(r"\p{Greek}", true)]);
        for (regex, unicode) in all {
            let lazy = LazyRegex::parse(regex).unwrap();
            let plain = regex::bytes::RegexBuilder::new(regex).unicode(unicode).build().unwrap();
            for text in
                ["", "a", "abbb", "abbb\n", "the KEY is", "keys", "aaaa", "b\nx", "xy", "α", "aβ", "ü β", "ü"]
            {
                let bytes = text.as_bytes();
                assert_eq!(lazy.is_match(bytes), plain.is_match(bytes), "{regex} in {text:?}");
            }
            assert_eq!(lazy.is_match(b"\xff\x80"), plain.is_match(b"\xff\x80"), "{regex}");
        }
    }

    #[test]
    fn what_the_dfa_refuses_is_matched_too() {
        let regex = LazyRegex::parse(r"\b\p{Greek}\b").unwrap();
        assert!(regex.is_match("der σ!".as_bytes()) && !regex.is_match("σσ".as_bytes()));
    }
}
