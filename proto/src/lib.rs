//! The wire types of secretscan.
//!
//! They are generated from `proto/secretscan/v1/*.proto` and speak protobuf and canonical proto3 JSON alike: people and
//! scripts publish JSON with the `nats` command, services publish protobuf. [`decode`] tells the two apart by the
//! first byte, which `{` can't be in any of these messages (it would be a group with field number 15). White space before
//! it is tried as JSON first: a line feed also begins a protobuf message whose first field is a text.
//! Records in KV buckets are not here: they are types of `secretscan-model`, stored as JSON.

use prost::{Message, Name};
use secretscan_model::ids::{CommitId, IdError};
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Version 1 of the messages.
#[allow(missing_docs, clippy::pedantic, clippy::unwrap_used)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/secretscan.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/secretscan.v1.serde.rs"));
}

/// Why the bytes are not the message.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("the message is empty; send JSON such as {{\"uri\": \"https://host/owner/repository\"}}")]
    Empty,
    /// JSON that is not this message.
    #[error("the message is not the JSON that is expected: {0}")]
    Json(String),
    /// JSON with fields that the message does not have.
    #[error("unknown field `{}`; a {message} has the fields that proto/secretscan/v1 lists", .fields.join("`, `"))]
    UnknownFields {
        /// The fields.
        fields: Vec<String>,
        /// The name of the message.
        message: &'static str,
    },
    /// Neither JSON nor this message.
    #[error(
        "the message is neither JSON (which begins with an opening brace) nor the protobuf message {expected}"
    )]
    Protobuf {
        /// The message that was expected.
        expected: &'static str,
        /// What the decoder says.
        #[source]
        source: prost::DecodeError,
    },
    /// Commit ids whose bytes don't divide into ids.
    #[error("{bytes} bytes of commit ids do not divide into ids of {length} bytes (20 or 32 are possible)")]
    CommitIds {
        /// How many bytes there are.
        bytes: usize,
        /// The length that the message gives.
        length: u32,
    },
}

/// A message that can be read from protobuf and from JSON.
pub trait Readable: Message + Name + Default + DeserializeOwned {}

impl<M: Message + Name + Default + DeserializeOwned> Readable for M {}

/// Reads a message of a service, written as protobuf or as canonical proto3 JSON. Unknown fields are left out: a later version of
/// the service may have them.
///
/// # Errors
/// [`DecodeError`] says what is wrong, without repeating the bytes.
pub fn decode<M: Readable>(bytes: &[u8]) -> Result<M, DecodeError> {
    read(bytes, |text| serde_json::from_slice(text).map_err(|error| DecodeError::Json(error.to_string())))
}

/// Reads a message that people and scripts write, as [`decode`]. Unknown JSON fields are refused: they are mistakes.
///
/// # Errors
/// [`DecodeError`] says what is wrong, without repeating the bytes.
pub fn decode_strictly<M: Readable>(bytes: &[u8]) -> Result<M, DecodeError> {
    read(bytes, |text| {
        let mut unknown = Vec::new();
        let mut json = serde_json::Deserializer::from_slice(text);
        let message = serde_ignored::deserialize(&mut json, |path| unknown.push(path.to_string()))
            .and_then(|message| json.end().map(|()| message))
            .map_err(|error| DecodeError::Json(error.to_string()))?;
        match unknown.is_empty() {
            true => Ok(message),
            false => Err(DecodeError::UnknownFields { fields: unknown, message: M::NAME }),
        }
    })
}

fn read<M: Readable>(
    bytes: &[u8],
    from_json: impl Fn(&[u8]) -> Result<M, DecodeError>,
) -> Result<M, DecodeError> {
    let text = bytes.trim_ascii_start();
    let protobuf = || M::decode(bytes).map_err(|source| DecodeError::Protobuf { expected: M::NAME, source });
    let is_certain = text.len() == bytes.len();
    match text.first() {
        None => Err(DecodeError::Empty),
        Some(b'{') => {
            let json = from_json(text);
            if is_certain { json } else { json.or_else(|error| protobuf().map_err(|_| error)) }
        }
        Some(_) => protobuf(),
    }
}

/// The ids one after the other, and the length of one in bytes (20 when there is none).
pub fn pack_commit_ids(ids: &[CommitId]) -> (u32, Vec<u8>) {
    let length = ids.first().map_or(20, |id| id.as_bytes().len());
    let packed = ids.iter().flat_map(|id| id.as_bytes()).copied().collect();
    (length as u32, packed)
}

/// The inverse of [`pack_commit_ids`].
///
/// # Errors
/// [`DecodeError::CommitIds`] when the bytes do not divide into ids.
pub fn unpack_commit_ids(length: u32, packed: &[u8]) -> Result<Vec<CommitId>, DecodeError> {
    let wrong = || DecodeError::CommitIds { bytes: packed.len(), length };
    if !matches!(length, 20 | 32) || !packed.len().is_multiple_of(length as usize) {
        return Err(wrong());
    }
    packed
        .chunks_exact(length as usize)
        .map(|bytes| CommitId::from_bytes(bytes).map_err(|_: IdError| wrong()))
        .collect()
}

impl From<secretscan_model::Priority> for v1::Priority {
    fn from(priority: secretscan_model::Priority) -> Self {
        match priority {
            secretscan_model::Priority::Reactive => Self::Reactive,
            secretscan_model::Priority::OnDemand => Self::OnDemand,
            secretscan_model::Priority::Scheduled => Self::Scheduled,
        }
    }
}

impl From<v1::Priority> for secretscan_model::Priority {
    fn from(priority: v1::Priority) -> Self {
        match priority {
            v1::Priority::Reactive => Self::Reactive,
            v1::Priority::Unspecified | v1::Priority::OnDemand => Self::OnDemand,
            v1::Priority::Scheduled => Self::Scheduled,
        }
    }
}

impl From<secretscan_model::OnUnknown> for v1::OnUnknown {
    fn from(on_unknown: secretscan_model::OnUnknown) -> Self {
        match on_unknown {
            secretscan_model::OnUnknown::Alert => Self::Alert,
            secretscan_model::OnUnknown::Scan => Self::Scan,
            secretscan_model::OnUnknown::Both => Self::Both,
        }
    }
}

impl From<v1::OnUnknown> for secretscan_model::OnUnknown {
    fn from(on_unknown: v1::OnUnknown) -> Self {
        match on_unknown {
            v1::OnUnknown::Alert => Self::Alert,
            v1::OnUnknown::Scan => Self::Scan,
            v1::OnUnknown::Unspecified | v1::OnUnknown::Both => Self::Both,
        }
    }
}

impl From<secretscan_model::Missed> for v1::Missed {
    fn from(missed: secretscan_model::Missed) -> Self {
        match missed {
            secretscan_model::Missed::Once => Self::Once,
            secretscan_model::Missed::Skip => Self::Skip,
        }
    }
}

impl From<v1::Missed> for secretscan_model::Missed {
    fn from(missed: v1::Missed) -> Self {
        match missed {
            v1::Missed::Unspecified | v1::Missed::Once => Self::Once,
            v1::Missed::Skip => Self::Skip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_and_protobuf_are_told_apart() {
        let json: v1::NewRepositoryScan =
            decode(br#" {"uri": "https://h/a/b", "priority": "PRIORITY_REACTIVE"}"#).unwrap();
        assert_eq!(json.uri, "https://h/a/b");
        let again: v1::NewRepositoryScan = decode(&json.encode_to_vec()).unwrap();
        assert_eq!(json, again);
    }

    #[test]
    fn a_protobuf_message_may_begin_like_json_after_a_line_feed() {
        // The tag of the first field is a line feed, and 123, the length of the text, an opening brace.
        let message = v1::CancelRepositoryScan { request_id: "i".repeat(123), ..Default::default() };
        assert_eq!(decode::<v1::CancelRepositoryScan>(&message.encode_to_vec()).unwrap(), message);
        let json = decode::<v1::CancelRepositoryScan>(b"\n{\"requestId\": \"r\"}").unwrap();
        assert_eq!(json.request_id, "r");
        let wrong = decode::<v1::CancelRepositoryScan>(b"\n{\"requestId\"}");
        assert!(matches!(wrong, Err(DecodeError::Json(_))), "{wrong:?}");
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let unknown = br#"{"url": "x", "uri": "y", "a": {"b": 1}}"#;
        assert_eq!(decode::<v1::NewRepositoryScan>(unknown).unwrap().uri, "y");
        let unknown = decode_strictly::<v1::NewRepositoryScan>(unknown).unwrap_err().to_string();
        assert!(unknown.contains("unknown field `url`, `a`; a NewRepositoryScan"), "{unknown}");
        let more = decode_strictly::<v1::NewRepositoryScan>(br#"{"uri": "x"} {"#);
        assert!(matches!(more, Err(DecodeError::Json(_))), "{more:?}");
        assert!(matches!(decode::<v1::NewRepositoryScan>(b"  "), Err(DecodeError::Empty)));
        assert!(matches!(decode::<v1::NewRepositoryScan>(b"hello"), Err(DecodeError::Protobuf { .. })));
        assert!(unpack_commit_ids(20, &[0; 30]).is_err());
        assert!(unpack_commit_ids(0, &[0; 30]).is_err());
    }

    proptest! {
        #[test]
        fn wire_round_trip(id in "[a-z0-9]{0,9}", uri in "\\PC{0,30}", refs in prop::collection::vec("\\PC{0,9}", 0..3), priority in 0..4) {
            let message = v1::NewRepositoryScan { request_id: id, uri, repository_id: String::new(), refs, priority, requester: "me".into(), verify: priority == 1, rescan: "v".into() };
            let json = serde_json::to_vec(&message).unwrap();
            prop_assert_eq!(&decode::<v1::NewRepositoryScan>(&json).unwrap(), &message);
            prop_assert_eq!(&decode::<v1::NewRepositoryScan>(&message.encode_to_vec()).unwrap(), &message);
        }

        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<v1::NewRepositoryScan>(&bytes);
            let _ = decode::<v1::NewCommitBatch>(&bytes);
        }
    }
}
