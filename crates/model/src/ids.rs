//! Ids and time, each its own type so that the compiler keeps them apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A text that is not the id it should be.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdError {
    /// Not 40 or 64 hexadecimal digits.
    #[error("an object id has 40 or 64 hexadecimal digits, found {found:?}")]
    ObjectId {
        /// What was given.
        found: String,
    },
    /// Not usable as a KV key and a subject token.
    #[error("a {what} has 1 to {max} of the characters A-Z a-z 0-9 _ -, found {found:?}")]
    Token {
        /// Which kind of id.
        what: &'static str,
        /// How long it may be.
        max: usize,
        /// What was given.
        found: String,
    },
}

/// A Git object id: 20 bytes (SHA-1) or 32 bytes (SHA-256).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Oid {
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

impl Oid {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        }
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, IdError> {
        if let Ok(bytes) = bytes.try_into() {
            Ok(Self::Sha1(bytes))
        } else if let Ok(bytes) = bytes.try_into() {
            Ok(Self::Sha256(bytes))
        } else {
            Err(IdError::ObjectId { found: data_encoding::HEXLOWER.encode(bytes) })
        }
    }
}

macro_rules! object_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Oid);

        impl $name {
            /// The id as raw bytes: 20 (SHA-1) or 32 (SHA-256).
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }

            /// Whether both ids are of one object format, as all of a repository are.
            pub fn is_of_format_of(&self, other: &Self) -> bool {
                self.as_bytes().len() == other.as_bytes().len()
            }

            /// From 20 or 32 raw bytes.
            ///
            /// # Errors
            /// [`IdError::ObjectId`] for any other length.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdError> {
                Oid::from_bytes(bytes).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(self.as_bytes()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                data_encoding::HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| Self::from_bytes(&bytes).ok())
                    .ok_or_else(|| IdError::ObjectId { found: text.to_owned() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

object_id!(
    /// The id of a commit.
    CommitId
);
object_id!(
    /// The id of a blob: the content of one version of a file.
    BlobId
);

macro_rules! token_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        token_id!($(#[$doc])* $name, $what, 128);
    };
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks that the text can stand in a KV key and as one token of a subject.
            ///
            /// # Errors
            /// [`IdError::Token`] when it is empty, too long, or has other characters.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
                if text.is_empty() || text.len() > $max || !text.bytes().all(is_allowed) {
                    return Err(IdError::Token { what: $what, max: $max, found: text.to_owned() });
                }
                Ok(Self(text.to_owned()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

token_id!(
    /// The id of a repository scan request.
    RequestId,
    "request id"
);
token_id!(
    /// The id of a commit batch within its request: derived from the request and the commits, so that cutting the
    /// same batch twice gives the same id.
    BatchId,
    "batch id"
);
token_id!(
    /// The id of a repository: derived from its canonical URI.
    RepositoryId,
    "repository id"
);
token_id!(
    /// The id of an agent process; a new one at each start.
    AgentId,
    "agent id"
);
token_id!(
    /// The id of a schedule. Shorter than others: the ids of its requests are made of it.
    ScheduleId,
    "schedule id",
    64
);
token_id!(
    /// The id of a detection rule, such as `github-personal-access-token`.
    RuleId,
    "rule id"
);

impl RuleId {
    /// The id of a rule that a rule file calls so: characters that an id can't have are replaced.
    pub fn fit(name: &str) -> Self {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let text: String = name.chars().map(|c| if is_allowed(c) { c } else { '-' }).take(128).collect();
        Self::parse(&text).expect("a rule set refuses empty names, and the rest was made fit")
    }
}

/// A point in time: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// As RFC 3339 writes it, in UTC, to the millisecond. What no year of four digits has is shown as the last time of one.
    pub fn to_rfc3339(self) -> String {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX).to_string()
    }

    /// Reads RFC 3339; what is less than a millisecond is cut off.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|at| Self(at.as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rules_are_made_fit() {
        assert_eq!(RuleId::fit("github-pat_1").as_str(), "github-pat_1");
        assert_eq!(RuleId::fit("my rule: \u{e4}").as_str(), "my-rule---");
        assert_eq!(RuleId::fit(&"x".repeat(500)).as_str().len(), 128);
    }
}
