//! What a request does with the history that it lists.

use serde::{Deserialize, Serialize};

use crate::rules::ChosenRules;

/// What a request does with the history that it lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Purpose {
    /// Scan the commits that the ledger does not know.
    #[default]
    Scan,
    /// Name the commits that are not scanned, and scan nothing.
    Verify,
    /// Scan the commits again that were scanned with other versions of the rules.
    Rescan(Rescan),
}

/// How commits are scanned again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rescan {
    /// With which rules.
    #[serde(flatten)]
    pub chosen: ChosenRules,
    /// The other versions that the ledger had when the rules were chosen; empty before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
}

impl Purpose {
    /// Whether it is the ordinary one.
    pub fn is_scan(&self) -> bool {
        *self == Self::Scan
    }

    /// How commits are scanned again, if that is it.
    pub fn rescan(&self) -> Option<&Rescan> {
        match self {
            Self::Rescan(rescan) => Some(rescan),
            Self::Scan | Self::Verify => None,
        }
    }

    /// The name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Verify => "verify",
            Self::Rescan(_) => "rescan",
        }
    }
}
