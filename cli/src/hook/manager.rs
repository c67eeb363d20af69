//! Programs that manage a repository's hooks and would write over ours.

use std::fs;
use std::path::Path;

use crate::failure::Failure;

/// The names that lefthook's configuration may have. Source: "Config file name" in its documentation.
const LEFTHOOK: [&str; 4] = ["lefthook.yml", ".lefthook.yml", "lefthook.yaml", ".lefthook.yaml"];

/// Refuses where one is at work, with what to write into its configuration instead. `top` is the top of the working tree.
pub fn refuse(top: &Path, dir: &Path, hooks: &[&str]) -> Result<(), Failure> {
    let is_husky = dir.ends_with(".husky") || dir.ends_with(".husky/_");
    if is_husky {
        let lines = hooks.iter().map(|hook| match *hook {
            "pre-push" => "in .husky/pre-push: secretscan hook pre-push \"$1\" \"$2\"".to_owned(),
            "commit-msg" => "in .husky/commit-msg: secretscan hook commit-msg \"$1\"".to_owned(),
            hook => format!("in .husky/{hook}: secretscan hook {hook}"),
        });
        let hint = format!("add these lines\n{}", lines.collect::<Vec<_>>().join("\n"));
        return Err(Failure::new("husky manages the hooks of this repository", hint));
    }
    let has_lefthook = hooks.iter().any(|hook| {
        let text = fs::read(dir.join(hook)).unwrap_or_default();
        String::from_utf8_lossy(&text).contains("lefthook")
    });
    if let Some(file) = LEFTHOOK.into_iter().find(|name| has_lefthook || top.join(name).is_file()) {
        let lines = hooks.iter().map(|hook| match *hook {
            "pre-push" => {
                "pre-push: {commands: {secretscan: {run: secretscan hook pre-push {1} {2}, use_stdin: true}}}"
                    .to_owned()
            }
            "commit-msg" => {
                "commit-msg: {commands: {secretscan: {run: secretscan hook commit-msg {1}}}}".to_owned()
            }
            hook => format!("{hook}: {{commands: {{secretscan: {{run: secretscan hook {hook}}}}}}}"),
        });
        let hint = format!("add these lines to {file}\n{}", lines.collect::<Vec<_>>().join("\n"));
        return Err(Failure::new("lefthook manages the hooks of this repository", hint));
    }
    Ok(())
}
