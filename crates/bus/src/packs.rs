//! The packs of commit batches in the object store.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use async_nats::jetstream::object_store::{InfoErrorKind, ObjectMetadata};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures::StreamExt;
use secretscan_model::{BatchKey, RepositoryScan};

use crate::{Bus, BusError};

/// Size of the messages that an object is cut into, in bytes: the store confirms each before it takes the next, so large
/// ones cost fewer round trips.
const CHUNK_SIZE: usize = 512 * 1024;

impl Bus {
    /// Stores the pack of a batch from a file.
    ///
    /// # Errors
    /// [`BusError::Pack`] when the file can't be read or the store does not take it.
    pub async fn put_pack(&self, key: &BatchKey, file: &Path) -> Result<(), BusError> {
        let failed = |source| BusError::Pack { name: key.to_string(), action: "storing it", source };
        let mut file = tokio::fs::File::open(file).await.map_err(|error| failed(Box::new(error)))?;
        let metadata = ObjectMetadata {
            name: key.to_string(),
            chunk_size: Some(CHUNK_SIZE),
            ..ObjectMetadata::default()
        };
        let started = Instant::now();
        let info = self.packs.put(metadata, &mut file).await.map_err(|error| failed(Box::new(error)))?;
        // Who was frozen meanwhile may have been taken for dead, and its pieces for left over.
        if started.elapsed() > self.ack_wait
            && self.count_pieces().await?.get(&info.nuid).copied().unwrap_or_default() < info.chunks
        {
            return Err(failed("it took too long".into()));
        }
        crate::fail::point(format_args!("pack.stored"));
        Ok(())
    }

    /// Brings the pack of a batch into a file; its digest is checked. `false` when there is none.
    ///
    /// # Errors
    /// [`BusError::Pack`] when the store can't be read or the file can't be written.
    pub async fn get_pack(&self, key: &BatchKey, file: &Path) -> Result<bool, BusError> {
        use async_nats::jetstream::object_store::GetErrorKind;
        let failed = |source| BusError::Pack { name: key.to_string(), action: "bringing it", source };
        let mut object = match self.packs.get(key.to_string()).await {
            Ok(object) => object,
            Err(error) if error.kind() == GetErrorKind::NotFound => {
                return match self.has_entry(key).await? {
                    true => Err(failed("the replica that was asked does not have it yet".into())),
                    false => Ok(false),
                };
            }
            Err(error) => return Err(failed(Box::new(error))),
        };
        let mut file = tokio::fs::File::create(file).await.map_err(|error| failed(Box::new(error)))?;
        tokio::io::copy(&mut object, &mut file).await.map_err(|error| failed(Box::new(error)))?;
        tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(|error| failed(Box::new(error)))?;
        Ok(true)
    }

    /// Whether the leader of the store, which knows everything, has an entry for this pack.
    async fn has_entry(&self, key: &BatchKey) -> Result<bool, BusError> {
        if self.pack_stream.cached_info().config.num_replicas <= 1 {
            return Ok(false);
        }
        match self.pack_stream.get_last_raw_message_by_subject(&entry(key)).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(BusError::Pack {
                name: key.to_string(),
                action: "looking for it",
                source: Box::new(error),
            }),
        }
    }

    /// Deletes the packs of a request that nobody will need: what an agent leaves that dies between storing a pack and
    /// telling of it.
    ///
    /// # Errors
    /// [`BusError::Pack`] when the store can't be asked.
    pub async fn delete_stray_packs(&self, scan: &RepositoryScan) -> Result<(), BusError> {
        for (key, _) in self.list_packs().await? {
            if key.request == scan.id && scan.is_stray(&key.batch) {
                self.delete_pack(&key).await?;
            }
        }
        Ok(())
    }

    /// All packs, with the ids of their pieces.
    async fn list_packs(&self) -> Result<Vec<(BatchKey, String)>, BusError> {
        let failed = |source| BusError::Pack { name: "(all)".into(), action: "listing", source };
        let mut objects = self.packs.list().await.map_err(|error| failed(Box::new(error)))?;
        let mut packs = Vec::new();
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| failed(Box::new(error)))?;
            if let Ok(key) = object.name.parse() {
                packs.push((key, object.nuid));
            }
        }
        Ok(packs)
    }

    /// Deletes the pack of a batch, if there is one. The pieces go first: an entry that names pieces which are gone can be
    /// deleted again after a crash, pieces that no entry names would stay.
    ///
    /// # Errors
    /// [`BusError::Pack`] when the store can't be asked.
    pub async fn delete_pack(&self, key: &BatchKey) -> Result<(), BusError> {
        let failed = |source| BusError::Pack { name: key.to_string(), action: "deleting it", source };
        let info = match self.packs.info(key.to_string()).await {
            Ok(info) => info,
            Err(error) if error.kind() == InfoErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(Box::new(error))),
        };
        let purge = async |subject: String| {
            self.pack_stream.purge().filter(subject).await.map_err(|error| failed(Box::new(error)))
        };
        purge(pieces(&info.nuid)).await?;
        crate::fail::point(format_args!("pack.pieces-deleted"));
        purge(entry(key)).await?;
        Ok(())
    }

    /// How many messages each object's pieces take, by the id of the pieces.
    async fn count_pieces(&self) -> Result<HashMap<String, usize>, BusError> {
        let failed = |source| BusError::Pack { name: "(all)".into(), action: "listing", source };
        let mut subjects = self
            .pack_stream
            .info_with_subjects(pieces("*"))
            .await
            .map_err(|error| failed(Box::new(error)))?;
        let mut counts = HashMap::new();
        while let Some(subject) = subjects.next().await {
            let (subject, count) = subject.map_err(|error| failed(Box::new(error)))?;
            if let Some(id) = subject.strip_prefix(PIECES) {
                counts.insert(id.to_owned(), count);
            }
        }
        Ok(counts)
    }
}

/// Finds the packs that nobody will need, and pieces of packs that were never completed.
#[derive(Default)]
pub struct PackSweeper {
    /// Pieces that no entry named when they were looked at last.
    unnamed: HashMap<String, usize>,
}

impl PackSweeper {
    /// Looks once, and deletes what is left over. Pieces go when two looks in a row saw them unnamed and as many: a pack
    /// that is being stored grows.
    ///
    /// # Errors
    /// [`BusError`] when the store or the requests can't be asked.
    pub async fn sweep(&mut self, bus: &Bus) -> Result<(), BusError> {
        // Before the entries: a pack that is completed meanwhile is seen as named.
        let mut counts = bus.count_pieces().await?;
        if counts.is_empty() {
            self.unnamed.clear();
            return Ok(());
        }
        for (key, id) in bus.list_packs().await? {
            counts.remove(&id);
            let is_stray = match bus.scan(&key.request).await? {
                Some(scan) => scan.is_stray(&key.batch),
                None => true,
            };
            if is_stray {
                tracing::info!(batch_id = %key, "a pack that nobody needs is deleted");
                bus.delete_pack(&key).await?;
            }
        }
        let before = std::mem::replace(&mut self.unnamed, counts);
        for (id, count) in &self.unnamed {
            if before.get(id) == Some(count) {
                tracing::info!(count, "pieces of a pack that was never completed are deleted");
                bus.pack_stream.purge().filter(pieces(id)).await.map_err(|error| BusError::Pack {
                    name: id.clone(),
                    action: "deleting the pieces of",
                    source: Box::new(error),
                })?;
            }
        }
        Ok(())
    }
}

/// The subjects of the pieces of packs, by the id of the pieces (ADR-20 of NATS).
const PIECES: &str = "$O.packs.C.";
/// The subjects of the entries of packs, by their name in base64.
const ENTRIES: &str = "$O.packs.M.";

fn entry(key: &BatchKey) -> String {
    format!("{ENTRIES}{}", data_encoding::BASE64URL.encode(key.to_string().as_bytes()))
}

fn pieces(id: &str) -> String {
    format!("{PIECES}{id}")
}
