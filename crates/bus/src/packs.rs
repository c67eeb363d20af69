//! The packs of commit batches in the object store.

use std::path::Path;

use async_nats::jetstream::object_store::{DeleteErrorKind, ObjectMetadata};
use futures::StreamExt;
use secretscan_model::{BatchKey, RepositoryScan};

use crate::{Bus, BusError};

/// Size of the messages that an object is cut into, in bytes: the store confirms each before it takes the next, so large
/// ones cost fewer round trips.
const CHUNK_SIZE: usize = 512 * 1024;

impl Bus {
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
        self.packs.put(metadata, &mut file).await.map_err(|error| failed(Box::new(error)))?;
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
            Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(Box::new(error))),
        };
        let mut file = tokio::fs::File::create(file).await.map_err(|error| failed(Box::new(error)))?;
        tokio::io::copy(&mut object, &mut file).await.map_err(|error| failed(Box::new(error)))?;
        tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(|error| failed(Box::new(error)))?;
        Ok(true)
    }

    /// Deletes the packs of a request that belong to none of its batches: what an agent leaves that dies between
    /// storing a pack and telling of it.
    ///
    /// # Errors
    /// [`BusError::Pack`] when the store can't be asked.
    pub async fn delete_stray_packs(&self, scan: &RepositoryScan) -> Result<(), BusError> {
        let failed =
            |source| BusError::Pack { name: scan.id.to_string(), action: "listing its packs", source };
        let mut objects = self.packs.list().await.map_err(|error| failed(Box::new(error)))?;
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| failed(Box::new(error)))?;
            if let Ok(key) = object.name.parse::<BatchKey>()
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
        match self.packs.delete(key.to_string()).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == DeleteErrorKind::NotFound => Ok(()),
            Err(error) => {
                Err(BusError::Pack { name: key.to_string(), action: "deleting it", source: Box::new(error) })
            }
        }
    }
}
