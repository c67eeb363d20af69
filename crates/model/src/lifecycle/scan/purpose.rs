//! What a request does with the history that it lists.

use serde::{Deserialize, Serialize};

/// What a request does with the history that it lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Purpose {
    /// Scan the commits that the ledger does not know.
    #[default]
    Scan,
    /// Name the commits that are not scanned, and scan nothing.
    Verify,
}

impl Purpose {
    /// Whether it is the ordinary one.
    pub fn is_scan(&self) -> bool {
        *self == Self::Scan
    }

    /// The name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Verify => "verify",
        }
    }
}
