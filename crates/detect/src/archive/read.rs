//! Decompression as a stream.

use std::cell::Cell;
use std::io::{self, Read};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// A decoder may need so much memory for its window.
const MAX_WINDOW_BYTES: u64 = 32 << 20;

/// The message of the error that ends a stream.
pub(super) const OUT_OF_BUDGET: &str = "the archive unpacks to too much";

/// How a file is compressed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Bzip2,
    Xz,
    Zstandard,
}

impl Compression {
    pub(super) fn of(content: &[u8]) -> Option<Self> {
        // RFC 1952 2.3.1; bzip2: signature, level, block signature; The .xz File Format 2.1.1.1; RFC 8878 3.1.1.
        if content.starts_with(b"\x1F\x8B\x08") {
            Some(Self::Gzip)
        } else if content.starts_with(b"BZh") && content.get(4..10) == Some(b"1AY&SY") {
            Some(Self::Bzip2)
        } else if content.starts_with(b"\xFD7zXZ\0") {
            Some(Self::Xz)
        } else if content.starts_with(b"\x28\xB5\x2F\xFD") {
            Some(Self::Zstandard)
        } else {
            None
        }
    }

    pub(super) fn reader(self, content: &[u8]) -> Box<dyn Read + '_> {
        match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(content)),
            Self::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(content)),
            Self::Xz => {
                let options = liblzma::stream::CONCATENATED;
                match liblzma::stream::Stream::new_stream_decoder(MAX_WINDOW_BYTES + (1 << 20), options) {
                    Ok(stream) => Box::new(liblzma::bufread::XzDecoder::new_stream(content, stream)),
                    Err(error) => Box::new(Failing(error.to_string())),
                }
            }
            Self::Zstandard => Box::new(Frames { rest: content, frame: None }),
        }
    }
}

/// What can't even be begun.
struct Failing(String);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other(self.0.clone()))
    }
}

/// The frames of a Zstandard file, one after the other.
struct Frames<'a> {
    rest: &'a [u8],
    frame: Option<StreamingDecoder<&'a [u8], FrameDecoder>>,
}

impl Read for Frames<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            let Some(frame) = &mut self.frame else {
                if self.rest.is_empty() {
                    return Ok(0);
                }
                let frame = StreamingDecoder::new_with_max_window_size(self.rest, MAX_WINDOW_BYTES);
                self.frame = Some(frame.map_err(io::Error::other)?);
                continue;
            };
            let read = frame.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            self.rest = self.frame.take().map_or(&[], StreamingDecoder::into_inner);
        }
        Ok(0)
    }
}

/// A reader that ends with an error when a budget that it shares with others is spent.
pub(super) struct Metered<'a, R> {
    inner: R,
    left: &'a Cell<u64>,
}

impl<'a, R> Metered<'a, R> {
    pub(super) fn new(inner: R, left: &'a Cell<u64>) -> Self {
        Self { inner, left }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.get().checked_sub(read as u64) {
            Some(left) => self.left.set(left),
            None => {
                self.left.set(0);
                return Err(io::Error::other(OUT_OF_BUDGET));
            }
        }
        Ok(read)
    }
}
