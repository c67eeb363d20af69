//! The same work on many items, on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::error::GitError;
use crate::scan::ScanOptions;

/// What the work gives for each item, in order. `worker` makes what does it, once for each thread, since libgit2's
/// handles are not shared between threads.
pub(crate) fn map<T: Sync, R: Send, W: FnMut(&T) -> R>(
    items: &[T],
    options: &ScanOptions<'_>,
    worker: impl Fn() -> Result<W, GitError> + Sync,
) -> Result<Vec<R>, GitError> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut work = worker()?;
        let mut done = Vec::new();
        while let n = next.fetch_add(1, Ordering::Relaxed)
            && let Some(item) = items.get(n)
        {
            if options.stop.load(Ordering::Relaxed) {
                return Err(GitError::Stopped);
            }
            done.push((n, work(item)));
        }
        Ok(done)
    };
    let mut all = Vec::with_capacity(items.len());
    let threads = options.threads.max(1).min(items.len());
    if threads == 1 {
        return Ok(run()?.into_iter().map(|(_, result)| result).collect());
    }
    thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        started.into_iter().try_for_each(|thread| {
            all.extend(thread.join().expect("no work panics")?);
            Ok::<_, GitError>(())
        })
    })?;
    all.sort_unstable_by_key(|(n, _)| *n);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}
