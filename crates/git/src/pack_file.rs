//! The file of a pack, read piece by piece.
//!
//! Not mapped: every page of a pack is touched once, and mapped pages count as the memory of the process until it ends.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use gix_hash::Kind as IdKind;
use gix_pack::data::Entry;
use gix_zlib::{Decompress, FlushDecompress, Status};

/// No header is longer: a size of ten bytes, and a distance of ten bytes or an id of 32.
const MAX_HEADER: u64 = 48;
/// So much is read at once of an object: most are shorter.
const PIECE: u64 = 64 << 10;
/// The same where headers are read, one after the other.
const HEADER_PIECE: u64 = 256 << 10;

/// The file of a pack, open.
pub(crate) struct PackFile {
    file: File,
    ids: IdKind,
    end: u64,
}

impl PackFile {
    /// Opens a pack with ids of this kind, whose last object ends at `end` at the latest.
    pub fn open(path: &Path, ids: IdKind, end: u64) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, ids, end })
    }

    /// Where its objects end.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Reads from `start` on, up to a size and no further than the objects go.
    fn read<'p>(&self, start: u64, len: u64, piece: &'p mut Vec<u8>) -> io::Result<&'p [u8]> {
        let len = self.end.saturating_sub(start).min(len) as usize;
        if piece.len() < len {
            piece.resize(len, 0);
        }
        self.file.read_exact_at(&mut piece[..len], start)?;
        Ok(&piece[..len])
    }
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// The headers of objects, read in the order of their offsets.
pub(crate) struct Headers<'a> {
    file: &'a PackFile,
    piece: Vec<u8>,
    /// What of the file the piece holds.
    held: Range<u64>,
}

impl<'a> Headers<'a> {
    /// Those in this file.
    pub fn new(file: &'a PackFile) -> Self {
        Self { file, piece: Vec::new(), held: 0..0 }
    }

    /// The header of the object at this offset.
    pub fn at(&mut self, offset: u64) -> io::Result<Entry> {
        let end = offset.saturating_add(MAX_HEADER).min(self.file.end);
        if offset < self.held.start || end > self.held.end {
            let read = self.file.read(offset, HEADER_PIECE, &mut self.piece)?;
            self.held = offset..offset + read.len() as u64;
        }
        let held = &self.piece[..(self.held.end - self.held.start) as usize];
        let header = held.get((offset - self.held.start) as usize..).unwrap_or_default();
        Entry::from_bytes(header, offset, self.file.ids).map_err(invalid)
    }
}

/// Inflates objects.
#[derive(Default)]
pub(crate) struct Inflater {
    state: Decompress,
    piece: Vec<u8>,
}

impl Inflater {
    /// Inflates the object that is stored there into `out`, which must have the size that its header says.
    pub fn inflate(&mut self, file: &PackFile, stored: Range<u64>, out: &mut [u8]) -> io::Result<()> {
        let other_size = || invalid("an object has another size than it claims");
        self.state.reset();
        let mut next = stored.start;
        while next < stored.end {
            let piece = file.read(next, PIECE.min(stored.end - next), &mut self.piece)?;
            let mut input = piece;
            if next == stored.start {
                let header = Entry::from_bytes(piece, next, file.ids).map_err(invalid)?;
                input = piece.get((header.data_offset - next) as usize..).unwrap_or_default();
            }
            let (read, written) = (self.state.total_in(), self.state.total_out() as usize);
            let status = self.state.decompress(input, &mut out[written..], FlushDecompress::None);
            if status.map_err(invalid)? == Status::StreamEnd {
                return if self.state.total_out() == out.len() as u64 { Ok(()) } else { Err(other_size()) };
            }
            if self.state.total_in() - read < input.len() as u64 || piece.is_empty() {
                return Err(other_size());
            }
            next += piece.len() as u64;
        }
        Err(other_size())
    }
}
