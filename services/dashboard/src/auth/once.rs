//! Links that log in once: for who has started a dashboard on his own machine.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use secretscan_model::Timestamp;
use sha2::{Digest, Sha256};

use super::session::random;

const LIFETIME_MS: i64 = 10 * 60 * 1_000;

/// The codes that were given out and not used, by their hashes.
#[derive(Default)]
pub(super) struct OnceCodes(Mutex<HashMap<String, Timestamp>>);

impl OnceCodes {
    /// A new code, valid once and for ten minutes.
    pub fn issue(&self, now: Timestamp) -> String {
        let code = random();
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|_, until| *until > now);
        codes.insert(hash(&code), Timestamp(now.0 + LIFETIME_MS));
        code
    }

    /// Whether it is valid, which it is no more.
    pub fn redeem(&self, code: &str, now: Timestamp) -> bool {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        codes.remove(&hash(code)).is_some_and(|until| until > now)
    }
}

fn hash(code: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(code.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_valid_once_and_for_ten_minutes() {
        let codes = OnceCodes::default();
        let (one, late) = (codes.issue(Timestamp(0)), codes.issue(Timestamp(0)));
        assert!(!codes.redeem("guessed", Timestamp(1)));
        assert!(codes.redeem(&one, Timestamp(1)));
        assert!(!codes.redeem(&one, Timestamp(2)));
        assert!(!codes.redeem(&late, Timestamp(LIFETIME_MS)));
    }
}
