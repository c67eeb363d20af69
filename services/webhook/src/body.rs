//! Receiving a body: no more than one may have, no longer than it may take, no more at a time than memory allows.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::Outcome;
use crate::config::WebhookSettings;

/// What the memory of bodies is counted in, in bytes.
const UNIT: usize = 1024;

/// The bounds of bodies.
pub(crate) struct Bodies {
    max_bytes: u32,
    timeout: Duration,
    /// Memory that no body takes, in units.
    free: Arc<Semaphore>,
}

/// A body, and its share of the memory.
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    share: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(crate) fn new(settings: &WebhookSettings) -> Self {
        let units = units(settings.max_bodies_bytes.get() as usize);
        let free = Arc::new(Semaphore::new(units as usize));
        Self { max_bytes: settings.max_body_bytes.get(), timeout: settings.body_timeout(), free }
    }

    /// Receives a body whole, or says why not.
    pub(crate) async fn receive<B>(&self, body: B) -> Result<Received, Outcome>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if body.size_hint().lower() > u64::from(self.max_bytes) {
            return Err(Outcome::TooLarge { max: self.max_bytes });
        }
        tokio::time::timeout(self.timeout, self.collect(body)).await.unwrap_or(Err(Outcome::Slow))
    }

    async fn collect<B>(&self, mut body: B) -> Result<Received, Outcome>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut received = Received { bytes: Vec::new(), share: None };
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Outcome::Broken)?.into_data() else { continue };
            if received.bytes.len() + data.len() > self.max_bytes as usize {
                return Err(Outcome::TooLarge { max: self.max_bytes });
            }
            self.make_room(&mut received, data.len())?;
            received.bytes.extend_from_slice(&data);
        }
        Ok(received)
    }

    /// Takes as much of the memory as a body needs with so many bytes more: twice what it has, so that it is seldom
    /// copied, and never more than it may have.
    fn make_room(&self, received: &mut Received, more: usize) -> Result<(), Outcome> {
        let needed = received.bytes.len() + more;
        if needed <= received.bytes.capacity() {
            return Ok(());
        }
        let capacity = needed.max((received.bytes.capacity() * 2).min(self.max_bytes as usize));
        let held = received.share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = units(capacity).saturating_sub(u32::try_from(held).unwrap_or(u32::MAX));
        let share = self.free.clone().try_acquire_many_owned(missing).map_err(|_| Outcome::Busy)?;
        match &mut received.share {
            Some(held) => held.merge(share),
            None => received.share = Some(share),
        }
        received.bytes.reserve_exact(capacity - received.bytes.len());
        Ok(())
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn bodies(max_body: u32, max_all: u32) -> Bodies {
        let settings = WebhookSettings {
            max_body_bytes: max_body.try_into().unwrap(),
            max_bodies_bytes: max_all.try_into().unwrap(),
            ..WebhookSettings::default()
        };
        Bodies::new(&settings)
    }

    fn body(len: usize) -> Full<Bytes> {
        Full::new(vec![b'x'; len].into())
    }

    #[tokio::test]
    async fn a_body_may_have_so_many_bytes_and_not_one_more() {
        let bodies = bodies(3_000, 1 << 20);
        assert_eq!(bodies.receive(body(3_000)).await.ok().unwrap().bytes.len(), 3_000);
        let refused = bodies.receive(body(3_001)).await.err();
        assert_eq!(refused, Some(Outcome::TooLarge { max: 3_000 }));
    }

    #[tokio::test]
    async fn all_bodies_share_the_memory_and_give_it_back() {
        let bodies = bodies(4_096, 4_096);
        let first = bodies.receive(body(3_000)).await.ok().unwrap();
        assert_eq!(bodies.receive(body(3_000)).await.err(), Some(Outcome::Busy));
        drop(first);
        assert!(bodies.receive(body(3_000)).await.is_ok());
    }
}
