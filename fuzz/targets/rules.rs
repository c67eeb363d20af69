//! Rule files: any text is a rule set or refused with a reason, and no rule set breaks a scan.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use secretscan_detect::{RuleSet, Scanner};

const TEXT: &str = "token = 'abcdefgh12345678'\nkey: 00112233445566778899aabbccddeeff # secretscan:allow\n\
                    \u{e9}\u{df}\u{130} AAAA=bbbb&cccc%20dddd dG9rZW4gPSAnYWJjZGVmZ2gnCg==\n";

fuzz_target!(|toml: &str| {
    match RuleSet::parse(toml, "rules.toml", None) {
        Ok(rules) => {
            let _ = rules.check();
            let scanner = Scanner::new(Arc::new(rules));
            let whole = scanner.scan_all(TEXT.as_bytes());
            for found in &whole.matches {
                scanner.is_reported(found, b"src/main.rs", None);
                assert!(found.start <= found.end && found.end <= TEXT.len());
            }
            scanner.scan_path(b"src/main.rs");
            scanner.scan_name(b"src/main.rs");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
