//! The packs of commit batches in the object store.

use std::path::Path;

use async_nats::jetstream::object_store::{DeleteErrorKind, InfoErrorKind, ObjectMetadata, ObjectStore};
use async_nats::jetstream::stream::DirectGetErrorKind;
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

    /// Stores the pack of a batch from a file. Storing it again replaces it.
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
        self.packs().await?.put(metadata, &mut file).await.map_err(|error| failed(Box::new(error)))?;
        Ok(())
    }

    /// Brings the pack of a batch into a file; its digest is checked. `false` when there is none.
    ///
    /// The client's own way to read an object makes a consumer, which the agents may not: see [`crate::access`].
    ///
    /// # Errors
    /// [`BusError::Pack`] when the store can't be read, the file can't be written or the pack is damaged.
    pub async fn get_pack(&self, key: &BatchKey, file: &Path) -> Result<bool, BusError> {
        let failed = |source: Source| BusError::Pack { name: key.to_string(), action: "bringing it", source };
        let info = match self.packs().await?.info(key.to_string()).await {
            Ok(info) if !info.deleted => info,
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == InfoErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(Box::new(error))),
        };
        let mut file = tokio::fs::File::create(file).await.map_err(|error| failed(Box::new(error)))?;
        let stream = self.jetstream.get_stream_no_info(format!("OBJ_{}", topology::PACKS)).await;
        let stream = stream.map_err(|error| failed(Box::new(error)))?;
        let (mut read, mut next, mut digest) = (0, 1, Sha256::new());
        let subject = format!("$O.{}.C.{}", topology::PACKS, info.nuid);
        while read < info.size {
            let chunk = match stream.direct_get_next_for_subject(subject.as_str(), Some(next)).await {
                Ok(chunk) => chunk,
                // Deleted, or replaced, meanwhile.
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(failed(Box::new(error))),
            };
            digest.update(&chunk.payload);
            file.write_all(&chunk.payload).await.map_err(|error| failed(Box::new(error)))?;
            (read, next) = (read + chunk.payload.len(), chunk.sequence + 1);
        }
        file.flush().await.map_err(|error| failed(Box::new(error)))?;
        let digest = format!("SHA-256={}", BASE64URL.encode(&digest.finalize()));
        if read != info.size || info.digest.is_some_and(|known| known != digest) {
            return Err(failed("its digest is another than when it was stored".into()));
        }
        Ok(true)
    }

    /// Deletes the packs of a request that belong to none of its batches: what an agent leaves that dies between
    /// storing a pack and telling of it.
    ///
    /// # Errors
    /// [`BusError::Pack`] when the store can't be asked.
    pub async fn delete_stray_packs(&self, scan: &RepositoryScan) -> Result<(), BusError> {
        let failed = |source: Source| BusError::Pack {
            name: scan.id.to_string(),
            action: "listing its packs",
            source,
        };
        let stream = self.jetstream.get_stream_no_info(format!("OBJ_{}", topology::PACKS)).await;
        let stream = stream.map_err(|error| failed(Box::new(error)))?;
        let prefix = format!("$O.{}.M.", topology::PACKS);
        let listed = stream.info_with_subjects(format!("{prefix}>")).await;
        let mut subjects = listed.map_err(|error| failed(Box::new(error)))?;
        while let Some((subject, _)) = subjects.try_next().await.map_err(|error| failed(Box::new(error)))? {
            let name = subject.strip_prefix(&prefix).and_then(|name| BASE64URL.decode(name.as_bytes()).ok());
            if let Some(Ok(key)) =
                name.as_deref().map(String::from_utf8_lossy).map(|name| name.parse::<BatchKey>())
                && key.request == scan.id
                && !scan.batches.contains_key(&key.batch)
            {
                self.delete_pack(&key).await?;
            }
        }
        Ok(())
    }

    /// Deletes the pack of a batch, if there is one.
    ///
    /// # Errors
    /// [`BusError::Pack`] when the store can't be asked.
    pub async fn delete_pack(&self, key: &BatchKey) -> Result<(), BusError> {
        match self.packs().await?.delete(key.to_string()).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == DeleteErrorKind::NotFound => Ok(()),
            Err(error) => {
                Err(BusError::Pack { name: key.to_string(), action: "deleting it", source: Box::new(error) })
            }
        }
    }
}
