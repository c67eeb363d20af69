//! What is kept of the occurrences after the earliest: enough to ask whether they are still there.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Occurrence;
use crate::ids::{BlobId, CommitId};

/// At most this many are kept; 33 bytes each.
pub const MAX_LATER: usize = 500;

/// The first eight bytes of the id of an object: no two in a repository share them but by intent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId([u8; 8]);

impl ShortId {
    fn of(id: &[u8]) -> Self {
        let mut short = [0; 8];
        short.iter_mut().zip(id).for_each(|(short, byte)| *short = *byte);
        Self(short)
    }
}

impl From<&CommitId> for ShortId {
    fn from(id: &CommitId) -> Self {
        Self::of(id.as_bytes())
    }
}

impl From<&BlobId> for ShortId {
    fn from(id: &BlobId) -> Self {
        Self::of(id.as_bytes())
    }
}

impl fmt::Debug for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// A commit and the content that it brought to the path. As text: 16 hexadecimal digits of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShortOccurrence {
    /// The commit.
    pub commit: ShortId,
    /// The content, where it is known.
    pub blob: Option<ShortId>,
}

impl From<&Occurrence> for ShortOccurrence {
    fn from(occurrence: &Occurrence) -> Self {
        Self { commit: (&occurrence.commit).into(), blob: occurrence.blob.as_ref().map(ShortId::from) }
    }
}

impl Serialize for ShortOccurrence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.blob {
            Some(blob) => serializer.collect_str(&format_args!("{:?}{blob:?}", self.commit)),
            None => serializer.collect_str(&format_args!("{:?}", self.commit)),
        }
    }
}

impl<'de> Deserialize<'de> for ShortOccurrence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
        match bytes.len() {
            8 => Ok(Self { commit: ShortId::of(&bytes), blob: None }),
            16 => Ok(Self { commit: ShortId::of(&bytes[..8]), blob: Some(ShortId::of(&bytes[8..])) }),
            _ => Err(serde::de::Error::custom("an occurrence in short has 16 or 32 hexadecimal digits")),
        }
    }
}

/// The occurrences of a finding after the earliest. What is kept depends on the set of occurrences alone, not on the order
/// in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LaterOccurrences {
    /// The date and id of the last commit.
    pub last: Option<(i64, CommitId)>,
    /// Those with the smallest ids, at most [`MAX_LATER`].
    pub places: BTreeSet<ShortOccurrence>,
    /// Whether there were more.
    pub is_cut: bool,
}

impl LaterOccurrences {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    pub(super) fn extend<'a>(&mut self, occurrences: impl Iterator<Item = &'a Occurrence>) {
        for occurrence in occurrences {
            self.last = self.last.max(Some((occurrence.corrected_date, occurrence.commit)));
            self.places.insert(occurrence.into());
        }
        self.cut();
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.last = self.last.max(other.last);
        self.places.extend(other.places);
        self.is_cut |= other.is_cut;
        self.cut();
    }

    fn cut(&mut self) {
        while self.places.len() > MAX_LATER {
            self.places.pop_last();
            self.is_cut = true;
        }
    }
}
