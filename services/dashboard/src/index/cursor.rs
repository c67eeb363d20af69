//! Paging: a page begins after the last row of the page before, so that each costs the same however far it is.
//!
//! A cursor holds what the order of a list goes by, of that row. Where an index of the database has the order only below
//! equal values of its first columns, a list is put together from [`Lane`]s: one for each combination of these.

use std::cmp::Ordering;

use data_encoding::BASE64URL_NOPAD;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The most rows of a page.
pub const MAX_LIMIT: usize = 500;

/// A text that is no cursor of this list.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the cursor is not one that this list gave; leave it out to begin with the first page")]
pub struct BadCursor;

/// Rows of a list, and how to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The cursor of the next page; `None` after the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Of rows of which one more was read than are wanted, with what makes the cursor of a row.
    pub(super) fn of(mut rows: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(cursor);
        Self { rows, next }
    }
}

/// Writes a cursor of a list, which may have several orders.
pub(super) fn write(list: &str, position: &impl Serialize) -> String {
    // Texts and numbers always serialise.
    BASE64URL_NOPAD.encode(serde_json::to_string(&(list, position)).unwrap_or_default().as_bytes())
}

/// Reads a cursor of this list.
///
/// # Errors
/// [`BadCursor`] for any other text.
pub(super) fn read<T: DeserializeOwned>(list: &str, cursor: &str) -> Result<T, BadCursor> {
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).map_err(|_| BadCursor)?;
    let (of, position): (String, T) = serde_json::from_slice(&bytes).map_err(|_| BadCursor)?;
    if of == list { Ok(position) } else { Err(BadCursor) }
}

/// A condition of a query and its parameters, in the order of their question marks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Condition {
    terms: Vec<String>,
    parameters: Vec<Value>,
}

impl Condition {
    /// Adds a term.
    pub(super) fn and(&mut self, term: &str, parameters: impl IntoIterator<Item = Value>) {
        self.terms.push(term.to_owned());
        self.parameters.extend(parameters);
    }

    /// Adds a term where there is a value.
    pub(super) fn and_some(&mut self, term: &str, parameter: Option<impl Into<Value>>) {
        if let Some(parameter) = parameter {
            self.and(term, [parameter.into()]);
        }
    }

    /// And another one.
    pub(super) fn with(mut self, other: &Self) -> Self {
        self.terms.extend(other.terms.iter().cloned());
        self.parameters.extend(other.parameters.iter().cloned());
        self
    }

    /// As it stands after WHERE.
    pub(super) fn sql(&self) -> String {
        if self.terms.is_empty() { "1".to_owned() } else { self.terms.join(" AND ") }
    }

    /// The parameters.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &Value> {
        self.parameters.iter()
    }
}

/// A list of texts as the parameter of `IN (SELECT value FROM json_each(?))`.
pub(super) fn json_list<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    let texts: Vec<&str> = texts.into_iter().collect();
    Value::Text(serde_json::to_string(&texts).unwrap_or_default())
}

/// A query whose rows come in the order that is wanted: the text with `{}` where the condition belongs, ending before LIMIT.
pub(super) struct Lane {
    /// The text.
    pub(super) sql: String,
    /// The condition.
    pub(super) condition: Condition,
}

/// The first rows of several lanes together, at most so many.
pub(super) fn merge<T>(
    db: &Connection,
    lanes: &[Lane],
    limit: usize,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    order: impl Fn(&T, &T) -> Ordering,
) -> rusqlite::Result<Vec<T>> {
    let mut rows = Vec::new();
    for lane in lanes {
        rows.extend(first(db, lane, limit, &read)?);
    }
    rows.sort_by(order);
    rows.truncate(limit);
    Ok(rows)
}

fn first<T>(
    db: &Connection,
    lane: &Lane,
    limit: usize,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let sql = format!("{} LIMIT {limit}", lane.sql.replace("{}", &lane.condition.sql()));
    let mut query = db.prepare_cached(&sql)?;
    query.query_map(params_from_iter(lane.condition.parameters()), read)?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_belongs_to_its_list() {
        let cursor = write("requests", &(7, "id"));
        assert_eq!(read::<(i64, String)>("requests", &cursor), Ok((7, "id".to_owned())));
        for (list, text) in [("findings", cursor.as_str()), ("requests", "x"), ("requests", "\u{e4}")] {
            assert_eq!(read::<(i64, String)>(list, text), Err(BadCursor), "{list} {text}");
        }
        assert_eq!(read::<(i64, i64)>("requests", &cursor), Err(BadCursor));
    }
}
