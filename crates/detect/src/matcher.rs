//! Runs the regex of a rule at the places where a literal says that a match may start.
//!
//! Almost all such places are no match, so what counts is how fast a lazy DFA dies there. It is that of the
//! `regex-automata` crate, the engine inside `regex`: used directly it starts at a place of the content with what is before
//! it in sight, needs one automaton for each regex instead of four, and one thread at a time has the caches of all regexes,
//! instead of each regex its own.

use std::ops::Range;

use regex_automata::hybrid::dfa::{self, DFA};
use regex_automata::nfa::thompson::backtrack::{self, BoundedBacktracker};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::Hir;

use crate::finder::Scratch;

/// What a compiled regex may occupy. Patterns are refused that have far fewer states, so compiling does not fail.
const SIZE_LIMIT: usize = 512 << 20;
/// What the states of one lazy DFA may occupy before it starts anew. The regexes of generic rules go through thousands of
/// states in ordinary source code; when these do not fit they are made over and over.
const CACHE_BYTES: usize = 8 << 20;
/// When the caches of a thread have more than this together, those that were not used lately are given up.
const ALL_CACHES_BYTES: usize = 16 << 20;
/// Looked at each time that so many searches are over.
const PERIOD: u32 = 1 << 14;
/// Up to so many starts are tried one by one.
const MAX_TRIES: usize = 4;

/// A compiled regex.
#[derive(Debug)]
pub(crate) struct Matcher {
    dfa: DFA,
    backtracker: BoundedBacktracker,
    /// For what the others refuse: content that is not ASCII around Unicode word boundaries, and long matches.
    fallback: PikeVM,
    /// It tells of matches of up to so many bytes.
    within: usize,
}

/// What automata are made from.
pub(crate) fn nfa(hir: &Hir, captures: WhichCaptures) -> Result<NFA, Box<dyn std::error::Error>> {
    let config = NFA::config().utf8(false).which_captures(captures).nfa_size_limit(Some(SIZE_LIMIT));
    Ok(thompson::Compiler::new().configure(config).build_from_hir(hir)?)
}

/// A lazy DFA whose states may occupy so much.
pub(crate) fn lazy_dfa(
    hir: &Hir,
    captures: WhichCaptures,
    cache_bytes: usize,
) -> Result<DFA, Box<dyn std::error::Error>> {
    let config =
        DFA::config().cache_capacity(cache_bytes).skip_cache_capacity_check(true).unicode_word_boundary(true);
    Ok(DFA::builder().configure(config).build_from_nfa(nfa(hir, captures)?)?)
}

impl Matcher {
    /// Compiles a regex. It tells of matches of up to `within` bytes.
    ///
    /// # Panics
    /// When it has far more states than a rule may have.
    pub(crate) fn new(hir: &Hir, within: usize) -> Self {
        Self::compile(hir, within).expect("parsed and measured before")
    }

    fn compile(hir: &Hir, within: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let dfa = lazy_dfa(hir, WhichCaptures::All, CACHE_BYTES)?;
        let nfa = dfa.get_nfa();
        Ok(Self {
            backtracker: BoundedBacktracker::new_from_nfa(nfa.clone())?,
            fallback: PikeVM::new_from_nfa(nfa.clone())?,
            dfa,
            within,
        })
    }

    /// The leftmost match that starts at one of these places. No match that does so ends after `end`. `number` is that of
    /// the regex in `caches`. `read` becomes the end of what was looked at, if that is later.
    ///
    /// # Errors
    /// When a match of more than `within` bytes may start there.
    pub(crate) fn find(
        &self,
        (caches, number): (&mut Caches, usize),
        content: &[u8],
        (starts, end): (Range<usize>, usize),
        read: &mut usize,
    ) -> Result<Option<Groups>, Open> {
        // A search for one start ends with the first byte that can't belong to a match, while a search for any start goes
        // on to the end.
        if starts.len() <= MAX_TRIES {
            for start in starts {
                let cut = end.min(start.saturating_add(self.within));
                let input = Input::new(content).range(start..cut).anchored(Anchored::Yes);
                let cache = caches.of_dfa(number, &self.dfa);
                let (ended, looked_at) = end_of_match(&self.dfa, cache, &input, cut < end)?;
                *read = looked_at.max(*read);
                if let Some(groups) = self.groups(caches, input, ended) {
                    return Ok(Some(groups));
                }
            }
            return Ok(None);
        }
        *read = end.max(*read);
        let input = Input::new(content).range(starts.start..end);
        let ended = self.dfa.try_search_fwd(caches.of_dfa(number, &self.dfa), &input);
        let ended = ended.map(|half| half.map(|half| half.offset())).map_err(|_| GaveUp);
        let groups = self.groups(caches, input, ended);
        match groups.as_ref().and_then(|groups| groups.get(0)).filter(|whole| whole.start < starts.end) {
            None => Ok(None),
            Some(whole) if whole.len() > self.within => Err(Open),
            Some(_) => Ok(groups),
        }
    }

    /// The match in the input and its groups, where it is known whether there is one and where it ends.
    fn groups(
        &self,
        caches: &mut Caches,
        input: Input<'_>,
        ended: Result<Option<usize>, GaveUp>,
    ) -> Option<Groups> {
        let input = match ended {
            Ok(None) => return None,
            Ok(Some(end)) => {
                let start = input.start();
                input.range(start..end)
            }
            Err(GaveUp) => input,
        };
        let mut groups = Groups(vec![None; self.dfa.get_nfa().group_info().slot_len()]);
        // They keep nothing from search to search.
        let backtracker = caches.backtracker.get_or_insert_with(|| self.backtracker.create_cache());
        backtracker.reset(&self.backtracker);
        if self.backtracker.try_search_slots(backtracker, &input, &mut groups.0).is_err() {
            let fallback = caches.fallback.get_or_insert_with(|| self.fallback.create_cache());
            fallback.reset(&self.fallback);
            self.fallback.search_slots(fallback, &input, &mut groups.0);
        }
        groups.get(0).is_some().then_some(groups)
    }
}

/// It takes a longer match than the matcher tells of.
#[derive(Debug)]
pub(crate) struct Open;

/// The lazy DFA can't tell.
struct GaveUp;

/// Where the match ends that starts where the input does, if there is one; and the end of the bytes that say so. What is
/// behind the input takes part in the match too if the input `is_cut`.
///
/// The same as `try_search_fwd`, which does not tell where it ended. Most searches end after few bytes.
fn end_of_match(
    dfa: &DFA,
    cache: &mut dfa::Cache,
    input: &Input<'_>,
    is_cut: bool,
) -> Result<(Result<Option<usize>, GaveUp>, usize), Open> {
    let (start, end) = (input.start(), input.end());
    let gave_up = || if is_cut { Err(Open) } else { Ok((Err(GaveUp), end)) };
    let Ok(mut state) = dfa.start_state_forward(cache, input) else { return gave_up() };
    let mut found = None;
    for (byte, at) in input.haystack()[start..end].iter().zip(start..) {
        state = match dfa.next_state(cache, state, *byte) {
            Ok(state) => state,
            Err(_) => return gave_up(),
        };
        if state.is_tagged() {
            if state.is_match() {
                // The state after a match is known one byte later.
                found = Some(at);
            } else if state.is_dead() {
                return Ok((Ok(found), at + 1));
            } else if state.is_quit() {
                return gave_up();
            }
        }
    }
    if is_cut {
        return Err(Open);
    }
    // What follows the input may be looked at.
    let last = match input.haystack().get(end) {
        Some(byte) => dfa.next_state(cache, state, *byte),
        None => dfa.next_eoi_state(cache, state),
    };
    match last {
        Ok(state) if state.is_match() => Ok((Ok(Some(end)), end)),
        Ok(state) if !state.is_quit() => Ok((Ok(found), end)),
        Ok(_) | Err(_) => gave_up(),
    }
}

/// Where each group of a regex is, twice the number of groups: start and end.
pub(crate) struct Groups(Vec<Option<NonMaxUsize>>);

impl Groups {
    /// The range of a group that takes part in the match; 0 is the whole match.
    pub(crate) fn get(&self, group: usize) -> Option<Range<usize>> {
        Some(self.0.get(2 * group)?.as_ref()?.get()..self.0[2 * group + 1]?.get())
    }

    /// How many there are, the whole match counted.
    pub(crate) fn len(&self) -> usize {
        self.0.len() / 2
    }
}

/// What searches need besides the regexes. One at a time uses it.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    /// By number of the regex.
    dfas: Vec<Option<UsedCache>>,
    /// How many searches there were.
    searches: u32,
    backtracker: Option<backtrack::Cache>,
    fallback: Option<pikevm::Cache>,
    /// For the search for literals, which comes first.
    pub(crate) scratch: Scratch,
}

#[derive(Debug)]
struct UsedCache {
    cache: dfa::Cache,
    /// The number of the last search.
    last_use: u32,
}

impl Caches {
    fn of_dfa(&mut self, number: usize, dfa: &DFA) -> &mut dfa::Cache {
        self.searches = self.searches.wrapping_add(1);
        if self.searches.is_multiple_of(PERIOD) {
            self.trim();
        }
        if self.dfas.len() <= number {
            self.dfas.resize_with(number + 1, || None);
        }
        let used =
            self.dfas[number].get_or_insert_with(|| UsedCache { cache: dfa.create_cache(), last_use: 0 });
        used.last_use = self.searches;
        &mut used.cache
    }

    fn trim(&mut self) {
        let bytes: usize = self.dfas.iter().flatten().map(|used| used.cache.memory_usage()).sum();
        if bytes > ALL_CACHES_BYTES {
            for place in &mut self.dfas {
                place.take_if(|used| self.searches.wrapping_sub(used.last_use) > PERIOD / 4);
            }
        }
    }
}
