//! Known repositories, and who fetches one now.

use secretscan_model::{Repository, RepositoryId, RepositoryScan, RepositoryUri, RequestId};
use uuid::Uuid;

use crate::{Bus, BusError, now};

/// The id of the repository with this canonical name: a UUID version 5 (RFC 9562), whose name space is that of a domain name
/// of ours.
pub fn repository_id(name: &str) -> RepositoryId {
    let space = Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"repository.secretscan");
    let id = Uuid::new_v5(&space, name.as_bytes());
    RepositoryId::parse(&id.to_string()).expect("a UUID is an id")
}

impl Bus {
    /// The repository of a URI; created when it is not known.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be written.
    pub async fn know_repository(&self, uri: &RepositoryUri) -> Result<RepositoryId, BusError> {
        let id = repository_id(uri.name());
        if self.repositories.get(id.as_str()).await?.is_none() {
            let repository = Repository {
                id: id.clone(),
                name: uri.name().to_owned(),
                uri: uri.fetch().to_owned(),
                created: now(),
                fetching: None,
                joined: None,
                scanned: None,
            };
            self.repositories.create(id.as_str(), &repository).await?;
        }
        Ok(id)
    }

    /// The repository of a URI, if it is known.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn find_repository(&self, uri: &RepositoryUri) -> Result<Option<Repository>, BusError> {
        self.repository_named(uri.name()).await
    }

    /// The repository with this canonical name, if it is known.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn repository_named(&self, name: &str) -> Result<Option<Repository>, BusError> {
        self.repository(&repository_id(name)).await
    }

    /// A known repository.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn repository(&self, id: &RepositoryId) -> Result<Option<Repository>, BusError> {
        Ok(self.repositories.get(id.as_str()).await?.map(|record| record.value))
    }

    /// All known repositories.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be read.
    pub async fn repositories(&self) -> Result<Vec<Repository>, BusError> {
        Ok(self.repositories.list(">").await?.into_iter().map(|(_, repository)| repository).collect())
    }

    /// Lets a request fetch a repository, if no other does, and gives who may fetch it now. A holder that is past fetching
    /// loses its hold.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be written.
    pub async fn hold_fetch(&self, id: &RepositoryId, request: &RequestId) -> Result<RequestId, BusError> {
        loop {
            let Some(mut record) = self.repositories.get(id.as_str()).await? else {
                return Err(BusError::Missing { what: "repository", key: id.to_string() });
            };
            if let Some(holder) = record.value.fetching.take()
                && (holder == *request || !self.is_past_fetching(&holder).await?)
            {
                return Ok(holder);
            }
            record.value.fetching = Some(request.clone());
            if self.repositories.update(id.as_str(), &record.value, record.revision).await?.is_some() {
                crate::fail::point(format_args!("repository.held"));
                return Ok(request.clone());
            }
        }
    }

    /// Names the request that pushes to a repository join from now on, if it is still `before` that they join. Gives the
    /// one that they join now.
    ///
    /// # Errors
    /// [`BusError`] when the bucket can't be written.
    pub async fn let_join(
        &self,
        id: &RepositoryId,
        before: Option<&RequestId>,
        next: &RequestId,
    ) -> Result<RequestId, BusError> {
        loop {
            let Some(mut record) = self.repositories.get(id.as_str()).await? else {
                return Err(BusError::Missing { what: "repository", key: id.to_string() });
            };
            if let Some(joined) = record.value.joined.take()
                && Some(&joined) != before
            {
                return Ok(joined);
            }
            record.value.joined = Some(next.clone());
            if self.repositories.update(id.as_str(), &record.value, record.revision).await?.is_some() {
                crate::fail::point(format_args!("repository.joined"));
                return Ok(next.clone());
            }
        }
    }

    /// Lets another request fetch the repository; and notes that all of it is scanned, if this request did that.
    pub(crate) async fn release_fetch(
        &self,
        id: &RepositoryId,
        scan: &RepositoryScan,
    ) -> Result<(), BusError> {
        loop {
            let Some(mut record) = self.repositories.get(id.as_str()).await? else { return Ok(()) };
            let is_held = record.value.fetching.as_ref() == Some(&scan.id);
            let is_first = record.value.scanned.is_none() && scan.is_whole();
            if !is_held && !is_first {
                return Ok(());
            }
            if is_held {
                record.value.fetching = None;
            }
            if is_first {
                record.value.scanned = Some(now());
            }
            if self.repositories.update(id.as_str(), &record.value, record.revision).await?.is_some() {
                crate::fail::point(format_args!("repository.released"));
                return Ok(());
            }
        }
    }
}
