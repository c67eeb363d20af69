//! Taking commits out of the ledger, so that they are scanned again.

use futures::{StreamExt, TryStreamExt};
use secretscan_model::ledger::{Cut, Head, Segment, drop_known, sorted};
use secretscan_model::{BatchKey, CommitId};
use thiserror::Error;

use super::{CONCURRENCY, Ledger, LedgerCache, MAX_RACES, derived_key};
use crate::{BusError, fail};

/// Which commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All that the ledger knows.
    All,
    /// These, sorted, each once; what the ledger does not know does not matter.
    These(Vec<CommitId>),
}

impl Wanted {
    /// These commits, in any order.
    pub fn these(ids: &[CommitId]) -> Self {
        Self::These(sorted(ids))
    }
}

/// Why commits are not forgotten.
#[derive(Debug, Error)]
pub enum ForgetError {
    /// Some are in flight.
    #[error("some of the commits are in the batch {batch}, which is not scanned yet")]
    InFlight {
        /// The batch that has them.
        batch: BatchKey,
    },
    /// The ledger can't be read or written.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Ledger<'_> {
    /// Makes commits unknown again, so that the next request scans them again; gives how many. Repeats safely: what is
    /// forgotten already is not counted.
    ///
    /// # Errors
    /// [`ForgetError::InFlight`] when a batch with some of them is not scanned yet: nothing is forgotten then.
    pub async fn forget(&self, wanted: &Wanted, cache: &LedgerCache) -> Result<u64, ForgetError> {
        let writer = cache.writer(&self.repository);
        let _turn = writer.lock().await;
        for _ in 0..MAX_RACES {
            let Some(loaded) = self.bus.heads.get(&self.head_key()).await? else { return Ok(0) };
            let mut head = loaded.value;
            let Some((cuts, _)) = self.take_out(&head, wanted, |_| true, cache).await? else { continue };
            if cuts.is_empty() {
                return Ok(0);
            }
            self.delete_left(&mut head).await?;
            let count = match head.forget(&cuts) {
                Ok(count) => count,
                Err(batch) => {
                    self.delete_rests(&cuts).await?;
                    return Err(ForgetError::InFlight { batch });
                }
            };
            if self.write_head(&head, Some(loaded.revision)).await?.is_some() {
                fail::point(format_args!("ledger.forgotten"));
                self.delete_cut(&cuts, cache).await?;
                return Ok(count);
            }
            self.delete_rests(&cuts).await?;
        }
        Err(BusError::Contended { key: self.head_key(), attempts: MAX_RACES }.into())
    }

    /// Takes commits out of the segments that pass: what is left of each is written under a new key, that the head does not
    /// name yet. Gives the commits as well. `None` when a segment is gone: the head is another by now.
    pub(super) async fn take_out(
        &self,
        head: &Head,
        wanted: &Wanted,
        passes: impl Fn(&Segment) -> bool,
        cache: &LedgerCache,
    ) -> Result<Option<(Vec<Cut>, Vec<CommitId>)>, BusError> {
        let keys: Vec<String> = head
            .segments
            .iter()
            .filter(|segment| passes(segment))
            .map(|segment| segment.key.clone())
            .collect();
        let mut segments = futures::stream::iter(keys)
            .map(|key| async move { Ok::<_, BusError>((self.cached_segment(&key, cache).await?, key)) })
            .buffered(CONCURRENCY);
        let (mut cuts, mut all) = (Vec::new(), Vec::new());
        while let Some((ids, key)) = segments.try_next().await? {
            let Some(ids) = ids else {
                self.delete_rests(&cuts).await?;
                return Ok(None);
            };
            let mut rest = ids.to_vec();
            let taken = match wanted {
                Wanted::All => std::mem::take(&mut rest),
                Wanted::These(wanted) => {
                    drop_known(&mut rest, wanted);
                    let mut taken = ids.to_vec();
                    drop_known(&mut taken, &rest);
                    taken
                }
            };
            if taken.is_empty() {
                continue;
            }
            let rest = match rest.as_slice() {
                [] => None,
                rest => {
                    let key = derived_key();
                    self.put_segment(&key, rest).await?;
                    Some((key, rest.len() as u64))
                }
            };
            cuts.push(Cut { key, rest });
            all.extend(taken);
        }
        Ok(Some((cuts, all)))
    }

    /// Deletes what was written for a head that was not.
    pub(super) async fn delete_rests(&self, cuts: &[Cut]) -> Result<(), BusError> {
        for (key, _) in cuts.iter().filter_map(|cut| cut.rest.as_ref()) {
            self.delete_segment(key).await?;
        }
        Ok(())
    }

    /// Deletes the segments that the head named before the cut.
    pub(super) async fn delete_cut(&self, cuts: &[Cut], cache: &LedgerCache) -> Result<(), BusError> {
        for Cut { key, .. } in cuts {
            cache.remove(&self.segment_key(key));
            self.delete_segment(key).await?;
        }
        Ok(())
    }
}
