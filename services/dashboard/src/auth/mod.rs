//! Who is asking, and what they may do.

use std::collections::BTreeSet;

use secretscan_model::RepositoryId;
use serde::{Deserialize, Serialize};

/// What somebody may do. Each may do what those before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May see.
    Viewer,
    /// May decide about findings, and ask for scans.
    Triager,
    /// May do everything.
    Admin,
}

impl Role {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Triager => "triager",
            Self::Admin => "admin",
        }
    }
}

/// Which repositories somebody may see and act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every one, and what belongs to none, such as agents and dead letters.
    All,
    /// Those of the person's teams.
    Only(BTreeSet<RepositoryId>),
}

impl Scope {
    /// Whether this repository is among them.
    pub fn holds(&self, repository: &RepositoryId) -> bool {
        match self {
            Self::All => true,
            Self::Only(repositories) => repositories.contains(repository),
        }
    }
}

/// Who is asking, for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name that the login gives.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Where.
    pub scope: Scope,
    /// The address of the client.
    pub address: String,
}
