//! Who is told what.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use thiserror::Error;

use super::Item;
use secretscan_detect::Severity;

use crate::config::{Occasion, RouteSettings};

/// A route that can't be used.
#[derive(Debug, Error)]
pub enum RouteError {
    /// It names a channel that is not there.
    #[error("a route names the channel {name:?}, which is not in channels")]
    Channel {
        /// Its name.
        name: String,
    },
    /// A pattern of repositories can't be read.
    #[error("a pattern of routes.repositories can't be read")]
    Pattern(#[source] globset::Error),
}

struct Route {
    on: Vec<Occasion>,
    repositories: Option<GlobSet>,
    min_severity: Option<Severity>,
    channels: Vec<usize>,
}

impl Route {
    fn is_for(&self, item: &Item) -> bool {
        let is_there = self.repositories.as_ref().is_none_or(|patterns| {
            item.repository.as_ref().is_some_and(|repository| patterns.is_match(repository))
        });
        let is_bad = item.severity().is_none_or(|severity| Some(severity) >= self.min_severity);
        self.on.contains(&item.kind) && is_there && is_bad
    }
}

/// The routes, to channels by their place in the configuration.
pub(crate) struct Routes(Vec<Route>);

impl Routes {
    pub(crate) fn new(settings: &[RouteSettings], channels: &[&str]) -> Result<Self, RouteError> {
        let route = |settings: &RouteSettings| {
            let place = |name: &String| {
                let place = channels.iter().position(|channel| channel == name);
                place.ok_or_else(|| RouteError::Channel { name: name.clone() })
            };
            Ok(Route {
                on: settings.on.clone(),
                repositories: settings.repositories.as_deref().map(patterns).transpose()?,
                min_severity: settings.min_severity,
                channels: settings.channels.iter().map(place).collect::<Result<_, _>>()?,
            })
        };
        settings.iter().map(route).collect::<Result<_, _>>().map(Self)
    }

    /// Whether anybody is told of such a thing.
    pub(crate) fn has(&self, occasion: Occasion) -> bool {
        self.0.iter().any(|route| route.on.contains(&occasion))
    }

    /// The channels for an item, each once.
    pub(crate) fn channels(&self, item: &Item) -> Vec<usize> {
        let mut channels: Vec<usize> = self
            .0
            .iter()
            .filter(|route| route.is_for(item))
            .flat_map(|route| route.channels.clone())
            .collect();
        channels.sort_unstable();
        channels.dedup();
        channels
    }
}

fn patterns(patterns: &[String]) -> Result<GlobSet, RouteError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).literal_separator(true).build().map_err(RouteError::Pattern)?);
    }
    set.build().map_err(RouteError::Pattern)
}

#[cfg(test)]
mod tests {
    use super::super::item::Detail;
    use super::*;

    fn finding(repository: &str, severity: Severity) -> Item {
        Item {
            kind: Occasion::Finding,
            key: "k".into(),
            repository: Some(repository.into()),
            link: None,
            at: String::new(),
            detail: Detail::Finding {
                fingerprint: String::new(),
                rule_id: String::new(),
                description: String::new(),
                severity,
                confidence: String::new(),
                path: String::new(),
                line: 1,
                commit: String::new(),
                author: String::new(),
                excerpt: String::new(),
            },
        }
    }

    fn letter() -> Item {
        let detail = Detail::DeadLetter { number: 1, subject: String::new(), reason: String::new() };
        Item { kind: Occasion::DeadLetter, repository: None, detail, ..finding("", Severity::Low) }
    }

    #[test]
    fn items_go_where_the_routes_say() {
        let route =
            |on: &[Occasion], patterns: Option<&[&str]>, min_severity, channels: &[&str]| RouteSettings {
                on: on.to_vec(),
                repositories: patterns
                    .map(|patterns| patterns.iter().map(|text| (*text).to_owned()).collect()),
                min_severity,
                channels: channels.iter().map(|text| (*text).to_owned()).collect(),
            };
        let settings = [
            route(&[Occasion::Finding], Some(&["h.example/acme/*"]), Some(Severity::High), &["a", "b"]),
            route(&[Occasion::Finding], Some(&["h.example/**"]), None, &["b"]),
            route(&[Occasion::DeadLetter], None, Some(Severity::Critical), &["c"]),
        ];
        let routes = Routes::new(&settings, &["a", "b", "c"]).unwrap();
        assert_eq!(routes.channels(&finding("h.example/acme/x", Severity::High)), [0, 1]);
        assert_eq!(routes.channels(&finding("h.example/acme/x", Severity::Medium)), [1]);
        assert_eq!(routes.channels(&finding("h.example/acme/x/y", Severity::Critical)), [1]);
        assert_eq!(routes.channels(&finding("other.example/acme/x", Severity::Critical)), [0; 0]);
        assert_eq!(routes.channels(&letter()), [2]);
        assert!(routes.has(Occasion::Finding) && !routes.has(Occasion::FailedRequest));
        assert!(matches!(Routes::new(&settings, &["a"]), Err(RouteError::Channel { .. })));
        let wrong = [route(&[], Some(&["a{"]), None, &[])];
        assert!(matches!(Routes::new(&wrong, &[]), Err(RouteError::Pattern(_))));
    }
}
