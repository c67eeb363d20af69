//! Git for secretscan: histories, introductions, batch archives, mirrors, and offline scans. Blocking.
//!
//! An *introduction* is a commit that has a blob at a path where none of its parents has the same blob. Findings are
//! attributed by introductions, so they do not depend on how a history is cut into batches: [`scan_archive`] over all
//! batches of a [`BatchCutter`] says together what [`scan_history`] says.
//!
//! The decision worth knowing: the `git` program lists commits and writes packs, because it does so several times faster
//! than a library does, and has the word on trees that are not as Git writes them; gix-pack reads and makes indexes of packs, gix-index
//! reads the index, and libgit2 opens repositories. The price: a `git` of 2.34 or later must be installed. Child processes get a clean environment, and nothing
//! but a mirror's fetch reaches the network.

mod arrivals;
mod attribution;
mod authors;
mod batch;
mod checkout;
mod command;
mod compare;
mod delta;
mod diff_tree;
mod error;
mod fetch;
mod history;
mod index;
mod indexer;
mod introductions;
mod kept;
mod listing;
mod loose;
mod manifest;
mod mirror;
mod numbers;
mod objects;
mod offline;
mod pack;
mod pack_file;
mod parallel;
mod push;
mod remote_refs;
mod repository;
mod said;
mod scan;
mod settings;
mod staged;
mod texts;
mod tips;
mod traversal;
mod tree_entry;
mod trees;

pub use arrivals::{Arrival, Arrivals, arrivals};
pub use attribution::{FindingSink, LocatedFinding, Origin};
pub use authors::{Authorship, authorship};
pub use batch::{BatchCutter, BatchLimits, ComparedTrees, CutBatch};
pub use checkout::Checkout;
pub use command::ChildLimits;
pub use error::GitError;
pub use fetch::{Credentials, FetchError, FetchLimits, FetchProgress, HostToken, Order};
pub use history::{CommitEntry, Refs, list};
pub use indexer::called_by_git;
pub use introductions::{Introduction, introductions};
pub use listing::list_mirror;
pub use loose::{scan_content, scan_directory, scan_message};
pub use mirror::{Mirror, MirrorCache};
pub use offline::{Selection, scan_history};
pub use push::{Push, PushedRef};
pub use remote_refs::remote_refs;
pub use repository::refs;
pub use scan::{ScanOptions, ScanReport, archive_commits, scan_archive};
pub use settings::Settings;
pub use staged::Staged;
pub use texts::COMMIT_MESSAGE;
pub use tips::Tips;
