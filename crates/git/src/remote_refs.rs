//! The refs that a host has, without fetching anything.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::fetch::{Bounds, FetchError, FetchLimits, Order, check_uri, connection, run};
use crate::mirror::{at_either_name, trust};
use crate::said::OwnWords;

/// A longer list is refused, in bytes: some million refs.
const MAX_LIST: u64 = 256 << 20;

/// Every ref under `refs/` that the host has, with the id it holds (a tag's own id for annotated tags), as the host lists
/// them. After a fetch, a mirror has the same ones.
///
/// # Errors
/// [`FetchError::is_transient`] says whether to try again.
pub fn remote_refs(order: &Order<'_>, stop: &AtomicBool) -> Result<Vec<(String, String)>, FetchError> {
    check_uri(order.uri, order.allow_local)?;
    let dir = tempfile::tempdir().map_err(FetchError::io("make a directory in", std::env::temp_dir()))?;
    let list = dir.path().join("refs");
    let limits = FetchLimits { max_bytes: MAX_LIST, ..order.limits };
    let bounds = Bounds { limits, started: Instant::now(), stop };
    at_either_name(order.uri, |uri| {
        // Not a repository: nothing of where this process stands is read.
        let mut command = connection(dir.path(), uri, order);
        command.args(["ls-remote", "--refs", "--", uri]);
        command.stdout(File::create(&list).map_err(FetchError::io("make", &list))?);
        trust(uri, dir.path(), &mut command)?;
        run(command, dir.path(), &bounds, OwnWords::new(uri, order.credentials), &mut |_| {})
    })?;
    let read = || -> std::io::Result<Vec<(String, String)>> {
        let mut refs = Vec::new();
        for line in BufReader::new(File::open(&list)?).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            if let Some((id, name)) = line.split_once('\t') {
                refs.push((name.to_owned(), id.to_owned()));
            }
        }
        Ok(refs)
    };
    read().map_err(FetchError::io("read", &list))
}
