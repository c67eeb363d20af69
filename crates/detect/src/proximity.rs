//! Composite rules: a match counts only near matches of other rules.

use std::collections::BTreeMap;

use crate::content::LineCursor;
use crate::rule::{Required, RuleIndex};
use crate::rule_set::RuleSet;
use crate::search::Hit;

/// Line and column.
type Place = (u32, u32);

/// Drops the hits of composite rules that lack a required one, and then those of helper rules. What a required rule
/// requires itself does not matter. `kept` is sorted by start of the secret.
pub(crate) fn drop_incomplete<T>(rules: &RuleSet, content: &[u8], kept: &mut Vec<(Hit, T)>) {
    let rule = |hit: &Hit| rules.rule(RuleIndex(hit.rule));
    if kept.iter().all(|(hit, _)| rule(hit).required.is_empty() && !rule(hit).is_helper) {
        return;
    }
    let mut cursor = LineCursor::new(content);
    let hits: Vec<(u16, Place)> = kept
        .iter()
        .map(|(hit, _)| {
            cursor.advance(hit.secret_start);
            (hit.rule, (cursor.line(), cursor.column()))
        })
        .collect();
    let mut near: BTreeMap<u16, Vec<Vec<Place>>> = BTreeMap::new();
    for (index, _) in &hits {
        near.entry(*index).or_insert_with(|| {
            rules.rule(RuleIndex(*index)).required.iter().map(|required| required.places(&hits)).collect()
        });
    }
    let mut hits = hits.iter();
    kept.retain(|(hit, _)| {
        let (index, at) = hits.next().expect("one for each that is kept");
        let rule = rule(hit);
        !rule.is_helper
            && rule.required.iter().zip(&near[index]).all(|(required, places)| required.is_near(*at, places))
    });
}

impl Required {
    /// Where the rule has hits, sorted; without lines when these don't matter, so that columns are sorted.
    fn places(&self, hits: &[(u16, Place)]) -> Vec<Place> {
        let of_rule = hits.iter().filter(|(rule, _)| *rule == self.rule.0);
        let mut places: Vec<Place> = of_rule.map(|(_, place)| self.without_line(*place)).collect();
        places.sort_unstable();
        places
    }

    fn without_line(&self, (line, column): Place) -> Place {
        (if self.within_lines.is_some() { line } else { 0 }, column)
    }

    fn is_near(&self, at: Place, places: &[Place]) -> bool {
        let (line, column) = self.without_line(at);
        let lines = self.within_lines.unwrap_or(0);
        let columns = self.within_columns.unwrap_or(u32::MAX);
        let (first_column, last_column) = (column.saturating_sub(columns), column.saturating_add(columns));
        let last_line = line.saturating_add(lines);
        let mut from = (line.saturating_sub(lines), first_column);
        // One look for each line that has hits.
        while let Some((line, column)) = places.get(places.partition_point(|place| *place < from))
            && *line <= last_line
        {
            if *column > last_column {
                from = (line + 1, first_column);
            } else if *column < first_column {
                from = (*line, first_column);
            } else {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn required(within_lines: Option<u32>, within_columns: Option<u32>) -> Required {
        Required { id: "other".into(), within_lines, within_columns, rule: RuleIndex(1) }
    }

    proptest! {
        #[test]
        fn near_is_what_its_definition_says(
            lines in prop::option::of(0_u32..5),
            columns in prop::option::of(0_u32..5),
            at in (1_u32..12, 1_u32..12),
            others in prop::collection::vec((0_u16..3, (1_u32..12, 1_u32..12)), 0..6),
        ) {
            let required = required(lines, columns);
            let is_near = |(line, column): Place| {
                lines.is_none_or(|most| line.abs_diff(at.0) <= most)
                    && columns.is_none_or(|most| column.abs_diff(at.1) <= most)
            };
            let expected = others.iter().any(|(rule, place)| *rule == 1 && is_near(*place));
            prop_assert_eq!(required.is_near(at, &required.places(&others)), expected);
        }
    }
}
