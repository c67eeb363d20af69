//! How the findings that a filter leaves are come to among a million.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::findings::FindingFilter;
use crate::auth::Scope;
use crate::index::cursor::Condition;

/// How to come to the findings that a filter leaves: by an index (or by their numbers), once for each of the conditions.
pub(super) struct Way {
    /// As it stands after the name of the table.
    pub(super) by: &'static str,
    /// The conditions, each of which gives some of the findings.
    pub(super) lanes: Vec<Condition>,
}

impl Way {
    fn by(by: &'static str) -> Self {
        Self { by, lanes: vec![Condition::default()] }
    }

    /// By an index that begins with a column and leaves out those that are open there.
    fn by_names(by: &'static str, column: &str, names: &[String]) -> Self {
        let lane = |name: &String| {
            let mut condition = Condition::default();
            condition.and(&format!("{column} = ? AND {column} <> 'open'"), [Value::from(name.clone())]);
            condition
        };
        Self { by, lanes: names.iter().map(lane).collect() }
    }
}

/// Up to so many findings whose path contains a text are looked at one by one, and sorted.
const FEW: usize = 2_000;

/// The findings whose paths contain a text of three characters or more, if they are few.
fn few_of_path(db: &Connection, text: &str) -> rusqlite::Result<Option<Way>> {
    let chars: Vec<char> = text.chars().collect();
    // All of them, though they overlap: fewer leave so many more that looking at those takes longer.
    let all: Vec<String> = chars
        .windows(3)
        .filter(|three| !three.contains(&'\0'))
        .map(|three| format!("\"{}\"", three.iter().collect::<String>().replace('"', "\"\"")))
        .collect();
    if all.is_empty() {
        return Ok(None);
    }
    let sql = format!("SELECT rowid FROM finding_paths WHERE finding_paths MATCH ? LIMIT {}", FEW + 1);
    let mut query = db.prepare_cached(&sql)?;
    let ids = query.query_map([all.join(" AND ")], |row| row.get(0))?;
    let ids: Vec<i64> = ids.collect::<Result<_, _>>()?;
    if ids.len() > FEW {
        return Ok(None);
    }
    let mut condition = Condition::default();
    let ids = Value::Text(serde_json::to_string(&ids).unwrap_or_default());
    condition.and("f.id IN (SELECT value FROM json_each(?))", [ids]);
    Ok(Some(Way { by: "NOT INDEXED", lanes: vec![condition] }))
}

/// The way that passes over the fewest others. SQLite knows no numbers of its own here.
pub(super) fn way(db: &Connection, scope: &Scope, filter: &FindingFilter) -> rusqlite::Result<Way> {
    if filter.hash.is_some() {
        return Ok(Way::by("INDEXED BY findings_by_hash"));
    }
    if filter.email.is_some() {
        return Ok(Way::by("INDEXED BY findings_of_author"));
    }
    if let Some(path) = &filter.path
        && let Some(way) = few_of_path(db, path)?
    {
        return Ok(way);
    }
    let sum = |table: &str, condition: &str, text: &str| {
        let sql = format!("SELECT coalesce(sum(count), 0) FROM {table} WHERE {condition}");
        db.prepare_cached(&sql)?.query_row([text], |row| row.get::<_, i64>(0))
    };
    let of_repository = Way::by("INDEXED BY findings_of_repository");
    let of_rule = Way::by("INDEXED BY findings_of_rule");
    let names_some = |names: &[String]| !names.is_empty() && !names.iter().any(|name| name == "open");
    match (&filter.repository, &filter.rule) {
        (Some(repository), Some(rule)) => {
            let in_repository = sum("finding_totals", "repository = ?", repository)?;
            let in_rule = sum("finding_counts", "rule = ?", rule)?;
            Ok(if in_rule < in_repository { of_rule } else { of_repository })
        }
        (Some(_), None) => Ok(of_repository),
        (None, Some(_)) => Ok(of_rule),
        (None, None) if names_some(&filter.triages) => {
            Ok(Way::by_names("INDEXED BY findings_by_triage", "f.triage", &filter.triages))
        }
        (None, None) if names_some(&filter.standings) => {
            Ok(Way::by_names("INDEXED BY findings_by_standing", "f.standing", &filter.standings))
        }
        (None, None) => {
            let all = Way::by("INDEXED BY findings_by_severity");
            let Some(Value::Text(list)) = super::ids(scope) else { return Ok(all) };
            let in_scope = sum("finding_totals", "repository IN (SELECT value FROM json_each(?))", &list)?;
            let known = sum("finding_totals", "repository = ?", "")?;
            // Sorting a twentieth is less than passing over nineteen rows for each.
            Ok(if in_scope * 20 < known { of_repository } else { all })
        }
    }
}
