//! Regexes of which is only asked whether they match: those of allowlists and paths.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use regex_automata::Input;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::hybrid::dfa::{self, DFA};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_syntax::hir::Hir;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::matcher::{lazy_dfa, nfa};
use crate::pattern::{PatternError, check_states, parse};
use crate::pool::Pool;

/// What the states of a lazy one may occupy before they are made anew.
const CACHE_BYTES: usize = 2 << 20;
/// The compiled form of a regex holds its whole DFA if that is no larger.
const MAX_BUILT_BYTES: usize = 16 << 10;

/// A regex that is made ready on first use: what a process asks of most is a few short texts, or nothing. Bytes mode, without
/// Unicode classes unless the pattern needs them.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LazyRegex {
    #[serde(borrow)]
    text: Cow<'static, str>,
    /// Its DFA; empty: there is none.
    #[serde(borrow)]
    built: &'static [u8],
    #[serde(skip)]
    engine: OnceLock<Engine>,
}

#[derive(Clone, Debug)]
enum Engine {
    /// From the compiled form of the rules.
    Built(Arc<dense::DFA<Vec<u32>>>),
    /// Of rules that were parsed by this process, and where the DFA would be large.
    Lazy(Arc<Lazy>),
}

/// The `regex` crate takes more than twice as long to be ready, to be fast with long texts.
#[derive(Debug)]
struct Lazy {
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
        Ok(Self { text: text.to_owned().into(), built: &[], engine: OnceLock::new() })
    }

    /// The regex as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches somewhere in the text.
    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        self.engine.get_or_init(|| self.engine()).is_match(text)
    }

    fn engine(&self) -> Engine {
        match read_dfa(self.built) {
            Some(dfa) => Engine::Built(Arc::new(dfa)),
            None => Engine::Lazy(Arc::new(Lazy::new(&self.hir()))),
        }
    }

    fn hir(&self) -> Hir {
        parse(&self.text).expect("parsed before")
    }

    /// The whole DFA as [`read_dfa`] reads it, or nothing if it would be large.
    fn build(&self) -> Vec<u8> {
        // It is larger before it is minimized.
        let config = dense::Config::new()
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(4 * MAX_BUILT_BYTES))
            .determinize_size_limit(Some(64 * MAX_BUILT_BYTES))
            .minimize(true);
        let nfa = nfa(&self.hir(), WhichCaptures::None).expect("measured before");
        match dense::Builder::new().configure(config).build_from_nfa(&nfa) {
            Ok(dfa) if dfa.memory_usage() <= MAX_BUILT_BYTES => {
                let (bytes, padding) = dfa.to_bytes_little_endian();
                bytes[padding..].to_vec()
            }
            // Or it would have to give up in some texts.
            Ok(_) | Err(_) => Vec::new(),
        }
    }
}

/// The DFA that [`LazyRegex::build`] wrote.
fn read_dfa(bytes: &[u8]) -> Option<dense::DFA<Vec<u32>>> {
    if bytes.is_empty() {
        return None;
    }
    // It is read where it lies, which must be a place for numbers of four bytes.
    let mut aligned = vec![0; bytes.len() + align_of::<u32>()];
    let start = aligned.as_ptr().align_offset(align_of::<u32>());
    let place = &mut aligned[start..start + bytes.len()];
    place.copy_from_slice(bytes);
    // It fails on a machine with another byte order, which has the lazy one then.
    dense::DFA::from_bytes(place).ok().map(|(dfa, _)| dfa.to_owned())
}

/// With its DFA, which is built for it.
impl Serialize for LazyRegex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("LazyRegex", 2)?;
        fields.serialize_field("text", &self.text)?;
        fields.serialize_field("built", &*self.build())?;
        fields.end()
    }
}

impl Engine {
    fn is_match(&self, text: &[u8]) -> bool {
        let input = Input::new(text).earliest(true);
        match self {
            Self::Built(dfa) => dfa.try_search_fwd(&input).expect("it never gives up").is_some(),
            Self::Lazy(lazy) => lazy.is_match(&input),
        }
    }
}

impl Lazy {
    /// # Panics
    /// When it has far more states than a regex may have.
    fn new(hir: &Hir) -> Self {
        let dfa = lazy_dfa(hir, WhichCaptures::None, CACHE_BYTES).expect("measured before");
        let fallback = PikeVM::new_from_nfa(dfa.get_nfa().clone()).expect("measured before");
        Self { dfa, fallback, caches: Pool::default() }
    }

    fn is_match(&self, input: &Input<'_>) -> bool {
        let Caches { dfa, fallback } = &mut *self.caches.get();
        let dfa = dfa.get_or_insert_with(|| self.dfa.create_cache());
        match self.dfa.try_search_fwd(dfa, input) {
            Ok(end) => end.is_some(),
            Err(_) => {
                let cache = fallback.get_or_insert_with(|| self.fallback.create_cache());
                self.fallback.is_match(cache, input.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it is in a program that has it built in.
    fn compiled(regex: &LazyRegex) -> LazyRegex {
        postcard::from_bytes(postcard::to_allocvec(regex).unwrap().leak()).unwrap()
    }

    #[test]
    fn it_matches_what_the_regex_crate_does() {
        let plain = [r"^ab+$", r"(?i)\bkey\b", "[^a]", r"(?m)^x|y\z", "a{3,5}?", r"\bβ\b|ü\b", ""];
        let all = plain.map(|regex| (regex, false)).into_iter().chain([(r"\p{Greek}", true)]);
        for (regex, unicode) in all {
            let lazy = LazyRegex::parse(regex).unwrap();
            let compiled = compiled(&lazy);
            assert_eq!(compiled.as_str(), regex);
            let plain = regex::bytes::RegexBuilder::new(regex).unicode(unicode).build().unwrap();
            for text in
                ["", "a", "abbb", "abbb\n", "the KEY is", "keys", "aaaa", "b\nx", "xy", "α", "aβ", "ü β", "ü"]
            {
                let bytes = text.as_bytes();
                for ours in [&lazy, &compiled] {
                    assert_eq!(ours.is_match(bytes), plain.is_match(bytes), "{regex} in {text:?}");
                }
            }
            for ours in [&lazy, &compiled] {
                assert_eq!(ours.is_match(b"\xff\x80"), plain.is_match(b"\xff\x80"), "{regex}");
            }
            assert!(matches!(lazy.engine.get().unwrap(), Engine::Lazy(_)), "{regex}");
            assert!(matches!(compiled.engine.get().unwrap(), Engine::Built(_)), "{regex}");
        }
    }

    #[test]
    fn what_the_dfa_refuses_is_matched_too() {
        let regex = LazyRegex::parse(r"\b\p{Greek}\b").unwrap();
        for regex in [compiled(&regex), regex] {
            assert!(regex.is_match("der σ!".as_bytes()) && !regex.is_match("σσ".as_bytes()));
            assert!(matches!(regex.engine.get().unwrap(), Engine::Lazy(_)));
        }
    }

    #[test]
    fn a_large_dfa_is_not_kept() {
        let regex = compiled(&LazyRegex::parse("a[a-z]{2,200}b|b[a-z]{3,200}c").unwrap());
        assert!(regex.built.is_empty() && regex.is_match(b"-axyb-") && !regex.is_match(b"-ayb-"));
    }
}
