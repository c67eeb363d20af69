//! Matches in text that stands in a content in another form.

use std::collections::HashMap;
use std::ops::Range;

use crate::decode::{Form, KnownRun, Run, Settled, View, encoded_runs};
use crate::rule::{Rule, RuleIndex};
use crate::scanner::Scanner;
use crate::search::Hit;

/// Decoded text costs at most so many times the length of the content to search, and this much for short ones. Only
/// content made for it gets there: every decoding shortens what it decodes.
const MAX_SHARE: usize = 16;
const MIN_BUDGET: usize = 1 << 20;

/// A match in decoded text.
pub(crate) struct DerivedHit {
    pub(crate) rule: u16,
    /// Where the content holds the secret, in its own form.
    pub(crate) original: Range<usize>,
    /// How many lines the match has before those of the secret, and after.
    pub(crate) lines_beyond: (u32, u32),
    pub(crate) secret: Vec<u8>,
    pub(crate) excluded_by: Vec<u16>,
    /// How the text was reached, outermost first.
    pub(crate) forms: Vec<Form>,
}

/// What the decoded and joined text of one content holds.
#[derive(Default)]
pub(crate) struct Derived {
    pub(crate) hits: Vec<DerivedHit>,
    /// The base64 and hexadecimal runs of the content that are text.
    readable: Vec<Readable>,
    /// Whether more was to be decoded than may be.
    pub(crate) is_cut: bool,
}

/// A base64 or hexadecimal run.
struct Readable {
    range: Range<usize>,
    /// Whether it is more than one word.
    has_space: bool,
    /// The rules whose regex matches the decoded text, where something excludes that match.
    refused_by: Vec<u16>,
}

/// The views that lead from the content to a text, outermost first.
#[derive(Clone, Copy)]
struct Trail<'a> {
    outer: Option<&'a Trail<'a>>,
    view: &'a View,
    form: Form,
}

impl Trail<'_> {
    fn original(&self, range: &Range<usize>) -> Range<usize> {
        let range = self.view.original(range);
        self.outer.map_or_else(|| range.clone(), |outer| outer.original(&range))
    }

    fn forms(&self) -> Vec<Form> {
        let mut forms = self.outer.map_or_else(Vec::new, Trail::forms);
        forms.push(self.form);
        forms
    }
}

impl Scanner {
    /// The matches in the content that show only when it is decoded or joined, before those are left out that other
    /// matches make needless.
    pub(crate) fn derive(&self, content: &[u8], runs: &mut [KnownRun]) -> Derived {
        let mut derived = Derived::default();
        let mut budget = content.len().saturating_mul(MAX_SHARE).max(MIN_BUDGET);
        for known in runs {
            let run = &known.run;
            match known.settled {
                Some(Settled::Nothing) => {}
                Some(settled) => derived.readable.push(Readable {
                    range: run.range.clone(),
                    has_space: settled == Settled::Words,
                    refused_by: Vec::new(),
                }),
                None => {
                    let (is_first, hits) = (derived.readable.len(), derived.hits.len());
                    let is_quiet =
                        self.follow(content, run, None, self.depth().decode, &mut budget, &mut derived);
                    let is_settled = is_quiet && hits == derived.hits.len() && !derived.is_cut;
                    known.settled = is_settled.then(|| match derived.readable.get(is_first) {
                        None => Settled::Nothing,
                        Some(readable) if readable.has_space => Settled::Words,
                        Some(_) => Settled::Word,
                    });
                }
            }
        }
        derived
    }

    /// Follows a run, `depth` decodings deep. Returns whether no regex matches anything in what it holds.
    fn follow(
        &self,
        text: &[u8],
        run: &Run,
        trail: Option<&Trail<'_>>,
        depth: u8,
        budget: &mut usize,
        derived: &mut Derived,
    ) -> bool {
        // Joining costs no depth, and joined text holds nothing more to join.
        let depth = match (run.form, depth) {
            (Form::Joined, _) if trail.is_some_and(|trail| trail.form == Form::Joined) => return true,
            (Form::Joined, depth) => depth,
            (_, 0) => return true,
            (_, depth) => depth - 1,
        };
        let Some(view) = View::of(text, run) else { return true };
        let Some(left) = budget.checked_sub(view.text.len()) else {
            derived.is_cut = true;
            return false;
        };
        *budget = left;
        let found = self.hits_in_view(&view.text);
        let is_new = |hit: &Hit| view.is_changed(&(hit.start..hit.end));
        let mut is_quiet = found.all.is_empty();
        if trail.is_none() && matches!(run.form, Form::Base64 | Form::Hex) {
            let has_kept = |rule| found.kept.iter().any(|(hit, _)| hit.rule == rule);
            let refused = found.all.iter().filter(|hit| is_new(hit) && !has_kept(hit.rule));
            derived.readable.push(Readable {
                range: run.range.clone(),
                has_space: view.text[view.changed()].trim_ascii().contains(&b' '),
                refused_by: refused.map(|hit| hit.rule).collect(),
            });
        }
        let trail = Trail { outer: trail, view: &view, form: run.form };
        for (hit, excluded_by) in found.kept.into_iter().filter(|(hit, _)| is_new(hit)) {
            let secret = hit.secret_start..hit.secret_end;
            derived.hits.push(DerivedHit {
                rule: hit.rule,
                original: trail.original(&secret),
                lines_beyond: (0, 0),
                secret: view.text[secret].to_vec(),
                excluded_by,
                forms: trail.forms(),
            });
        }
        for inner in encoded_runs(&view.text, view.changed()) {
            if view.is_changed(&inner.range) {
                is_quiet &= self.follow(&view.text, &inner, Some(&trail), depth, budget, derived);
            }
        }
        is_quiet
    }

    /// Settles between matches in the content itself and in decoded text: of several that say the same of one place
    /// one stays. `all` are also those plain ones that are excluded.
    ///
    /// A plain match wins, but for one of a generic rule whose secret is the encoded form of what a specific rule finds.
    /// Inside of a larger token, such as a JSON Web Token, generic rules find nothing. And the encoded form of words, or
    /// of what the same rule excludes, is no secret of a generic rule.
    pub(crate) fn settle(
        &self,
        all: &[Hit],
        plain: &mut Vec<(Hit, Vec<u16>)>,
        derived: Derived,
    ) -> Vec<DerivedHit> {
        let Derived { hits: mut derived, readable, .. } = derived;
        let rule = |index: u16| self.rules().rule(RuleIndex(index));
        // A rule for some paths only may not apply, so it wins over nothing.
        let wins = |index: u16, by: &Rule| {
            let rule = rule(index);
            rule.path.is_none() && (!rule.is_generic || by.is_generic)
        };
        let kept = Places::new(plain.iter().map(|(hit, _)| (hit.secret_start..hit.secret_end, hit.rule)));
        let seen = Places::new(all.iter().map(|hit| (hit.secret_start..hit.secret_end, hit.rule)));
        derived.retain(|hit| {
            let by = rule(hit.rule);
            let is_known = kept.over(&hit.original).any(|(_, other)| *other == hit.rule || wins(*other, by));
            let is_inside =
                by.is_generic && seen.over(&hit.original).any(|(range, _)| !contains(&hit.original, range));
            // Text with a few escapes in it is the text that the rule saw and refused.
            let is_escaped = |form: &Form| matches!(form, Form::Percent | Form::Unicode | Form::Html);
            let is_refused = hit.forms.iter().all(is_escaped)
                && seen.over(&hit.original).any(|(_, other)| *other == hit.rule);
            !is_known && !is_inside && !is_refused
        });
        derived.sort_by_key(|hit| (hit.forms.len(), hit.original.len(), hit.original.start));
        let mut known: HashMap<(u16, Vec<u8>), Vec<Range<usize>>> = HashMap::new();
        derived.retain(|hit| {
            let places = known.entry((hit.rule, hit.secret.clone())).or_default();
            let is_new = !places.iter().any(|range| overlap(range, &hit.original));
            if is_new {
                places.push(hit.original.clone());
            }
            is_new
        });
        let specific =
            derived.iter().filter(|hit| !rule(hit.rule).is_generic && rule(hit.rule).path.is_none());
        let by_place = Places::new(specific.map(|hit| (hit.original.clone(), hit.secret.clone())));
        let is_same = |one: &[u8], other: &[u8]| {
            memchr::memmem::find(one, other).is_some() || memchr::memmem::find(other, one).is_some()
        };
        derived.retain(|hit| {
            !rule(hit.rule).is_generic
                || !by_place.over(&hit.original).any(|(_, secret)| is_same(secret, &hit.secret))
        });
        let readable = Places::new(readable.into_iter().map(|run| (run.range.clone(), run)));
        plain.retain(|(hit, _)| {
            let place = hit.secret_start..hit.secret_end;
            let is_words = |run: &Readable| run.has_space || run.refused_by.contains(&hit.rule);
            !rule(hit.rule).is_generic
                || !by_place.over(&place).any(|(range, _)| contains(range, &place))
                    && !readable.over(&place).any(|(range, run)| contains(range, &place) && is_words(run))
        });
        derived
    }
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

fn contains(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Ranges with something about each, to be asked which of them lie over another range.
struct Places<T> {
    /// By start.
    places: Vec<(Range<usize>, T)>,
    longest: usize,
}

impl<T> Places<T> {
    fn new(places: impl Iterator<Item = (Range<usize>, T)>) -> Self {
        let mut places: Vec<_> = places.collect();
        places.sort_by_key(|(range, _)| range.start);
        let longest = places.iter().map(|(range, _)| range.len()).max().unwrap_or(0);
        Self { places, longest }
    }

    fn over(&self, range: &Range<usize>) -> impl Iterator<Item = &(Range<usize>, T)> {
        let first = self.places.partition_point(|(place, _)| place.start + self.longest <= range.start);
        let near = self.places[first..].iter().take_while(|(place, _)| place.start < range.end);
        near.filter(|(place, _)| overlap(place, range))
    }
}
