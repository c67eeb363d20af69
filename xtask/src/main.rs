//! Checks of the workspace that cargo cannot do. `cargo xtask check-deps` says who imports whom against the rules.
//!
//! Not a place for what a plain cargo command, a test or a lint does.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod check_deps;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask check-deps";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let checked = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["check-deps"] => check_deps::check(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match checked {
        Ok(violations) if violations.is_empty() => {
            println!("check-deps: every dependency is allowed");
            ExitCode::SUCCESS
        }
        Ok(violations) => {
            for violation in &violations {
                eprintln!("check-deps: {violation}");
            }
            eprintln!("check-deps: the rules are the table in xtask/src/check_deps.rs");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("check-deps: {error:#}");
            ExitCode::FAILURE
        }
    }
}
