//! What people did: kept for good, and written by the dashboard alone.

use secretscan_proto::v1;
use uuid::Uuid;

use crate::requests::json;
use crate::{Bus, BusError};

impl Bus {
    /// Keeps an entry, and waits until it is stored.
    ///
    /// # Errors
    /// [`BusError`] when it is not stored.
    pub async fn audit(&self, entry: &v1::AuditEntry) -> Result<(), BusError> {
        // A name in a subject is for who reads the stream with other tools; the entry says it in full.
        let subject = format!("secretscan.audit.{}", entry.action);
        let id = Uuid::now_v7().to_string();
        self.publish(subject, id, async_nats::HeaderMap::new(), json(entry).into()).await
    }
}
