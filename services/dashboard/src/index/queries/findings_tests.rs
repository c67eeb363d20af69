//! How findings are read.

use super::*;
use crate::index::queries::tests::{database, plan};

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
