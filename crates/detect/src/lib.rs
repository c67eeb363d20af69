//! Secret detection: the rule side. Rules (TOML in gitleaks' syntax) are read, checked and compiled here.
//!
//! Nothing here knows Git, the network or, but for [`RuleSet::load`], files. The engine that runs the rules over content
//! is not here yet. The decision worth knowing: every rule needs literals that each of its matches contains, so that one
//! pass of Aho-Corasick can find the candidates; repetitions without an upper limit get one, so that a window around a
//! candidate is enough.

mod bound;
mod error;
#[allow(dead_code, reason = "for the engine, which is the next step")]
mod literal;
#[allow(dead_code, reason = "for the engine, which is the next step")]
mod pattern;
#[allow(dead_code, reason = "for the engine, which is the next step")]
mod rule;
#[allow(dead_code, reason = "for the engine, which is the next step")]
mod rule_set;
mod secret;
mod syntax;

pub use error::{Place, RuleError};
pub use rule::{Allowlist, Condition, Examples, RegexTarget, Rule, RuleIndex, Severity};
pub use rule_set::RuleSet;
pub use secret::{HashKey, Secret};
