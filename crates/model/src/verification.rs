//! What a provider says of a secret that was found.

use serde::{Deserialize, Serialize};

/// Whether a secret is in use, as the provider's own answer has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Verification {
    /// The provider accepts it.
    Valid,
    /// The provider's host knows it no longer, or never did.
    Revoked,
    /// Nothing can be said.
    Unknown {
        /// Why not, in words that hold nothing of the secret.
        reason: String,
    },
}

impl Verification {
    /// `valid`, `revoked` or `unknown`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Revoked => "revoked",
            Self::Unknown { .. } => "unknown",
        }
    }
}
