//! Guessing is slow: who fails to log in too often has to wait.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use secretscan_model::Timestamp;

const WINDOW_MS: i64 = 60_000;
/// More addresses are counted as one.
const MAX_ADDRESSES: usize = 10_000;

/// Counts failures of the current minute.
pub(super) struct LoginLimit {
    per_address: u32,
    in_all: u32,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    window: i64,
    in_all: u32,
    by_address: HashMap<String, u32>,
}

impl LoginLimit {
    pub fn new(per_address: u32, in_all: u32) -> Self {
        Self { per_address, in_all, counted: Mutex::default() }
    }

    /// Whether this address may try.
    pub fn allows(&self, address: &str, now: Timestamp) -> bool {
        let counted = self.counted(now);
        let of_address = counted.by_address.get(address).copied().unwrap_or_default();
        of_address < self.per_address && counted.in_all < self.in_all
    }

    pub fn failed(&self, address: &str, now: Timestamp) {
        let mut counted = self.counted(now);
        counted.in_all = counted.in_all.saturating_add(1);
        let is_full = counted.by_address.len() >= MAX_ADDRESSES && !counted.by_address.contains_key(address);
        let of_address =
            counted.by_address.entry(if is_full { String::new() } else { address.to_owned() }).or_default();
        *of_address = of_address.saturating_add(1);
    }

    fn counted(&self, now: Timestamp) -> std::sync::MutexGuard<'_, Counted> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let window = now.0.div_euclid(WINDOW_MS);
        if counted.window != window {
            *counted = Counted { window, ..Counted::default() };
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_fails_waits_and_all_of_them_together_do() {
        let limit = LoginLimit::new(2, 5);
        let now = Timestamp(60_000);
        limit.failed("a", now);
        assert!(limit.allows("a", now));
        limit.failed("a", now);
        assert!(!limit.allows("a", now));
        assert!(limit.allows("b", now));
        for address in ["c", "d", "e"] {
            limit.failed(address, now);
        }
        assert!(!limit.allows("b", now), "many addresses of one who guesses");
        assert!(limit.allows("a", Timestamp(120_000)), "a minute later");
    }
}
