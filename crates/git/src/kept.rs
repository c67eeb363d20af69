//! Files that a mirror has beside what is Git's: what was found out about it, so that it need not be found out again. They go
//! with the mirror, and one that is not as this program writes it counts as absent.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::slice::ChunksExact;

/// Reads such a file, one value after the other.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Of these bytes, if they begin as they must.
    pub fn new(bytes: &'a [u8], magic: &[u8]) -> Option<Self> {
        bytes.strip_prefix(magic).map(Self)
    }

    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn count(&mut self) -> Option<usize> {
        usize::try_from(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?)).ok()
    }

    /// A count, and as many parts of a length.
    pub fn parts(&mut self, length: usize) -> Option<ChunksExact<'a, u8>> {
        let bytes = self.count()?.checked_mul(length)?;
        Some(self.bytes(bytes)?.chunks_exact(length))
    }

    /// Whether all of it was read.
    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

/// The content of a file of a mirror.
pub(crate) fn read(mirror: &Path, name: &str) -> Option<Vec<u8>> {
    fs::read(mirror.join(name)).ok()
}

/// Writes a file of a mirror, at once for whoever reads it.
pub(crate) fn write(
    mirror: &Path,
    name: &str,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(mirror)?;
    let mut writer = BufWriter::new(file.as_file_mut());
    write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    file.persist(mirror.join(name))?;
    Ok(())
}

/// As [`Reader::count`] reads it.
pub(crate) fn write_count(to: &mut dyn Write, count: usize) -> io::Result<()> {
    to.write_all(&(count as u64).to_le_bytes())
}
