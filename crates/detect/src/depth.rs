//! How deep a scan looks into forms of content that hold other content.

/// How deep to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// So many encodings around one another are decoded: base64, hexadecimal, percent, and escapes of programming
    /// languages, HTML and XML. None when 0.
    pub decode: u8,
    /// Archives in so many archives are opened: zip and what is made of it, tar, gzip, bzip2, xz, Zstandard. None when 0.
    pub archive: u8,
}

impl Default for Depth {
    fn default() -> Self {
        Self { decode: 5, archive: 4 }
    }
}
