//! What all routes share.

use secretscan_bus::Bus;

use crate::auth::Auth;
use crate::discovery::Discovery;
use crate::index::Index;
use crate::queues::Queues;
use crate::report_templates::ReportTemplates;
use crate::{Config, StartError};

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
    /// Whose repositories can be listed.
    pub(crate) discovery: Discovery,
    /// Reports besides those of the built-in formats.
    pub(crate) report_templates: ReportTemplates,
    /// What people type to come here: links are made of it.
    pub public_url: String,
    /// Whether a proxy in front says in `X-Forwarded-For` where requests come from.
    pub is_behind_proxy: bool,
}

impl App {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// [`StartError`] for what can't be used.
    pub fn new(bus: Bus, index: Index, config: &Config, public_url: String) -> Result<Self, StartError> {
        Ok(Self {
            bus,
            index,
            queues: Queues::default(),
            auth: Auth::new(&config.auth, &public_url)?,
            discovery: Discovery::new(&config.discovery)?,
            report_templates: ReportTemplates::read(&config.dashboard.report_templates)?,
            public_url,
            is_behind_proxy: config.dashboard.is_behind_proxy,
        })
    }
}
