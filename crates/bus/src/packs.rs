//! The packs of commit batches in the object store.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use async_nats::jetstream::object_store::{ObjectInfo, ObjectMetadata, ObjectStore};
use async_nats::jetstream::stream::{DirectGetErrorKind, LastRawMessageErrorKind, Stream};
use data_encoding::BASE64URL;
use futures::TryStreamExt;
use secretscan_model::{BatchKey, RepositoryScan};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::error::Source;
use crate::{Bus, BusError, topology};

/// Size of the messages that an object is cut into, in bytes: the store confirms each before it takes the next, so large
/// ones cost fewer round trips.
const CHUNK_SIZE: usize = 512 * 1024;

impl Bus {
    async fn packs(&self) -> Result<&ObjectStore, BusError> {
        let open = || self.jetstream.get_object_store(topology::PACKS);
        self.packs.get_or_try_init(open).await.map_err(|source| BusError::Bucket {
            bucket: topology::PACKS.to_owned(),
            action: "opening",
            source: Box::new(source),
        })
    }

    /// The stream below the store, for what the client's store does only by consumers: see [`crate::access`].
    async fn pack_stream(&self) -> Result<&Stream, BusError> {
        let name = format!("OBJ_{}", topology::PACKS);
        let open = || self.jetstream.get_stream(&name);
        self.pack_stream.get_or_try_init(open).await.map_err(|source| BusError::Bucket {
            bucket: topology::PACKS.to_owned(),
            action: "opening",
            source: Box::new(source),
        })
    }

    /// What the store says of a pack. Its leader is asked, for the reason in [`crate::Bucket::get`].
    async fn pack_info(&self, key: &BatchKey, action: &'static str) -> Result<Option<ObjectInfo>, BusError> {
        let failed = |source: Source| BusError::Pack { name: key.to_string(), action, source };
        let message = match self.pack_stream().await?.get_last_raw_message_by_subject(&entry(key)).await {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(error) => return Err(failed(Box::new(error))),
        };
        let info: ObjectInfo =
            serde_json::from_slice(&message.payload).map_err(|error| failed(Box::new(error)))?;
        Ok((!info.deleted).then_some(info))
    }

    /// Stores the pack of a batch from a file.
    ///
    /// # Errors
    /// [`BusError::Pack`] when the file can't be read or the store does not take it.
    #[tracing::instrument(skip_all)]
    pub async fn put_pack(&self, key: &BatchKey, file: &Path) -> Result<(), BusError> {
        let failed = |source| BusError::Pack { name: key.to_string(), action: "storing it", source };
        let mut file = tokio::fs::File::open(file).await.map_err(|error| failed(Box::new(error)))?;
        let metadata = ObjectMetadata {
            name: key.to_string(),
            chunk_size: Some(CHUNK_SIZE),
            ..ObjectMetadata::default()
        };
        let started = Instant::now();
        let info =
            self.packs().await?.put(metadata, &mut file).await.map_err(|error| failed(Box::new(error)))?;
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
    /// The client's own way to read an object makes a consumer, which the agents may not: see [`crate::access`].
    ///
    /// # Errors
    /// [`BusError::Pack`] when the store can't be read, the file can't be written or the pack is damaged.
    #[tracing::instrument(skip_all)]
    pub async fn get_pack(&self, key: &BatchKey, file: &Path) -> Result<bool, BusError> {
        let failed = |source: Source| BusError::Pack { name: key.to_string(), action: "bringing it", source };
        let Some(info) = self.pack_info(key, "bringing it").await? else { return Ok(false) };
        let mut file = tokio::fs::File::create(file).await.map_err(|error| failed(Box::new(error)))?;
        let stream = self.pack_stream().await?;
        let (mut read, mut digest) = (0, Sha256::new());
        let subject = pieces(&info.nuid);
        let ask = |after| stream.direct_get_next_for_subject(subject.as_str(), Some(after + 1));
        let mut piece = ask(0).await;
        while read < info.size {
            let now = match piece {
                Ok(now) => now,
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => {
                    return match self.pack_info(key, "bringing it").await? {
                        Some(now) if now.nuid == info.nuid => {
                            Err(failed("the replica that was asked does not have all of it yet".into()))
                        }
                        // Deleted meanwhile.
                        Some(_) | None => Ok(false),
                    };
                }
                Err(error) => return Err(failed(Box::new(error))),
            };
            read += now.payload.len();
            let take = async {
                digest.update(&now.payload);
                file.write_all(&now.payload).await
            };
            // The next piece comes while this one is looked at.
            let next = async { if read < info.size { Some(ask(now.sequence).await) } else { None } };
            let (next, taken) = tokio::join!(next, take);
            taken.map_err(|error| failed(Box::new(error)))?;
            let Some(next) = next else { break };
            piece = next;
        }
        file.flush().await.map_err(|error| failed(Box::new(error)))?;
        let digest = format!("SHA-256={}", BASE64URL.encode(&digest.finalize()));
        if read != info.size || info.digest.is_some_and(|known| known != digest) {
            return Err(failed("its digest is another than when it was stored".into()));
        }
        Ok(true)
    }

    /// Deletes the packs of a request that nobody will need: what an agent leaves that dies between storing a pack and
    /// telling of it.
    ///
    /// # Errors
    /// [`BusError::Pack`] when the store can't be asked.
    pub async fn delete_stray_packs(&self, scan: &RepositoryScan) -> Result<(), BusError> {
        for key in self.list_packs().await? {
            if key.request == scan.id && scan.is_stray(&key.batch) {
                self.delete_pack(&key).await?;
            }
        }
        Ok(())
    }

    /// The names of all packs.
    async fn list_packs(&self) -> Result<Vec<BatchKey>, BusError> {
        let failed = |source: Source| BusError::Pack { name: "(all)".into(), action: "listing", source };
        let listed = self.pack_stream().await?.info_with_subjects(format!("{ENTRIES}>")).await;
        let mut subjects = listed.map_err(|error| failed(Box::new(error)))?;
        let mut packs = Vec::new();
        while let Some((subject, _)) = subjects.try_next().await.map_err(|error| failed(Box::new(error)))? {
            let name = subject.strip_prefix(ENTRIES).and_then(|name| BASE64URL.decode(name.as_bytes()).ok());
            packs.extend(name.and_then(|name| String::from_utf8_lossy(&name).parse().ok()));
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
        let Some(info) = self.pack_info(key, "deleting it").await? else { return Ok(()) };
        let stream = self.pack_stream().await?;
        let purge = async |subject: String| {
            stream.purge().filter(subject).await.map_err(|error| failed(Box::new(error)))
        };
        purge(pieces(&info.nuid)).await?;
        crate::fail::point(format_args!("pack.pieces-deleted"));
        purge(entry(key)).await?;
        Ok(())
    }

    /// How many messages each object's pieces take, by the id of the pieces.
    async fn count_pieces(&self) -> Result<HashMap<String, usize>, BusError> {
        let failed = |source: Source| BusError::Pack { name: "(all)".into(), action: "listing", source };
        let listed = self.pack_stream().await?.info_with_subjects(pieces("*")).await;
        let mut subjects = listed.map_err(|error| failed(Box::new(error)))?;
        let mut counts = HashMap::new();
        while let Some((subject, count)) =
            subjects.try_next().await.map_err(|error| failed(Box::new(error)))?
        {
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
        for key in bus.list_packs().await? {
            if let Some(info) = bus.pack_info(&key, "looking at it").await? {
                counts.remove(&info.nuid);
            }
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
                bus.pack_stream().await?.purge().filter(pieces(id)).await.map_err(|error| {
                    BusError::Pack {
                        name: id.clone(),
                        action: "deleting the pieces of",
                        source: Box::new(error),
                    }
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
    format!("{ENTRIES}{}", BASE64URL.encode(key.to_string().as_bytes()))
}

fn pieces(id: &str) -> String {
    format!("{PIECES}{id}")
}
