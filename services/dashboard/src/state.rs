//! What all routes share.

use secretscan_bus::Bus;

use crate::auth::Auth;
use crate::index::Index;
use crate::queues::Queues;

/// Shared by the API and the pages.
pub struct App {
    /// The buckets and the doors.
    pub bus: Bus,
    /// The lists.
    pub index: Index,
    /// What waits between the services.
    pub queues: Queues,
    /// Who may what.
    pub auth: Auth,
    /// What people type to come here: links are made of it.
    pub public_url: String,
    /// Whether a proxy in front says in `X-Forwarded-For` where requests come from.
    pub is_behind_proxy: bool,
}
