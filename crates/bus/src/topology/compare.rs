//! How a stream or a consumer on a server differs from what this version wants, field by field.
//!
//! Fields are named as the server names them. What operators may set as they like is not looked at: limits of bytes and messages,
//! placement, compression, descriptions.

use std::fmt::{self, Debug};
use std::time::Duration;

use async_nats::jetstream::consumer::{self, IntoConsumerConfig, pull};
use async_nats::jetstream::stream::{self, RetentionPolicy};

/// A field that is not as this version wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name on the server.
    pub field: &'static str,
    /// What it is.
    pub found: String,
    /// What it is to be.
    pub wanted: String,
    /// What it takes to change it.
    pub change: Change,
}

/// What it takes to change a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The server changes it, and all messages stay.
    InPlace,
    /// The server changes it, and deletes what is beyond the new limit.
    Narrows,
    /// The server refuses: the stream or consumer must be made anew.
    Anew,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, needed is {}", self.field, self.found, self.wanted)
    }
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn compare<T: PartialEq + Debug>(&mut self, field: &'static str, found: &T, wanted: &T, change: Change) {
        if found != wanted {
            let (found, wanted) = (format!("{found:?}"), format!("{wanted:?}"));
            self.0.push(Difference { field, found, wanted, change });
        }
    }

    /// A limit, which may be absent.
    fn limit<T: PartialOrd + Debug>(&mut self, field: &'static str, found: Option<T>, wanted: Option<T>) {
        let change = match (&found, &wanted) {
            (None, Some(_)) => Change::Narrows,
            (Some(found), Some(wanted)) if found > wanted => Change::Narrows,
            _ => Change::InPlace,
        };
        if found != wanted {
            let shown = |limit: Option<T>| limit.map_or("unlimited".into(), |limit| format!("{limit:?}"));
            let (found, wanted) = (shown(found), shown(wanted));
            self.0.push(Difference { field, found, wanted, change });
        }
    }

    /// A switch that the server does not turn off again.
    fn switch(&mut self, field: &'static str, found: bool, wanted: bool) {
        self.compare(field, &found, &wanted, if found { Change::Anew } else { Change::InPlace });
    }
}

/// The differences of a stream; those in the number of replicas only when it is said how many there are to be.
pub(crate) fn stream(
    found: &stream::Config,
    wanted: &stream::Config,
    replicas: Option<usize>,
) -> Vec<Difference> {
    let mut all = Differences::default();
    all.compare("subjects", &sorted(&found.subjects), &sorted(&wanted.subjects), Change::InPlace);
    let is_queue = [found.retention, wanted.retention].contains(&RetentionPolicy::WorkQueue);
    let change = if is_queue { Change::Anew } else { Change::InPlace };
    all.compare("retention", &found.retention, &wanted.retention, change);
    all.compare("storage", &found.storage, &wanted.storage, Change::Anew);
    all.compare("discard", &found.discard, &wanted.discard, Change::InPlace);
    all.limit("max_age", time(found.max_age), time(wanted.max_age));
    let per_subject = |config: &stream::Config| positive(config.max_messages_per_subject);
    all.limit("max_msgs_per_subject", per_subject(found), per_subject(wanted));
    let size = |config: &stream::Config| positive(config.max_message_size.into());
    // What is stored stays, however large it is.
    all.compare("max_msg_size", &size(found), &size(wanted), Change::InPlace);
    all.compare("no_ack", &found.no_ack, &wanted.no_ack, Change::InPlace);
    if !wanted.duplicate_window.is_zero() {
        let window = |config: &stream::Config| config.duplicate_window;
        all.compare("duplicate_window", &window(found), &window(wanted), Change::InPlace);
    }
    all.compare("allow_direct", &found.allow_direct, &wanted.allow_direct, Change::InPlace);
    all.compare("allow_rollup_hdrs", &found.allow_rollup, &wanted.allow_rollup, Change::InPlace);
    all.switch("deny_delete", found.deny_delete, wanted.deny_delete);
    all.switch("deny_purge", found.deny_purge, wanted.deny_purge);
    all.switch("sealed", found.sealed, wanted.sealed);
    all.switch("allow_msg_ttl", found.allow_message_ttl, wanted.allow_message_ttl);
    all.switch("allow_msg_schedules", found.allow_message_schedules, wanted.allow_message_schedules);
    let markers = |config: &stream::Config| config.subject_delete_marker_ttl.and_then(time);
    all.compare("subject_delete_marker_ttl", &markers(found), &markers(wanted), Change::InPlace);
    if let Some(replicas) = replicas {
        all.compare("num_replicas", &found.num_replicas, &replicas, Change::InPlace);
    }
    all.0
}

/// The differences of a consumer; its ack deadline is that of all services, which the caller knows.
pub(crate) fn consumer(found: &consumer::Config, wanted: pull::Config) -> Vec<Difference> {
    let wanted = wanted.into_consumer_config();
    let mut all = Differences::default();
    all.compare("filter_subjects", &filters(found), &filters(&wanted), Change::InPlace);
    all.compare("deliver_subject", &found.deliver_subject, &wanted.deliver_subject, Change::Anew);
    all.compare("deliver_policy", &found.deliver_policy, &wanted.deliver_policy, Change::Anew);
    all.compare("ack_policy", &found.ack_policy, &wanted.ack_policy, Change::Anew);
    all.compare("replay_policy", &found.replay_policy, &wanted.replay_policy, Change::Anew);
    all.compare("ack_wait", &found.ack_wait, &wanted.ack_wait, Change::InPlace);
    all.compare("max_deliver", &found.max_deliver, &wanted.max_deliver, Change::InPlace);
    all.compare("max_ack_pending", &found.max_ack_pending, &wanted.max_ack_pending, Change::InPlace);
    // One that was asked for without a limit has the server's.
    if wanted.max_waiting > 0 {
        all.compare("max_waiting", &found.max_waiting, &wanted.max_waiting, Change::Anew);
    }
    all.compare("priority_policy", &found.priority_policy, &wanted.priority_policy, Change::InPlace);
    all.compare("priority_groups", &found.priority_groups, &wanted.priority_groups, Change::InPlace);
    all.compare("headers_only", &found.headers_only, &wanted.headers_only, Change::InPlace);
    all.0
}

/// What a stream is changed to: what this version wants, and what operators have set.
pub(crate) fn merged(
    found: &stream::Config,
    wanted: &stream::Config,
    replicas: Option<usize>,
) -> stream::Config {
    let duplicate_window = match wanted.duplicate_window.is_zero() {
        true => found.duplicate_window,
        false => wanted.duplicate_window,
    };
    stream::Config {
        num_replicas: replicas.unwrap_or(found.num_replicas),
        max_bytes: found.max_bytes,
        max_messages: found.max_messages,
        max_consumers: found.max_consumers,
        description: found.description.clone(),
        metadata: found.metadata.clone(),
        compression: found.compression.clone(),
        placement: found.placement.clone(),
        republish: found.republish.clone(),
        duplicate_window,
        ..wanted.clone()
    }
}

/// What a consumer reads.
pub(crate) fn filters(config: &consumer::Config) -> Vec<String> {
    let one = Some(&config.filter_subject).filter(|subject| !subject.is_empty());
    sorted(&one.into_iter().chain(&config.filter_subjects).cloned().collect::<Vec<_>>())
}

fn sorted(subjects: &[String]) -> Vec<String> {
    let mut subjects = subjects.to_vec();
    subjects.sort();
    subjects
}

/// The server writes -1 or 0 where there is no limit.
fn positive(limit: i64) -> Option<i64> {
    Some(limit).filter(|limit| *limit > 0)
}

fn time(limit: Duration) -> Option<Duration> {
    Some(limit).filter(|limit| !limit.is_zero())
}

/// Whether each subject that the narrower pattern stands for is one of the wider pattern.
pub fn covers(wider: &str, narrower: &str) -> bool {
    let mut narrower = narrower.split('.');
    let mut wider = wider.split('.').peekable();
    while let Some(token) = wider.next() {
        match (token, narrower.next()) {
            (">", Some(_)) if wider.peek().is_none() => return true,
            ("*", Some(">")) | (_, None) => return false,
            ("*", Some(_)) => {}
            (token, Some(other)) if token == other => {}
            (_, Some(_)) => return false,
        }
    }
    narrower.next().is_none()
}

/// Whether a subject can be one of both patterns.
pub fn overlaps(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            (Some(_), Some(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{EVENTS, Queue, streams};

    #[test]
    fn patterns_of_subjects() {
        for (wider, narrower) in
            [("a.b", "a.b"), ("a.*", "a.b"), ("a.>", "a.b.c"), ("a.>", "a.>"), (">", "a"), ("a.>", "a.*.c")]
        {
            assert!(covers(wider, narrower) && overlaps(wider, narrower), "{wider} {narrower}");
        }
        for (wider, narrower) in
            [("a.b", "a.*"), ("a.*", "a.>"), ("a.*", "a.b.c"), ("a.>", "a"), ("a", "a.b"), ("b.>", "a.b")]
        {
            assert!(!covers(wider, narrower), "{wider} {narrower}");
        }
        assert!(overlaps("a.*", "*.b") && overlaps("a.b", "a.>"));
        assert!(!overlaps("a.b", "a.c") && !overlaps("a", "a.b"));
    }

    #[test]
    fn differences_are_named_and_weighed() {
        let wanted = streams(1).into_iter().find(|stream| stream.name == EVENTS).unwrap();
        assert_eq!(stream(&wanted, &wanted, Some(1)), []);
        let found = stream::Config {
            max_age: Duration::ZERO,
            max_bytes: 1_000_000,
            retention: RetentionPolicy::WorkQueue,
            subjects: vec!["secretscan.event.*".into()],
            deny_delete: true,
            num_replicas: 3,
            ..wanted.clone()
        };
        let shown: Vec<_> = stream(&found, &wanted, Some(1))
            .into_iter()
            .map(|difference| (difference.to_string(), difference.change))
            .collect();
        assert_eq!(
            shown,
            [
                (
                    r#"subjects is ["secretscan.event.*"], needed is ["secretscan.event.>"]"#.into(),
                    Change::InPlace
                ),
                ("retention is WorkQueue, needed is Limits".into(), Change::Anew),
                ("max_age is unlimited, needed is 604800s".into(), Change::Narrows),
                ("deny_delete is true, needed is false".into(), Change::Anew),
                ("num_replicas is 3, needed is 1".into(), Change::InPlace),
            ]
        );
    }

    #[test]
    fn a_consumer_may_name_its_filter_in_two_ways() {
        let wanted = Queue::Events.config(Duration::from_secs(30));
        let found = consumer::Config {
            filter_subject: String::new(),
            filter_subjects: vec![wanted.filter_subject.clone()],
            ..wanted.clone().into_consumer_config()
        };
        assert_eq!(consumer(&found, wanted), []);
    }
    #[test]
    fn a_consumer_of_before_lacks_the_order_of_pulls() {
        let wanted = Queue::ScheduledBatches.config(Duration::from_secs(30));
        let found = consumer::Config {
            max_waiting: 512,
            priority_policy: consumer::PriorityPolicy::None,
            priority_groups: vec![],
            ..wanted.clone().into_consumer_config()
        };
        let differences = consumer(&found, wanted);
        let shown: Vec<_> =
            differences.iter().map(|difference| (difference.to_string(), difference.change)).collect();
        assert_eq!(
            shown,
            [
                ("max_waiting is 512, needed is 10000".into(), Change::Anew),
                ("priority_policy is None, needed is Prioritized".into(), Change::InPlace),
                (r#"priority_groups is [], needed is ["agents"]"#.into(), Change::InPlace),
            ]
        );
    }
}
