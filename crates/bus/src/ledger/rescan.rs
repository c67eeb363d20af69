//! Commits that are scanned again because the rules have changed.

use std::sync::Arc;

use secretscan_model::ledger::{CommitState, Segment, sorted};
use secretscan_model::lifecycle::Rescan;
use secretscan_model::{BatchKey, ChosenRules, CommitId};
use uuid::Uuid;

use super::{Ledger, LedgerCache, MAX_RACES, Wanted};
use crate::{BusError, fail, now};

impl Ledger<'_> {
    /// Moves those of the offered commits into the segment of a batch that were scanned with other versions of the rules
    /// and are in no other batch; gives how many. They stay scanned. Two batches that race for a commit never both get it.
    /// Repeats safely; `is_repeated` as for [`Ledger::admit`].
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be written.
    pub async fn admit_again(
        &self,
        batch: &BatchKey,
        offered: &[CommitId],
        chosen: &ChosenRules,
        cache: &LedgerCache,
        is_repeated: bool,
    ) -> Result<u64, BusError> {
        let writer = cache.writer(&self.repository);
        let _turn = writer.lock().await;
        let wanted = Wanted::these(offered);
        for _ in 0..MAX_RACES {
            let Some(loaded) = self.bus.heads.get(&self.head_key()).await? else { return Ok(0) };
            let mut head = loaded.value;
            if let Some(segment) = head.segment(batch) {
                self.delete_stray_segments(batch, &segment.key).await?;
                return Ok(segment.commits);
            }
            let is_outdated = |segment: &Segment| segment.is_outdated(&chosen.rule_set);
            let Some((cuts, ids)) = self.take_out(&head, &wanted, is_outdated, cache).await? else {
                continue;
            };
            // Of several versions, the segment goes by that of the first: it is none that will do.
            let first = cuts.first().and_then(|cut| head.segments.iter().find(|part| part.key == cut.key));
            let Some(rule_set) = first.map(|segment| segment.rule_set.clone()) else { return Ok(0) };
            let ids = sorted(&ids);
            let key = format!("{batch}.{}", Uuid::now_v7().simple());
            self.put_segment(&key, &ids).await?;
            self.delete_left(&mut head).await?;
            let segment = Segment {
                batch: batch.clone(),
                key: key.clone(),
                commits: ids.len() as u64,
                state: CommitState::Scanned,
                is_rescanned: true,
                rule_set,
                at: now(),
            };
            head.admit_again(&cuts, segment);
            if self.write_head(&head, Some(loaded.revision)).await?.is_some() {
                fail::point(format_args!("ledger.admitted-again"));
                self.delete_cut(&cuts, cache).await?;
                if is_repeated {
                    self.delete_stray_segments(batch, &key).await?;
                }
                let count = ids.len() as u64;
                cache.insert(self.segment_key(&key), Arc::new(ids));
                return Ok(count);
            }
            self.delete_segment(&key).await?;
            self.delete_rests(&cuts).await?;
        }
        Err(BusError::Contended { key: self.head_key(), attempts: MAX_RACES })
    }

    /// Ends a rescan whose batches are all scanned: see [`secretscan_model::ledger::Head::end_rescan`]. Repeats safely.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be written.
    pub(crate) async fn end_rescan(&self, rescan: &Rescan) -> Result<(), BusError> {
        let gone = self.change_head(|head| head.end_rescan(rescan, now())).await?;
        fail::point(format_args!("ledger.moved"));
        for key in gone.unwrap_or_default() {
            self.delete_segment(&key).await?;
        }
        Ok(())
    }
}
