//! The way to the server: URIs of repositories and excerpts of findings go over it.

use super::System;
use crate::doctor::report::Line;

/// Whether nobody can listen.
pub fn check(system: &System) -> Vec<Line> {
    if system.server.is_tls_required {
        return vec![Line::ok("transport", "TLS")];
    }
    if system.is_private {
        return vec![Line::ok("transport", "TLS, or it does not leave this machine")];
    }
    let advice = "give the server a certificate (`secretscan nats-config --tls-certificate`) and name who vouches for it \
                  with --tls-ca, unless the network encrypts";
    vec![Line::warning("transport", "it goes over a network without TLS", advice)]
}
