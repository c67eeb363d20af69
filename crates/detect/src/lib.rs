//! Secret detection: bytes in, matches out.
//!
//! [`RuleSet`] holds the rules (TOML in gitleaks' syntax; see `crates/rules/builtin/` for the built-in ones);
//! [`Scanner`] finds their matches in a blob. Nothing here knows Git, the network or, but for [`RuleSet::load`],
//! files, and nothing verifies a secret with its provider: a rule only says how that is done ([`HttpCheck`]).
//!
//! The decision worth knowing: one pass looks for thousands of literals, of which every match of a rule must contain
//! one, and a regex runs only on a window around them. Its result equals that of the regex over the whole content (a
//! property test says so). The price: repetitions without an upper limit get one, and a rule whose matches share no
//! literal runs over the whole of every content or, when it has keywords, of every content with such a word.
//!
//! [`Scanner::scan`] says everything that depends on the content alone, and [`Scanner::is_reported`] adds path and
//! commit, because one blob may stand at many paths and in many commits: it is scanned once.

mod alias;
mod archive;
mod bigrams;
mod bound;
mod byte_set;
mod check;
mod checksum;
mod comment;
mod content;
mod decode;
mod depth;
mod derive;
mod entropy;
mod error;
mod excerpt;
mod filter;
mod finder;
mod go_syntax;
mod http_check;
mod landmarks;
mod lazy_regex;
mod literal;
mod matcher;
mod narrow;
mod pattern;
mod pool;
mod proximity;
mod rule;
mod rule_set;
mod rules;
mod run;
mod scanner;
mod search;
mod secret;
mod shape;
mod sieve;
mod syntax;
mod version;
mod windows;

pub use alias::{ALIASES, canonical};
pub use archive::Unread;
pub use check::{Complaint, Problem};
pub use checksum::Checksum;
pub use depth::Depth;
pub use error::{Place, RuleError};
pub use filter::RuleFilter;
pub use http_check::{Answer, HttpCheck, Method, Piece, Template};
pub use landmarks::{Copied, Landmarks};
pub use rule::{
    Allowlist, Condition, Confidence, Examples, RegexTarget, Required, Rule, RuleIndex, Severity,
};
pub use rule_set::RuleSet;
pub use rules::Rules;
pub use scanner::{RawMatch, RuleHash, Scanned, Scanner};
pub use secret::{HashKey, Secret};
pub use shape::Shape;
