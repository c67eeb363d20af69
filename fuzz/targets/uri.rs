//! Repository URIs: what is accepted has one name however it is written, no credentials, and no host that the policy refuses.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use secretscan_model::uri::is_private_address;
use secretscan_model::{RepositoryUri, UriPolicy};

const OPEN: UriPolicy = UriPolicy { allow_local: true, allow_http: true, allow_private_hosts: true };

fuzz_target!(|text: &str| {
    check(text, OPEN);
    check(text, UriPolicy::default());
});

fn check(text: &str, policy: UriPolicy) {
    let Ok(uri) = RepositoryUri::parse(text, policy) else { return };
    let again = RepositoryUri::parse(uri.fetch(), policy).expect("what is fetched is accepted");
    assert_eq!((again.name(), again.fetch()), (uri.name(), uri.fetch()));
    assert!(!uri.fetch().contains(char::is_control) && !uri.fetch().starts_with('-'));
    if uri.fetch().starts_with('/') {
        assert!(policy.allow_local && uri.name().starts_with("file:///"));
        return;
    }
    let (scheme, rest) = uri.fetch().split_once("://").expect("a scheme");
    assert!(matches!(scheme, "https" | "ssh") || (scheme == "http" && policy.allow_http), "{scheme}");
    assert!(!rest.contains(['?', '#']), "{rest}");
    let (authority, _) = rest.split_once('/').expect("a path");
    let host = match authority.rsplit_once('@') {
        Some((user, host)) => {
            assert!(scheme == "ssh" && !user.contains(':'), "credentials in {authority}");
            host
        }
        None => authority,
    };
    assert!(!host.starts_with('-'), "an option as a host: {host}");
    assert!(policy.allow_private_hosts || !is_private(host), "{host}");
}

/// As the C library reads a host: Git and ssh ask it.
fn is_private(host_and_port: &str) -> bool {
    let host = match host_and_port.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host_and_port.split(':').next().unwrap_or_default(),
    };
    // One dot at the end says that the name is whole; no name has two.
    let host = host.strip_suffix('.').unwrap_or(host);
    let address = host.parse::<IpAddr>().ok().or_else(|| numbers(host).map(IpAddr::V4));
    host.eq_ignore_ascii_case("localhost") || address.is_some_and(is_private_address)
}

/// One to four numbers, decimal, octal or hexadecimal, the last of which fills the rest. Source: inet_aton(3).
fn numbers(host: &str) -> Option<Ipv4Addr> {
    let number = |text: &str| match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => u32::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None if text.len() > 1 && text.starts_with('0') => u32::from_str_radix(text, 8).ok(),
        // Rust would take a sign.
        None if text.starts_with('+') => None,
        None => text.parse().ok(),
    };
    let numbers = host.split('.').map(number).collect::<Option<Vec<u32>>>()?;
    let (last, first) = numbers.split_last()?;
    let free = 32_u32.checked_sub(8 * first.len() as u32).filter(|free| *free >= 8)?;
    if first.iter().any(|byte| *byte > 255) || (free < 32 && last >> free != 0) {
        return None;
    }
    let high = first.iter().fold(0_u64, |high, byte| high << 8 | u64::from(*byte));
    Some(Ipv4Addr::from((high << free) as u32 | last))
}
