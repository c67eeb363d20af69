//! What archives and compressed files hold.
//!
//! The first bytes tell what a content is, names do not count. Archives are made to be small and may be made to harm, so
//! everything is bounded, and what a bound cuts off is told. The decision worth knowing: members are read one after the
//! other and one file at a time is held for each level of nesting; a compressed tar file is never held as a whole.

mod read;

use std::cell::Cell;
use std::io::{self, Cursor, Read};

use read::{Compression, Metered, OUT_OF_BUDGET};

/// The greatest size of one member. Of a larger one the first bytes are scanned.
const MAX_MEMBER_BYTES: u64 = 32 << 20;
/// So much is unpacked from one content at most...
const MAX_TOTAL_BYTES: u64 = 256 << 20;
/// ...and no more than so many times its size,
const MAX_RATIO: u64 = 200;
/// but this much of small ones.
const MIN_TOTAL_BYTES: u64 = 16 << 20;
/// How many members are looked at.
const MAX_MEMBERS: u32 = 100_000;
/// How many gaps are told one by one.
const MAX_UNREAD: usize = 100;
/// Longer names are cut.
const MAX_NAME_BYTES: usize = 1024;

/// Something in an archive that was not scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Where in the archive, `!` between the names of nested ones; empty for the content itself.
    pub member: Vec<u8>,
    /// Why, for people.
    pub reason: String,
}

/// Calls `visit` with the path and the content of each file in the archive that `content` is, and of those in archives
/// therein, `depth` deep; returns what was not reached. A compressed file is one that holds a single file with an empty
/// name; around a tar file the compression does not count.
pub(crate) fn for_each_member(content: &[u8], depth: u8, visit: &mut dyn FnMut(&[u8], &[u8])) -> Vec<Unread> {
    let Some(kind) = Kind::of(content).filter(|_| depth > 0) else { return Vec::new() };
    let budget = MIN_TOTAL_BYTES.max((content.len() as u64).saturating_mul(MAX_RATIO)).min(MAX_TOTAL_BYTES);
    let mut walk = Walk { budget: &Cell::new(budget), members: 0, unread: Vec::new(), is_full: false, visit };
    walk.open(kind, content, &[], depth);
    walk.unread
}

/// What a content is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Zip,
    Tar,
    Compressed(Compression),
}

impl Kind {
    fn of(content: &[u8]) -> Option<Self> {
        // APPNOTE.TXT 4.3.7; POSIX.1 pax, "ustar Interchange Format".
        if content.starts_with(b"PK\x03\x04") {
            return Some(Self::Zip);
        }
        if content.get(257..262) == Some(b"ustar") {
            return Some(Self::Tar);
        }
        Compression::of(content).map(Self::Compressed)
    }
}

struct Walk<'a> {
    /// How many bytes may still be unpacked.
    budget: &'a Cell<u64>,
    members: u32,
    unread: Vec<Unread>,
    /// Whether no more is told.
    is_full: bool,
    visit: &'a mut dyn FnMut(&[u8], &[u8]),
}

impl Walk<'_> {
    fn open(&mut self, kind: Kind, content: &[u8], path: &[u8], depth: u8) {
        match kind {
            _ if depth == 0 => self.leave_out(path, "an archive nested too deep"),
            Kind::Zip => self.open_zip(content, path, depth),
            Kind::Tar => self.open_tar(content, path, depth),
            Kind::Compressed(compression) => self.open_compressed(compression, content, path, depth),
        }
    }

    fn open_compressed(&mut self, compression: Compression, content: &[u8], path: &[u8], depth: u8) {
        let mut reader = Metered::new(compression.reader(content), self.budget);
        let mut head = Vec::new();
        // A failure comes again with the next read.
        let _ = reader.by_ref().take(512).read_to_end(&mut head);
        let is_tar = Kind::of(&head) == Some(Kind::Tar);
        let reader = Cursor::new(head).chain(reader);
        if is_tar {
            self.open_tar(reader, path, depth);
        } else if let Some(content) = self.read(reader, path) {
            self.member(&content, path, depth);
        }
    }

    fn open_tar(&mut self, reader: impl Read, path: &[u8], depth: u8) {
        let mut archive = tar::Archive::new(reader);
        let entries = match archive.entries() {
            Ok(entries) => entries,
            Err(error) => return self.leave_out(path, reason(&error)),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.leave_out(path, reason(&error)),
            };
            let kind = entry.header().entry_type();
            if !(kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse()) {
                continue;
            }
            let name = join(path, &entry.path_bytes());
            if !self.count(path) {
                return;
            }
            if let Some(content) = self.read(entry, &name) {
                self.member(&content, &name, depth);
            }
        }
    }

    fn open_zip(&mut self, content: &[u8], path: &[u8], depth: u8) {
        let mut archive = match zip::ZipArchive::new(Cursor::new(content)) {
            Ok(archive) => archive,
            Err(error) => return self.leave_out(path, format!("damaged: {error}")),
        };
        for index in 0..archive.len() {
            if !self.count(path) {
                return;
            }
            let name = archive.name_for_index(index).and_then(Result::ok);
            let name = join(path, name.as_deref().unwrap_or("?").as_bytes());
            let content = match archive.by_index(index) {
                Ok(file) if file.is_file() => self.read(Metered::new(file, self.budget), &name),
                Ok(_) => continue,
                Err(zip::result::ZipError::UnsupportedArchive(zip::result::ZipError::PASSWORD_REQUIRED)) => {
                    self.leave_out(&name, "encrypted");
                    continue;
                }
                Err(error) => {
                    self.leave_out(&name, format!("damaged: {error}"));
                    continue;
                }
            };
            if let Some(content) = content {
                self.member(&content, &name, depth);
            }
        }
    }

    fn member(&mut self, content: &[u8], path: &[u8], depth: u8) {
        (self.visit)(path, content);
        if let Some(kind) = Kind::of(content) {
            self.open(kind, content, path, depth - 1);
        }
    }

    /// Reads one file, or what can be had of it; `None` if that is nothing.
    fn read(&mut self, reader: impl Read, path: &[u8]) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        if let Err(error) = reader.take(MAX_MEMBER_BYTES + 1).read_to_end(&mut content) {
            self.leave_out(path, format!("{}, after {} bytes", reason(&error), content.len()));
        }
        if content.len() as u64 > MAX_MEMBER_BYTES {
            content.truncate(MAX_MEMBER_BYTES as usize);
            self.leave_out(path, format!("what comes after the first {MAX_MEMBER_BYTES} bytes"));
        }
        (!content.is_empty()).then_some(content)
    }

    /// Whether one more member may be looked at.
    fn count(&mut self, path: &[u8]) -> bool {
        let is_left = self.budget.get() > 0 && self.members < MAX_MEMBERS;
        self.members += 1;
        if !is_left {
            self.leave_out(path, "further members: the archive unpacks to too much");
        }
        is_left
    }

    fn leave_out(&mut self, path: &[u8], reason: impl Into<String>) {
        if self.unread.len() < MAX_UNREAD {
            self.unread.push(Unread { member: path.to_vec(), reason: reason.into() });
        } else if !self.is_full {
            self.is_full = true;
            self.unread.push(Unread { member: Vec::new(), reason: "more of the archive".to_owned() });
        }
    }
}

fn reason(error: &io::Error) -> String {
    let is_out = error.get_ref().is_some_and(|inner| inner.to_string() == OUT_OF_BUDGET);
    if is_out { OUT_OF_BUDGET.to_owned() } else { format!("damaged: {error}") }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let name = &name[..name.len().min(MAX_NAME_BYTES)];
    if path.is_empty() { name.to_vec() } else { [path, name].join(&b'!') }
}
