//! The built-in rules.
//!
//! They stand in `builtin/*.toml`, in gitleaks' syntax and some keys of ours, and are parsed, measured and laid out when
//! the program is built: `build.rs` writes what a scan needs in a compact form, which lies in the program as it is. So a
//! start costs a few milliseconds. Their examples, which only a check of the rules needs, lie beside.

use std::sync::{Arc, OnceLock};

use secretscan_detect::{Examples, RuleSet};

static RULES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rules.postcard"));
static EXAMPLES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/examples.postcard"));

/// The rules that come with the program, without their examples.
pub fn builtin() -> Arc<RuleSet> {
    static BUILTIN: OnceLock<Arc<RuleSet>> = OnceLock::new();
    BUILTIN.get_or_init(|| Arc::new(load())).clone()
}

/// The same with their examples, for [`RuleSet::check`].
pub fn builtin_with_examples() -> RuleSet {
    let examples: Vec<Examples> = postcard::from_bytes(EXAMPLES).expect("build.rs wrote them");
    load().with_examples(examples)
}

fn load() -> RuleSet {
    RuleSet::from_compiled(RULES).expect("build.rs wrote them with the same crate")
}
