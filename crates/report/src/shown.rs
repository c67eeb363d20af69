//! What of a finding may be seen: the secret itself hidden or not, and where it stands in its excerpt.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use secretscan_model::{CommitId, Finding, Occurrence, RuleChange, Verification};

/// How a masked secret ends, in an excerpt and elsewhere.
const MASK: &str = "****";
/// How many leading characters of the secret may stand before the mask of an excerpt.
const MAX_SHOWN: u32 = 4;
/// They do stand there from this length of the secret on.
const SHOWN_FROM_LEN: u32 = 20;
/// An excerpt that does not start where its line starts begins with this.
const CUT: char = '…';
/// At most this many characters of a secret stand in an excerpt.
const MAX_IN_EXCERPT: usize = 160;

/// How much of each secret is hidden: that percentage of its characters, from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redaction(u8);

impl Redaction {
    /// Nothing of a secret is shown, but for what its masked excerpt tells.
    pub const WHOLE: Self = Self(100);

    /// From a percentage; more than 100 is 100.
    pub fn from_percent(percent: u8) -> Self {
        Self(percent.min(100))
    }

    /// What may be shown, or `None` when that is nothing. At least the percentage is hidden.
    fn shown(self, secret: &[u8]) -> Option<String> {
        if self == Self::WHOLE {
            return None;
        }
        let secret = String::from_utf8_lossy(secret);
        let length = secret.chars().count();
        let hidden = (length * usize::from(self.0)).div_ceil(100);
        let mut shown: String = secret.chars().take(length - hidden).collect();
        if hidden > 0 {
            shown.push_str(MASK);
        }
        Some(shown)
    }
}

/// A finding, and its secret if that is at hand.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    /// The finding.
    pub finding: &'a Finding,
    /// The secret in clear.
    pub secret: Option<&'a [u8]>,
}

impl fmt::Debug for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("finding", self.finding).finish_non_exhaustive()
    }
}

/// A finding as it is shown: nothing in it is hidden that may be seen, and nothing is there that may not.
#[derive(Clone)]
pub struct ReportedFinding<'a> {
    pub(crate) finding: Cow<'a, Finding>,
    /// The secret, as far as it is shown.
    pub(crate) secret: Option<String>,
    /// For each occurrence, where the secret stands in its excerpt, in bytes, where that can be told.
    pub(crate) marks: Vec<Option<Range<usize>>>,
    /// What the provider said, if it was asked.
    pub(crate) verification: Option<Verification>,
    /// The change of the rules that resolved it.
    pub(crate) rule_change: Option<RuleChange>,
}

impl fmt::Debug for ReportedFinding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The excerpts may show the secret.
        f.debug_struct("ReportedFinding").field("id", &self.finding.id).finish_non_exhaustive()
    }
}

impl<'a> ReportedFinding<'a> {
    /// The findings of one report, their secrets shown as far as `redaction` lets them. A secret that is not at hand
    /// stays as hidden as its excerpt has it.
    pub fn list(found: &[Found<'a>], redaction: Redaction) -> Vec<Self> {
        let lines = Lines::new(found);
        found.iter().map(|found| Self::new(*found, redaction, &lines)).collect()
    }

    fn new(found: Found<'a>, redaction: Redaction, lines: &Lines<'a>) -> Self {
        let mut finding = Cow::Borrowed(found.finding);
        let mut marks: Vec<_> = (finding.occurrences.iter())
            .map(|occurrence| mask_range(occurrence, lines.secrets(&found.finding.path, occurrence)))
            .collect();
        let secret = found.secret.and_then(|secret| redaction.shown(secret));
        if let Some(secret) = &secret {
            let in_excerpt = one_line(secret);
            for (occurrence, mark) in finding.to_mut().occurrences.iter_mut().zip(&mut marks) {
                if let Some(mark) = mark {
                    occurrence.excerpt.replace_range(mark.clone(), &in_excerpt);
                    mark.end = mark.start + in_excerpt.len();
                }
            }
        }
        Self { finding, secret, marks, verification: None, rule_change: None }
    }

    /// Adds what the provider said of the secret.
    #[must_use]
    pub fn with_verification(self, verification: Option<Verification>) -> Self {
        Self { verification, ..self }
    }

    /// Adds the change of the rules that resolved it.
    #[must_use]
    pub fn with_rule_change(self, rule_change: Option<RuleChange>) -> Self {
        Self { rule_change, ..self }
    }
}

/// Columns of the first character of a secret and after the last one.
type Columns = (u32, u32);

/// The secrets on each line of each version of a file.
struct Lines<'a>(HashMap<(&'a [u8], CommitId, u32), Vec<Columns>>);

impl<'a> Lines<'a> {
    fn new(found: &[Found<'a>]) -> Self {
        let mut lines: HashMap<_, Vec<Columns>> = HashMap::new();
        for finding in found.iter().map(|found| found.finding) {
            for at in finding.occurrences.iter().filter(|at| at.line == at.end_line) {
                let line = lines.entry((finding.path.as_slice(), at.commit, at.line)).or_default();
                line.push((at.column, at.end_column));
            }
        }
        Self(lines)
    }

    fn secrets(&self, path: &'a [u8], at: &Occurrence) -> &[Columns] {
        self.0.get(&(path, at.commit, at.line)).map_or(&[], Vec::as_slice)
    }
}

/// Where the masked secret of an occurrence stands in its excerpt, in bytes. A mask is of another width than what it
/// masks: the columns of the secrets on the line tell where each one is. Else a mask that is the only one must be it.
fn mask_range(at: &Occurrence, line: &[Columns]) -> Option<Range<usize>> {
    let excerpt = at.excerpt.as_str();
    let is_at = |column: u32, mask: u32| mask.checked_sub(column).is_some_and(|shown| shown <= MAX_SHOWN);
    let mut from = 0;
    let mut column = 1;
    while let Some(mask) = excerpt[from..].find(MASK).filter(|_| !excerpt.starts_with(CUT)) {
        let end = from + mask + MASK.len();
        let at_mask = column + u32::try_from(excerpt[from..from + mask].chars().count()).ok()?;
        if is_at(at.column, at_mask) {
            let shown = usize::try_from(at_mask - at.column).ok()?;
            return (from + mask)
                .checked_sub(shown)
                .filter(|start| excerpt.is_char_boundary(*start))
                .map(|start| start..end);
        }
        let other = line.iter().find(|secret| is_at(secret.0, at_mask));
        // Asterisks may also stand in the line itself.
        column = other.map_or(at_mask + 4, |secret| secret.1);
        from = end;
    }
    let mut masks = excerpt.match_indices(MASK);
    let (Some((only, _)), None) = (masks.next(), masks.next()) else { return None };
    let is_long = at.end_line > at.line || at.end_column.saturating_sub(at.column) >= SHOWN_FROM_LEN;
    let before = excerpt[..only].bytes().rev().take(if is_long { MAX_SHOWN as usize } else { 0 });
    let shown = before.take_while(u8::is_ascii_graphic).count();
    Some(only - shown..only + MASK.len())
}

/// A secret as it may stand in an excerpt.
fn one_line(secret: &str) -> String {
    let clean = |c: char| match c {
        '\t' | '\n' | '\r' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut line: String = secret.chars().take(MAX_IN_EXCERPT).map(clean).collect();
    if secret.chars().nth(MAX_IN_EXCERPT).is_some() {
        line.push(CUT);
    }
    line
}

#[cfg(test)]
mod tests {
    use secretscan_model::Author;

    use super::*;

    fn range(excerpt: &str, column: u32, line: &[Columns]) -> Option<Range<usize>> {
        range_of(excerpt, (column, column + 19), line)
    }

    fn range_of(excerpt: &str, (column, end_column): Columns, line: &[Columns]) -> Option<Range<usize>> {
        let at = Occurrence {
            corrected_date: 0,
            commit: CommitId::from_bytes(&[0; 20]).unwrap(),
            line: 1,
            column,
            end_line: 1,
            end_column,
            author: Author::default(),
            excerpt: excerpt.to_owned(),
            decoded_from: None,
            blob: None,
        };
        mask_range(&at, line)
    }

    #[test]
    fn the_mask_at_the_column_is_marked() {
        assert_eq!(range("a=**** b=ghp_**** c", 3, &[]), Some(2..6));
        assert_eq!(range("日本=****;", 4, &[]), Some(7..11));
    }

    #[test]
    fn masks_after_other_secrets_are_found_by_the_columns_of_those() {
        // a=AKIA(20 characters) b=(40 characters), and asterisks that belong to the line
        let line = [(3, 23), (26, 66)];
        assert_eq!(range("a=AKIA**** b=wJal**** **** c", 3, &line), Some(2..10));
        assert_eq!(range("a=AKIA**** b=wJal**** **** c", 26, &line), Some(13..21));
        assert_eq!(range("**** a=ghp_****", 8, &[]), Some(7..15));
        assert_eq!(range("a=AKIA**** b=wJal****", 26, &[]), None);
    }

    #[test]
    fn in_a_cut_excerpt_only_a_lone_mask_is_marked() {
        assert_eq!(range("…xx ****;", 4000, &[]), Some(6..10));
        assert_eq!(range_of("…xx=ghp_****;", (4000, 4040), &[]), Some(6..14));
        assert_eq!(range_of("…é_****;", (4000, 4040), &[]), Some(5..10));
        assert_eq!(range("…**** ****", 4000, &[]), None);
        assert_eq!(range("no mask", 1, &[]), None);
    }

    #[test]
    fn at_least_the_percentage_is_hidden() {
        let shown = |percent| Redaction::from_percent(percent).shown("0123456789é".as_bytes());
        assert_eq!(shown(0).as_deref(), Some("0123456789é"));
        assert_eq!(shown(1).as_deref(), Some("0123456789****"));
        assert_eq!(shown(50).as_deref(), Some("01234****"));
        assert_eq!(shown(99).as_deref(), Some("****"));
        assert_eq!(shown(100), None);
        assert_eq!(shown(200), None);
        assert_eq!(Redaction::from_percent(0).shown(b"\xff").as_deref(), Some("\u{fffd}"));
    }
}
