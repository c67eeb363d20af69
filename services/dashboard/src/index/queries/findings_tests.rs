//! How findings are read.

use rusqlite::Transaction;
use secretscan_bus::changes::Change;
use serde_json::{Value as Json, json};

use super::*;
use crate::index::queries::tests::{database, plan, without_lists};
use crate::index::{Applier, Source};

fn filters() -> Vec<FindingFilter> {
    let some = |text: &str| Some(text.to_owned());
    let none = FindingFilter::default;
    vec![
        none(),
        FindingFilter { include_closed: true, ..none() },
        FindingFilter { repository: some("r"), ..none() },
        FindingFilter { rule: some("r"), severities: vec!["high".into(), "low".into()], ..none() },
        FindingFilter { repository: some("r"), rule: some("r"), path: some("x"), ..none() },
        FindingFilter { email: some("a@b.example"), before: Some(2), after: Some(1), ..none() },
        FindingFilter { hash: some("h"), include_closed: true, ..none() },
        FindingFilter { triages: vec!["revoked".into()], standings: vec!["open".into()], ..none() },
        FindingFilter { triages: vec!["revoked".into(), "accepted".into()], include_closed: true, ..none() },
        FindingFilter { standings: vec!["resolved".into()], include_closed: true, ..none() },
    ]
}

#[test]
fn findings_are_read_in_the_order_of_an_index() {
    let (db, _dir) = database();
    for filter in filters() {
        for order in [FindingOrder::Severity, FindingOrder::Newest, FindingOrder::Oldest] {
            for after in [None, Some((1, 2, 3))] {
                for (_, lane) in lanes(&db, &Scope::All, &filter, order, after).unwrap() {
                    let plan = plan(&db, &lane);
                    assert!(!plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
                    assert!(plan.contains("SEARCH f USING INDEX findings_"), "{filter:?}: {plan}");
                }
            }
        }
    }
}

/// A change of the bucket of findings, or what takes one away.
fn change(number: u32, record: Option<Json>) -> Change {
    let value = record.map(|record| serde_json::to_vec(&record).unwrap().into());
    Change { key: format!("r.v2-{number:032x}.0123456789abcdef"), value, place: u64::from(number) }
}

fn finding(number: u32, rule: &str, path: &str) -> Change {
    let record = json!({
        "id": format!("v2-{number:032x}.0123456789abcdef"), "rule_id": rule, "description": "", "severity": "high",
        "secret_hash": format!("{number:064x}"), "path": path.as_bytes(), "matched_by": ["one"],
        "occurrences": [{
            "corrected_date": 1, "commit": format!("{number:040x}"), "line": 1, "column": 1, "end_line": 1,
            "end_column": 2, "author": { "name": "", "email": "", "time": 1 }, "excerpt": "",
        }],
    });
    change(number, Some(record))
}

fn paths(db: &Connection, text: &str) -> Vec<String> {
    let filter =
        FindingFilter { path: Some(text.to_owned()), include_closed: true, ..FindingFilter::default() };
    let rows = rows(db, &Scope::All, &filter, FindingOrder::Oldest, 10, None).unwrap();
    assert_eq!(count_rows(db, &Scope::All, &filter).unwrap(), rows.len() as i64);
    let mut paths: Vec<String> = rows.into_iter().map(|row| row.path).collect();
    paths.sort();
    paths
}

#[test]
fn a_path_is_found_by_any_part_of_it() {
    let (db, _dir) = database();
    let mut applier = Applier::default();
    let all = ["src/Main.rs", "src/a%b.rs", "deploy/\"x\".env", "deploy/gr\u{fc}n.env", "ab"];
    for (number, path) in all.iter().enumerate() {
        applier.apply(&db, Source::Findings, &finding(number as u32, "r", path)).unwrap().unwrap();
    }
    let expected: [(&str, &[&str]); 9] = [
        ("main", &["src/Main.rs"]),
        ("src/", &["src/Main.rs", "src/a%b.rs"]),
        ("%", &["src/a%b.rs"]),
        ("a%b", &["src/a%b.rs"]),
        ("\"x\"", &["deploy/\"x\".env"]),
        ("\u{fc}n.e", &["deploy/gr\u{fc}n.env"]),
        ("ab", &["ab"]),
        ("nowhere", &[]),
        ("main.rs OR env", &[]),
    ];
    for (text, found) in expected {
        assert_eq!(paths(&db, text), found, "{text}");
    }
    // What is taken away is found no more, nor counted.
    applier.apply(&db, Source::Findings, &change(0, None)).unwrap().unwrap();
    assert_eq!(paths(&db, "main"), Vec::<String>::new());
    assert_eq!(totals(&db), [("only-in-history".to_owned(), all.len() as i64 - 1)]);
}

/// How many findings there are of each standing, as the counts of all say it.
fn totals(db: &Connection) -> Vec<(String, i64)> {
    let sql = "SELECT standing, sum(count) FROM finding_totals WHERE repository = '' AND count > 0 GROUP BY 1 ORDER BY 1";
    let mut query = db.prepare(sql).unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_count_is_that_of_the_rows() {
    let (mut db, _dir) = without_lists();
    let mut applier = Applier::default();
    let mut random = secretscan_testkit::Random::new(7);
    let transaction = db.transaction().unwrap();
    for round in 0..400 {
        // Some records are there before the lists are.
        if round == 100 {
            transaction.execute_batch(crate::index::LISTS).unwrap();
        }
        let number = random.below(40) as u32;
        let kind = random.below(4);
        let key = format!("r.rule-{}.s1-{}", number % 3, &format!("{number:064x}")[..32]);
        let (source, change) = match kind {
            0 => (Source::Findings, change(number, None)),
            1 => {
                let states = ["false-positive", "confirmed", "revoked", "open"];
                let decision = json!({ "state": states[random.below(4)], "at": round, "by": "ada" });
                let value = serde_json::to_vec(&json!({ "decisions": [decision] })).unwrap().into();
                (Source::Triage, Change { key, value: Some(value), place: round })
            }
            _ => (Source::Findings, finding(number, &format!("rule-{}", number % 3), &format!("p{round}"))),
        };
        applier.apply(&transaction, source, &change).unwrap().unwrap();
        if round >= 100 {
            same_counts(&transaction);
        }
    }
}

fn same_counts(db: &Transaction<'_>) {
    let differences = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let of_rows = "SELECT repository, rule, severity, standing, triage, is_open, count(*) FROM findings GROUP BY 1, 2, 3, 4, 5, 6";
    let counted = "SELECT * FROM finding_counts WHERE count <> 0";
    let of_kinds = "SELECT repository, severity, standing, triage, is_open, count(*) FROM findings GROUP BY 1, 2, 3, 4, 5 \
                    UNION ALL SELECT '', severity, standing, triage, is_open, count(*) FROM findings GROUP BY 2, 3, 4, 5";
    let totals = "SELECT * FROM finding_totals WHERE count <> 0";
    let of_places = "SELECT hash, repository, count(*) FROM findings WHERE is_open GROUP BY 1, 2";
    let of_secrets = "SELECT hash, count(DISTINCT repository) FROM findings WHERE is_open GROUP BY 1";
    let of_paths = "SELECT id FROM findings";
    let pairs = [
        (of_rows, counted),
        (of_kinds, totals),
        (of_places, "SELECT * FROM secret_places"),
        (of_secrets, "SELECT * FROM secrets"),
        (of_paths, "SELECT rowid FROM finding_paths"),
    ];
    for (one, other) in pairs {
        for (left, right) in [(one, other), (other, one)] {
            let sql = format!("SELECT count(*) FROM (SELECT * FROM ({left}) EXCEPT SELECT * FROM ({right}))");
            assert_eq!(differences(&sql), 0, "{sql}");
        }
    }
    for repository in ["r", ""] {
        let open = format!(
            "SELECT count(*) FROM (SELECT severity, count(*) c FROM findings WHERE is_open GROUP BY 1 EXCEPT \
             SELECT severity, sum(opened - closed) FROM finding_days WHERE repository = '{repository}' GROUP BY 1)"
        );
        assert_eq!(differences(&open), 0, "the days add up to what is open");
    }
}
