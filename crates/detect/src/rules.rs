//! The rules of a set, by place.

use std::borrow::Cow;
use std::ops::Index;
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::rule::{Examples, Rule};

/// Rules; the position is the [`crate::RuleIndex`].
///
/// One of a compiled set is read when it is first asked for: a scan asks for few of the thousands.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<OnceLock<Box<Rule>>>,
    compiled: Compiled,
}

/// The compiled form of rules; empty for those that were never compiled.
#[derive(Debug, Default)]
struct Compiled {
    /// Where each rule ends in `bytes`: [`END_LEN`] bytes a rule, little-endian. They stand apart, since what lies between
    /// the rules would have to be loaded to be read.
    ends: &'static [u8],
    bytes: &'static [u8],
}

const END_LEN: usize = size_of::<u32>();

impl Compiled {
    fn end(&self, index: usize) -> usize {
        let end = self.ends[END_LEN * index..].first_chunk().expect("each rule has an end");
        u32::from_le_bytes(*end) as usize
    }

    fn rule(&self, index: usize) -> Rule {
        let start = index.checked_sub(1).map_or(0, |before| self.end(before));
        let bytes: &'static [u8] = self.bytes;
        postcard::from_bytes(&bytes[start..self.end(index)])
            .expect("written by `compile` of the same version")
    }
}

impl Rules {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rule> + Clone {
        (0..self.len()).map(|index| &self[index])
    }

    /// All of them, for one look: what was not read yet is not kept.
    pub(crate) fn glance(&self) -> impl Iterator<Item = Cow<'_, Rule>> {
        self.rules.iter().enumerate().map(|(index, rule)| match rule.get() {
            Some(rule) => Cow::Borrowed(&**rule),
            None => Cow::Owned(self.compiled.rule(index)),
        })
    }

    /// The same rules with these examples, in the order of the rules.
    pub(crate) fn with_examples(self, examples: Vec<Examples>) -> Self {
        let rules = self.iter().zip(examples).map(|(rule, examples)| Rule { examples, ..rule.clone() });
        rules.collect()
    }
}

impl FromIterator<Rule> for Rules {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        let rules = rules.into_iter().map(|rule| OnceLock::from(Box::new(rule))).collect();
        Self { rules, compiled: Compiled::default() }
    }
}

impl Index<usize> for Rules {
    type Output = Rule;

    fn index(&self, index: usize) -> &Rule {
        self.rules[index].get_or_init(|| Box::new(self.compiled.rule(index)))
    }
}

impl<'a> IntoIterator for &'a Rules {
    type Item = &'a Rule;
    type IntoIter = Box<dyn Iterator<Item = &'a Rule> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl Serialize for Rules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (mut ends, mut bytes) = (Vec::new(), Vec::new());
        for rule in self {
            bytes.extend(postcard::to_allocvec(rule).map_err(serde::ser::Error::custom)?);
            let end = u32::try_from(bytes.len()).map_err(serde::ser::Error::custom)?;
            ends.extend(end.to_le_bytes());
        }
        (ends, bytes).serialize(serializer)
    }
}

impl<'de: 'static> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (ends, bytes) = <(&'static [u8], &'static [u8])>::deserialize(deserializer)?;
        let rules = (0..ends.len() / END_LEN).map(|_| OnceLock::new()).collect();
        Ok(Self { rules, compiled: Compiled { ends, bytes } })
    }
}
