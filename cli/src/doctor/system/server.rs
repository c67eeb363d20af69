//! The server: its version, and whether it has JetStream.

use secretscan_bus::inspect::OLDEST_SERVER;

use super::System;
use crate::doctor::report::Line;

/// Whether it is a server to work with.
pub fn check(system: &System) -> Vec<Line> {
    let server = &system.server;
    let (major, minor) = OLDEST_SERVER;
    let shown = format!("nats-server {} ({})", server.version, server.name);
    let mut lines = vec![match is_new_enough(&server.version) {
        true => Line::ok("server", shown),
        false => {
            let advice = format!("upgrade it to {major}.{minor} or newer");
            Line::failed("server", format!("{shown} is too old"), advice)
        }
    }];
    if !server.has_jetstream {
        let advice =
            "give it a `jetstream { store_dir: ... }`; `secretscan nats-config` writes a whole configuration";
        lines.push(Line::failed("jetstream", "the server has no JetStream", advice));
    }
    lines
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= OLDEST_SERVER,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (version, is_new) in
            [("2.14.0", true), ("2.15.1", true), ("3.0.0", true), ("2.9.10", false), ("", false)]
        {
            assert_eq!(is_new_enough(version), is_new, "{version}");
        }
    }

    #[cfg(feature = "local")]
    #[test]
    fn the_embedded_server_is_asked_for_the_same_version() {
        assert_eq!(OLDEST_SERVER, secretscan_embedded::OLDEST_VERSION);
    }
}
