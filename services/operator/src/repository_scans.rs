//! A `RepositoryScan` and its request.

use kube::Resource;
use kube::api::ObjectMeta;
use secretscan_bus::topology::REQUESTS;
use secretscan_bus::{Bus, now, v1};
use secretscan_model::RequestId;

use crate::ids::{request_id, requester};
use crate::reconcile::{Error, Kind, Observed, Writer};
use crate::resources::{RepositoryScan, RepositoryScanStatus, Truth};

impl Kind for RepositoryScan {
    type Status = RepositoryScanStatus;
    const BUCKETS: &'static [&'static str] = &[REQUESTS];

    fn status(&self) -> Option<&RepositoryScanStatus> {
        self.status.as_ref()
    }

    fn with_status(mut self, status: RepositoryScanStatus) -> Self {
        self.status = Some(status);
        self
    }

    fn is_final(&self) -> bool {
        self.status.as_ref().is_some_and(RepositoryScanStatus::is_final)
    }

    async fn observe(
        &self,
        bus: &Bus,
        writer: &Writer<'_, Self>,
    ) -> Result<Observed<RepositoryScanStatus>, Error> {
        let id = request_id(self.meta())?;
        let (before, generation) = (self.status.clone().unwrap_or_default(), self.meta().generation);
        let unrecorded = |accepted, reason, message: &str| {
            RepositoryScanStatus::without_record(accepted, reason, message, &before, generation, now())
        };
        let mut known = bus.scan(&id).await?;
        if known.is_none() {
            writer.is_current().await?;
            match self.ask(&id, bus).await {
                Ok(answer) => {
                    known = bus.scan(&id).await?;
                    if known.is_none() {
                        let status = match answer.error.as_str() {
                            "" => unrecorded(Truth::Unknown, "Asked", "the request has no record yet"),
                            refusal => unrecorded(Truth::False, "Refused", refusal),
                        };
                        return Ok(Observed { status, trouble: None });
                    }
                }
                Err(error) => {
                    let status = unrecorded(Truth::Unknown, "NoAnswer", &error.to_string());
                    return Ok(Observed { status, trouble: Some(error) });
                }
            }
        }
        let status = match known {
            Some(scan) => RepositoryScanStatus::of(&scan, &before, generation, now()),
            None => before,
        };
        Ok(Observed { status, trouble: None })
    }

    async fn release(meta: &ObjectMeta, resource: Option<&Self>, bus: &Bus) -> Result<(), Error> {
        let id = request_id(meta)?;
        let mut known = bus.scan(&id).await?;
        if known.is_none()
            && let Some(resource) = resource
        {
            // It may have been asked for without an answer, and would be made later. What is asked for twice is made once.
            resource.ask(&id, bus).await?;
            known = bus.scan(&id).await?;
        }
        if known.is_some_and(|scan| !scan.state.is_terminal()) {
            let cancel = v1::CancelRepositoryScan { request_id: id.to_string(), requester: requester(meta) };
            // A refusal says that it has ended meanwhile.
            bus.cancel_scan(&cancel).await?;
        }
        Ok(())
    }
}

impl RepositoryScan {
    async fn ask(&self, id: &RequestId, bus: &Bus) -> Result<v1::Answer, secretscan_bus::door::AskError> {
        bus.request_scan(&self.spec.message(id, requester(self.meta()))).await
    }
}
