//! Scans of content that no repository has: in a plain directory, or at hand as bytes.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use secretscan_detect::{HashKey, Scanner};

use crate::attribution::Origin;
use crate::error::GitError;
use crate::objects::too_large;
use crate::parallel;
use crate::scan::{Scan, ScanOptions, ScanReport};
use crate::texts::COMMIT_MESSAGE;

/// Scans the files of a directory, whether Git knows them or not, without `.git`; or a single file. Symbolic links are
/// not followed. The paths of findings are relative to the directory.
///
/// # Errors
/// When the directory itself can't be read. What can't be read inside is reported as not scanned.
pub fn scan_directory(
    dir: &Path,
    scanner: &Scanner,
    key: &HashKey,
    options: &ScanOptions<'_>,
) -> Result<ScanReport, GitError> {
    let mut scan = Scan::new(scanner, key, *options);
    let mut files = Vec::new();
    if fs::metadata(dir).map_err(GitError::io("look at", dir))?.is_file() {
        files.push((dir.as_os_str().as_bytes().into(), dir.to_path_buf()));
    } else {
        fs::read_dir(dir).map_err(GitError::io("read the directory", dir))?;
        list_files(dir, options, &mut scan, &mut files)?;
    }
    files.sort();
    each(&mut scan, scanner, options, &files, || {
        Ok(|(_, path): &(Arc<[u8]>, PathBuf)| read_file(path, options.max_blob_bytes))
    })?;
    Ok(scan.finish())
}

/// Lists plain files with their paths relative to the top.
fn list_files(
    top: &Path,
    options: &ScanOptions<'_>,
    scan: &mut Scan<'_>,
    files: &mut Vec<(Arc<[u8]>, PathBuf)>,
) -> Result<(), GitError> {
    let mut dirs = vec![top.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        if options.stop.load(Ordering::Relaxed) {
            return Err(GitError::Stopped);
        }
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) => {
                scan.leave_out(dir.display().to_string(), error.to_string());
                continue;
            }
        };
        for entry in entries {
            let (path, kind) = match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
                Ok(found) => found,
                Err(error) => {
                    scan.leave_out(dir.display().to_string(), error.to_string());
                    continue;
                }
            };
            if path.file_name().is_some_and(|name| name == ".git") {
                continue;
            }
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_file() {
                let relative = path.strip_prefix(top).unwrap_or(&path);
                files.push((relative.as_os_str().as_bytes().into(), path));
            }
        }
    }
    Ok(())
}

fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let size = file.metadata().map_err(|e| e.to_string())?.len();
    if size > limit {
        return Err(too_large(size, limit));
    }
    let mut content = Vec::with_capacity(size as usize);
    // The file may grow meanwhile.
    file.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(|e| e.to_string())?;
    if content.len() as u64 > limit { Err(too_large(content.len() as u64, limit)) } else { Ok(content) }
}

/// Scans one content, such as what comes from standard input, under a name that stands for its path.
pub fn scan_content(
    name: &[u8],
    content: &[u8],
    scanner: &Scanner,
    key: &HashKey,
    options: &ScanOptions<'_>,
) -> ScanReport {
    let mut scan = Scan::new(scanner, key, *options);
    scan.add_content(name, content.len() as u64, &scanner.scan_all(content), &Origin::outside_history());
    scan.finish()
}

/// Scans the message of a commit that is yet to be made, as the commit is scanned later.
pub fn scan_message(
    message: &[u8],
    scanner: &Scanner,
    key: &HashKey,
    options: &ScanOptions<'_>,
) -> ScanReport {
    let mut scan = Scan::new(scanner, key, *options);
    scan.add_text(COMMIT_MESSAGE, &scanner.scan(message), &Origin::outside_history());
    scan.finish()
}

/// Reads and scans items on several threads; an item's first part is its path. `reader` makes one reader a thread,
/// which gives the content or says why there is none.
pub(crate) fn each<T, R>(
    scan: &mut Scan<'_>,
    scanner: &Scanner,
    options: &ScanOptions<'_>,
    items: &[(Arc<[u8]>, T)],
    reader: impl Fn() -> Result<R, GitError> + Sync,
) -> Result<(), GitError>
where
    T: Sync,
    R: FnMut(&(Arc<[u8]>, T)) -> Result<Vec<u8>, String>,
{
    let all = parallel::map(items, options, || {
        let mut read = reader()?;
        Ok(move |item: &(Arc<[u8]>, T)| {
            read(item).map(|content| (content.len() as u64, scanner.scan_all(&content)))
        })
    })?;
    for ((path, _), result) in items.iter().zip(all) {
        match result {
            Ok((bytes, scanned)) => scan.add_content(path, bytes, &scanned, &Origin::outside_history()),
            Err(reason) => scan.leave_out_content(path, reason, &Origin::outside_history()),
        }
    }
    Ok(())
}
