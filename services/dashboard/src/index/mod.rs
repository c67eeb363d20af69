//! A copy of the buckets in an embedded database, for lists: what they sort and filter by.
//!
//! The copy is nobody's truth: it is made anew from the buckets each time the process starts, so it is never migrated, and
//! several dashboards may each have one. One thread writes it, in the order of the buckets; any number of queries read it
//! meanwhile. Where a list is a page of a million rows, an index of the database must have its order: `EXPLAIN QUERY PLAN`
//! of each query is tested.

mod apply;
pub mod cursor;
mod feed;
pub mod queries;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use thiserror::Error;
use tokio::sync::{broadcast, watch};

pub use apply::{Applier, BadRecord};
pub use feed::{Source, feed};

const SCHEMA: &str = include_str!("schema.sql");
const LISTS: &str = include_str!("lists.sql");
/// How many announcements of changes may wait for a reader that is slow.
const CHANGES: usize = 256;
/// Pages of the database that each reader keeps, in KiB.
const READER_CACHE_KIB: i64 = 8 << 10;
const WRITER_CACHE_KIB: i64 = 32 << 10;

/// The database does not do what it should.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The directory of its file can't be used.
    #[error("the index can't be kept in {path}; check index.dir")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A statement fails.
    #[error("the index can't be {action}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
    /// It does not know all records yet.
    #[error("the lists are being made from the records of the system; try again in a moment")]
    Building,
    /// A query was broken off.
    #[error("a query of the index was broken off")]
    Stopped,
}

/// What a commit to the database has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The sources whose records changed.
    pub sources: Vec<Source>,
    /// The requests that changed, if they are few.
    pub requests: Vec<String>,
}

/// The database, for reading. Cheap to clone.
#[derive(Clone)]
pub struct Index(Arc<Inner>);

struct Inner {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
    changed: broadcast::Sender<Changed>,
    caught_up: watch::Sender<bool>,
    /// Grows when records of repositories change.
    repositories: AtomicU64,
    /// Removed when the last reader is gone.
    _dir: tempfile::TempDir,
}

impl Index {
    /// Makes an empty database in a directory of its own below this one, and the connection that writes it.
    ///
    /// # Errors
    /// [`IndexError`] when the directory or the database can't be made.
    pub fn create(dir: &Path) -> Result<(Self, Connection), IndexError> {
        let made = std::fs::create_dir_all(dir)
            .and_then(|()| tempfile::Builder::new().prefix("dashboard-").tempdir_in(dir));
        let own = made.map_err(|source| IndexError::Directory { path: dir.to_owned(), source })?;
        let file = own.path().join("index.sqlite");
        let failed = |source| IndexError::Database { action: "made", source };
        let writer = Connection::open(&file).map_err(failed)?;
        // What a crash loses is made anew anyway.
        writer
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -{WRITER_CACHE_KIB};"
            ))
            .and_then(|()| writer.execute_batch(SCHEMA))
            .map_err(failed)?;
        let inner = Inner {
            file,
            idle: Mutex::default(),
            changed: broadcast::Sender::new(CHANGES),
            caught_up: watch::Sender::default(),
            repositories: AtomicU64::default(),
            _dir: own,
        };
        Ok((Self(Arc::new(inner)), writer))
    }

    /// Asks the database, on a thread for work that blocks.
    ///
    /// # Errors
    /// [`IndexError`] when the query fails.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, IndexError> {
        let index = self.clone();
        let asked = tokio::task::spawn_blocking(move || index.read_here(query));
        asked.await.map_err(|_| IndexError::Stopped)?
    }

    /// The same on this thread.
    ///
    /// # Errors
    /// [`IndexError`] when the query fails, or the lists are not made yet.
    pub fn read_here<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, IndexError> {
        if !self.is_caught_up() {
            return Err(IndexError::Building);
        }
        let failed = |source| IndexError::Database { action: "read", source };
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.open().map_err(failed)?,
        };
        let answer = query(&connection).map_err(failed);
        self.idle().push(connection);
        answer
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.0.file, flags)?;
        connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        Ok(connection)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of each change from now on.
    pub fn changes(&self) -> broadcast::Receiver<Changed> {
        self.0.changed.subscribe()
    }

    /// Whether all that the buckets held when the process started is in the database.
    pub fn is_caught_up(&self) -> bool {
        *self.0.caught_up.borrow()
    }

    /// Waits until [`Self::is_caught_up`].
    pub async fn caught_up(&self) {
        let mut caught_up = self.0.caught_up.subscribe();
        // The sender lives as long as the index.
        let _ = caught_up.wait_for(|is_caught_up| *is_caught_up).await;
    }

    /// Makes the lists, once all records are in the database; from here on it can be read.
    ///
    /// # Errors
    /// When the database fails.
    pub fn make_lists(&self, writer: &Connection) -> rusqlite::Result<()> {
        make_lists(writer)?;
        self.0.caught_up.send_replace(true);
        Ok(())
    }

    /// A number that is another one when repositories came, went or changed.
    pub(crate) fn state_of_repositories(&self) -> u64 {
        self.0.repositories.load(Ordering::Acquire)
    }

    fn tell(&self, changed: Changed) {
        if changed.sources.contains(&Source::Repositories) {
            self.0.repositories.fetch_add(1, Ordering::Release);
        }
        // Nobody may be listening.
        let _ = self.0.changed.send(changed);
    }
}

fn make_lists(writer: &Connection) -> rusqlite::Result<()> {
    writer.execute_batch(&format!("BEGIN; {LISTS} COMMIT;"))
}
