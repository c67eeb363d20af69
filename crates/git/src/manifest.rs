//! What a batch archive says about its pack: which commits, and which blob each introduced at which path.
//!
//! Paths may hold secrets, so they are compressed, as the objects of the pack are: archives travel as messages, which a
//! server or a client may log.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use gix_hash::{Kind as IdKind, ObjectId};
use prost::Message;
use secretscan_model::ids::{BlobId, CommitId, Timestamp};
use secretscan_model::lifecycle::Look;

use crate::error::GitError;
use crate::history::CommitEntry;
use crate::introductions::{Introduced, Introduction};
use crate::pack::Absent;

/// Raised when a reader of the previous version would misread an archive.
const VERSION: u32 = 2;
/// The paths of a batch have no more bytes together.
const MAX_PATH_BYTES: u64 = 1 << 30;

/// A batch without its objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Manifest {
    /// The commits in order.
    pub commits: Vec<CommitEntry>,
    /// By `(commit, path)`.
    pub introductions: Vec<Introduction>,
    /// Introduced blobs that the pack does not hold.
    pub absent: Absent,
    /// Commits whose introductions are not all listed, by their place, and why.
    pub cut_off: Vec<(u32, String)>,
    /// The look at the refs for which it was cut.
    pub look: Option<Look>,
    /// What of it stood at the tip of a branch then.
    pub at_tips: HashSet<(Arc<[u8]>, BlobId)>,
}

#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(message, repeated, tag = "2")]
    commits: Vec<WireCommit>,
    /// The distinct blobs, which introductions name by their place: a file moved back and forth names one many times.
    #[prost(bytes = "vec", repeated, tag = "3")]
    blobs: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    introductions: Vec<WireIntroduction>,
    #[prost(message, repeated, tag = "5")]
    absent: Vec<WireAbsent>,
    /// The paths of the introductions one after the other, compressed (zlib).
    #[prost(bytes = "vec", tag = "6")]
    paths: Vec<u8>,
    #[prost(message, repeated, tag = "7")]
    cut_off: Vec<WireCutOff>,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "8")]
    look_at: i64,
    /// No look when empty.
    #[prost(string, tag = "9")]
    look_request: String,
}

#[derive(Clone, PartialEq, Message)]
struct WireCommit {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(int64, tag = "2")]
    corrected_date: i64,
}

#[derive(Clone, PartialEq, Message)]
struct WireIntroduction {
    #[prost(uint32, tag = "1")]
    commit: u32,
    #[prost(uint32, tag = "2")]
    path_bytes: u32,
    #[prost(uint32, tag = "3")]
    blob: u32,
    #[prost(bool, tag = "4")]
    is_at_tip: bool,
}

#[derive(Clone, PartialEq, Message)]
struct WireAbsent {
    #[prost(uint32, tag = "1")]
    blob: u32,
    #[prost(string, tag = "2")]
    reason: String,
}

#[derive(Clone, PartialEq, Message)]
struct WireCutOff {
    #[prost(uint32, tag = "1")]
    commit: u32,
    #[prost(string, tag = "2")]
    reason: String,
}

impl Manifest {
    /// What these commits introduce, of which nothing is absent.
    pub fn new(commits: Vec<CommitEntry>, introduced: Introduced) -> Self {
        let Introduced { introductions, cut_off, .. } = introduced;
        Self { commits, introductions, cut_off, ..Self::default() }
    }

    /// What the ids are; in an empty one there are none.
    pub fn ids(&self) -> IdKind {
        let first = self.commits.first().map(|commit| ObjectId::from_bytes_or_panic(commit.id.as_bytes()));
        first.map_or(IdKind::Sha1, |id| id.kind())
    }

    /// As bytes: a protobuf message.
    pub fn encode(&self) -> Vec<u8> {
        let mut blobs = Vec::new();
        let mut places = HashMap::new();
        let mut place = |blob: &BlobId| {
            *places.entry(*blob).or_insert_with(|| {
                blobs.push(blob.as_bytes().to_vec());
                blobs.len() as u32 - 1
            })
        };
        let commits = self
            .commits
            .iter()
            .map(|c| WireCommit { id: c.id.as_bytes().to_vec(), corrected_date: c.corrected_date });
        let introductions = self.introductions.iter().map(|i| WireIntroduction {
            commit: i.commit,
            path_bytes: i.path.len() as u32,
            blob: place(&i.blob),
            is_at_tip: self.at_tips.contains(&(i.path.clone(), i.blob)),
        });
        let introductions = introductions.collect();
        let absent =
            self.absent.iter().map(|(blob, reason)| WireAbsent { blob: place(blob), reason: reason.clone() });
        let absent = absent.collect();
        let cut_off = self.cut_off.iter();
        let cut_off = cut_off.map(|(commit, reason)| WireCutOff { commit: *commit, reason: reason.clone() });
        Wire {
            version: VERSION,
            commits: commits.collect(),
            blobs,
            introductions,
            absent,
            paths: compress(self.introductions.iter().map(|i| &*i.path)).expect("memory takes it"),
            cut_off: cut_off.collect(),
            look_at: self.look.as_ref().map_or(0, |look| look.at.0),
            look_request: self.look.as_ref().map(|look| look.request.to_string()).unwrap_or_default(),
        }
        .encode_to_vec()
    }

    /// From [`Manifest::encode`]'s bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, GitError> {
        let wire = Wire::decode(bytes).map_err(|e| GitError::corrupt(format!("the manifest: {e}")))?;
        if wire.version != VERSION {
            return Err(GitError::corrupt(format!("the manifest has the unknown version {}", wire.version)));
        }
        let mut lengths = wire.commits.iter().map(|c| c.id.len()).chain(wire.blobs.iter().map(Vec::len));
        let length = lengths.next();
        if lengths.any(|other| Some(other) != length) {
            return Err(GitError::corrupt("the manifest has ids of different lengths"));
        }
        let bad_id = |_| GitError::corrupt("the manifest has an id of a wrong length");
        let commits = wire
            .commits
            .iter()
            .map(|c| Ok(CommitEntry { corrected_date: c.corrected_date, id: CommitId::from_bytes(&c.id)? }))
            .collect::<Result<Vec<_>, _>>()
            .map_err(bad_id)?;
        let blobs = wire
            .blobs
            .iter()
            .map(|b| BlobId::from_bytes(b))
            .collect::<Result<Vec<_>, _>>()
            .map_err(bad_id)?;
        let outside = || GitError::corrupt("the manifest refers to something that it does not list");
        let blob = |place: u32| blobs.get(place as usize).copied().ok_or_else(outside);
        let all_paths =
            decompress(&wire.paths).map_err(|e| GitError::corrupt(format!("the manifest: {e}")))?;
        let (mut paths, mut at_tips) = (&all_paths[..], HashSet::new());
        let introduction = |i: WireIntroduction| {
            let path = paths.split_off(..i.path_bytes as usize).ok_or_else(outside)?;
            if i.commit as usize >= commits.len() {
                return Err(outside());
            }
            let introduction = Introduction { commit: i.commit, path: path.into(), blob: blob(i.blob)? };
            if i.is_at_tip {
                at_tips.insert((introduction.path.clone(), introduction.blob));
            }
            Ok(introduction)
        };
        let introductions = wire.introductions.into_iter().map(introduction).collect::<Result<_, _>>()?;
        let absent = wire
            .absent
            .into_iter()
            .map(|a| Ok((blob(a.blob)?, a.reason)))
            .collect::<Result<_, GitError>>()?;
        let cut_off: Vec<(u32, String)> =
            wire.cut_off.into_iter().map(|cut| (cut.commit, cut.reason)).collect();
        if cut_off.iter().any(|(commit, _)| *commit as usize >= commits.len()) {
            return Err(outside());
        }
        let look = match wire.look_request.as_str() {
            "" => None,
            request => {
                let request = request.parse().map_err(|e| GitError::corrupt(format!("the manifest: {e}")))?;
                Some(Look { at: Timestamp(wire.look_at), request })
            }
        };
        Ok(Self { commits, introductions, absent, cut_off, look, at_tips })
    }
}

fn compress<'a>(paths: impl Iterator<Item = &'a [u8]>) -> io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    for path in paths {
        encoder.write_all(path)?;
    }
    encoder.finish()
}

fn decompress(compressed: &[u8]) -> io::Result<Vec<u8>> {
    let mut paths = Vec::new();
    ZlibDecoder::new(compressed).take(MAX_PATH_BYTES).read_to_end(&mut paths)?;
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(n: u8) -> BlobId {
        BlobId::from_bytes(&[n; 20]).unwrap()
    }

    #[test]
    fn a_manifest_survives_the_way_to_bytes_and_back() {
        let id = CommitId::from_bytes(&[7; 20]).unwrap();
        let introduction = |n, path: &[u8]| Introduction { commit: 0, path: path.into(), blob: blob(n) };
        let manifest = Manifest {
            commits: vec![CommitEntry { corrected_date: -5, id }],
            introductions: vec![introduction(1, b"a\n\xff"), introduction(2, b"b"), introduction(1, b"c")],
            absent: Absent::from([(blob(2), "too large".to_owned())]),
            cut_off: vec![(0, "too many".to_owned())],
            look: Some(Look { at: Timestamp(8), request: "r".parse().unwrap() }),
            at_tips: HashSet::from([(b"c"[..].into(), blob(1))]),
        };
        assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
    }

    #[test]
    fn paths_do_not_stand_in_it_as_they_are() {
        let path = b"a path with a secret in it";
        let introductions = vec![Introduction { commit: 0, path: path[..].into(), blob: blob(1) }];
        let encoded = Manifest { introductions, ..Manifest::default() }.encode();
        assert!(memchr::memmem::find(&encoded, &path[7..]).is_none());
    }

    #[test]
    fn a_damaged_manifest_is_refused() {
        let introductions = vec![Introduction { commit: 3, path: b"a"[..].into(), blob: blob(1) }];
        let manifest = Manifest { introductions, ..Manifest::default() };
        assert!(matches!(Manifest::decode(&manifest.encode()), Err(GitError::Corrupt { .. })));
        assert!(matches!(Manifest::decode(b"\xff\xff"), Err(GitError::Corrupt { .. })));
        assert!(matches!(Manifest::decode(b""), Err(GitError::Corrupt { .. })));
        let id = CommitId::from_bytes(&[7; 20]).unwrap();
        let commits = vec![CommitEntry { corrected_date: 0, id }];
        let introductions = vec![Introduction { commit: 0, path: b"abc"[..].into(), blob: blob(1) }];
        let mut wire =
            Wire::decode(&*Manifest { commits, introductions, ..Manifest::default() }.encode()).unwrap();
        wire.introductions[0].path_bytes = 4;
        assert!(matches!(Manifest::decode(&wire.encode_to_vec()), Err(GitError::Corrupt { .. })));
        wire.introductions[0].path_bytes = 3;
        assert!(Manifest::decode(&wire.encode_to_vec()).is_ok());
        wire.blobs[0] = vec![1; 32];
        let mixed = Manifest::decode(&wire.encode_to_vec()).unwrap_err();
        assert!(mixed.to_string().contains("different lengths"), "{mixed}");
    }
}
