//! What Git hooks tell.

use secretscan_model::RepositoryUri;
use secretscan_proto::v1;

use crate::repositories::repository_id;
use crate::requests::json;
use crate::{Bus, BusError};

impl Bus {
    /// Tells that a hook was skipped, and waits until that is stored; fills in which repository it was.
    ///
    /// # Errors
    /// [`BusError`] when it is not stored.
    pub async fn tell_hook_skipped(
        &self,
        uri: &RepositoryUri,
        skipped: v1::HookSkipped,
    ) -> Result<(), BusError> {
        let id = repository_id(uri.name());
        let message_id = format!("{id}.{}.{}.{}", skipped.hook, skipped.head, skipped.at);
        let event =
            v1::HookSkipped { repository_id: id.to_string(), repository: uri.name().to_owned(), ..skipped };
        let subject = format!("secretscan.event.hook-skipped.{id}");
        self.publish(subject, message_id, async_nats::HeaderMap::new(), json(&event).into()).await
    }
}
