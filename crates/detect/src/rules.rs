//! The rules of a set, by place.

use std::ops::Index;
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::rule::{Examples, Rule};

/// Rules; the position is the [`crate::RuleIndex`].
///
/// One of a compiled set is read when it is first asked for: a scan asks for few of the thousands.
#[derive(Debug)]
pub struct Rules(Vec<LazyRule>);

#[derive(Debug)]
struct LazyRule {
    /// Empty for a rule that was never compiled.
    compiled: &'static [u8],
    rule: OnceLock<Box<Rule>>,
}

impl LazyRule {
    fn get(&self) -> &Rule {
        self.rule.get_or_init(|| {
            Box::new(postcard::from_bytes(self.compiled).expect("written by `compile` of the same version"))
        })
    }
}

impl Rules {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rule> + Clone {
        self.0.iter().map(LazyRule::get)
    }

    /// The same rules with these examples, in the order of the rules.
    pub(crate) fn with_examples(self, examples: Vec<Examples>) -> Self {
        let rules = self.iter().zip(examples).map(|(rule, examples)| Rule { examples, ..rule.clone() });
        rules.collect()
    }
}

impl FromIterator<Rule> for Rules {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        let lazy = |rule| LazyRule { compiled: &[], rule: OnceLock::from(Box::new(rule)) };
        Self(rules.into_iter().map(lazy).collect())
    }
}

impl Index<usize> for Rules {
    type Output = Rule;

    fn index(&self, index: usize) -> &Rule {
        self.0[index].get()
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
        let compiled = self.iter().map(postcard::to_allocvec).collect::<Result<Vec<_>, _>>();
        compiled.map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de: 'static> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let compiled = Vec::<&'static [u8]>::deserialize(deserializer)?;
        let lazy = |compiled| LazyRule { compiled, rule: OnceLock::new() };
        Ok(Self(compiled.into_iter().map(lazy).collect()))
    }
}
