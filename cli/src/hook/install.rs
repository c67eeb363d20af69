//! `secretscan hook install` and `uninstall`: in one repository, or for all of a user.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use secretscan_report::escape_for_terminal;

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::hook::manager;
use crate::hook::script::{Before, HooksDir, Previous};
use crate::{data_dir, output};

const OF_CLIENT: [&str; 3] = ["pre-commit", "commit-msg", "pre-push"];
const OF_SERVER: [&str; 2] = ["pre-receive", "update"];

/// Git's other hooks. Source: githooks(5), without those whose mere presence changes what Git does (`push-to-checkout`,
/// `proc-receive`) and those that have to be configured.
const OTHERS: [&str; 17] = [
    "applypatch-msg",
    "pre-applypatch",
    "post-applypatch",
    "pre-merge-commit",
    "prepare-commit-msg",
    "post-commit",
    "pre-rebase",
    "post-checkout",
    "post-merge",
    "post-receive",
    "post-update",
    "reference-transaction",
    "pre-auto-gc",
    "post-rewrite",
    "sendemail-validate",
    "post-index-change",
    "p4-pre-submit",
];

/// Put hooks in place; hooks that are there already stay and run first
#[derive(clap::Args)]
#[command(
    after_help = "Without a choice: pre-commit, commit-msg and pre-push; pre-receive in a bare repository.\n\n\
                  Example: secretscan hook install --pre-commit --pre-push"
)]
pub struct Arguments {
    /// For all repositories of this user, by core.hooksPath; their own hooks run as well
    #[arg(long)]
    global: bool,

    /// Scan what is staged before each commit
    #[arg(long)]
    pre_commit: bool,

    /// Scan the message of each commit
    #[arg(long)]
    commit_msg: bool,

    /// Scan what a push brings before it leaves
    #[arg(long)]
    pre_push: bool,

    /// On a server: scan each push before it is taken
    #[arg(long)]
    pre_receive: bool,

    /// On a server: scan each ref of a push by itself, before it is taken
    #[arg(long)]
    update: bool,
}

/// Take the hooks out and put back what was there before
#[derive(clap::Args)]
#[command(after_help = "Example: secretscan hook uninstall --global")]
pub struct UninstallArguments {
    /// Those of all repositories of this user
    #[arg(long)]
    global: bool,
}

impl Arguments {
    fn hooks(&self, is_bare: bool) -> Vec<&'static str> {
        let given = [self.pre_commit, self.commit_msg, self.pre_push, self.pre_receive, self.update];
        let all = OF_CLIENT.into_iter().chain(OF_SERVER);
        let chosen: Vec<&str> =
            all.zip(given).filter(|(_, is_given)| *is_given).map(|(hook, _)| hook).collect();
        match (chosen.is_empty(), is_bare) {
            (false, _) => chosen,
            (true, false) => OF_CLIENT.to_vec(),
            (true, true) => vec!["pre-receive"],
        }
    }
}

/// Installs. Doing it again changes nothing but where the program is.
pub fn install(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let (hooks, place) = if arguments.global {
        (arguments.hooks(false), global_dir()?)
    } else {
        let repository = Repository::find()?;
        let hooks = arguments.hooks(repository.is_bare);
        let place = repository.hooks_dir()?;
        manager::refuse(&repository.top, &place.dir, &hooks)?;
        (hooks, place)
    };
    let mut lines = Vec::new();
    for hook in &hooks {
        let kept = match place.install(hook, true)? {
            Previous::Other => "; what was there is kept and runs first",
            Previous::None | Previous::Ours => "",
        };
        lines.push(format!("installed {hook}{kept}"));
    }
    if place.before == Before::InRepository {
        for hook in OF_CLIENT.iter().chain(&OF_SERVER).chain(&OTHERS).filter(|hook| !place.is_ours(hook)) {
            place.install(hook, false)?;
        }
        let dir = place.dir.as_os_str();
        git(&[OsStr::new("config"), OsStr::new("--global"), OsStr::new("core.hooksPath"), dir])?
            .ok_or_else(|| Failure::new("git config --global core.hooksPath failed", "see what it says"))?;
    }
    tell(&lines, &place.dir)
}

/// Uninstalls. What somebody else has put over ours stays.
pub fn uninstall(arguments: &UninstallArguments) -> anyhow::Result<Outcome> {
    let place = if arguments.global { global_dir()? } else { Repository::find()?.hooks_dir()? };
    let mut lines = Vec::new();
    for hook in OF_CLIENT.iter().chain(&OF_SERVER).chain(&OTHERS) {
        let is_shown = !OTHERS.contains(hook);
        match place.uninstall(hook)? {
            Some(Previous::Other) => lines.push(format!("removed {hook}; what was there before is back")),
            Some(_) if is_shown => lines.push(format!("removed {hook}")),
            Some(_) | None => {}
        }
    }
    if place.before == Before::InRepository {
        git_text(&["config", "--global", "--unset", "core.hooksPath"])?;
        // Something else may be in it by now.
        let _ = fs::remove_dir(&place.dir);
    }
    if lines.is_empty() {
        lines.push("nothing of secretscan is installed".to_owned());
    }
    tell(&lines, &place.dir)
}

fn tell(lines: &[String], dir: &Path) -> anyhow::Result<Outcome> {
    output::to_stdout(|out| {
        writeln!(out, "hooks in {}:", escape_for_terminal(&dir.display().to_string()))?;
        lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
    })?;
    Ok(Outcome::Clean)
}

/// The repository that the command is run in.
struct Repository {
    /// The top of the working tree, or the Git directory of a bare repository.
    top: PathBuf,
    is_bare: bool,
}

impl Repository {
    fn find() -> anyhow::Result<Self> {
        let no_repository =
            || Failure::new("there is no Git repository here", "change into one, or install with --global");
        let is_bare = git_text(&["rev-parse", "--is-bare-repository"])?.ok_or_else(no_repository)? == "true";
        let argument = if is_bare { "--absolute-git-dir" } else { "--show-toplevel" };
        let top = git_text(&["rev-parse", argument])?.ok_or_else(no_repository)?;
        Ok(Self { top: top.into(), is_bare })
    }

    /// Where Git looks for hooks: in the common directory of all working trees, or where core.hooksPath says.
    fn hooks_dir(&self) -> anyhow::Result<HooksDir> {
        let top = self.top.as_os_str();
        let scope = ["config", "--show-scope", "--get", "core.hooksPath"].map(OsStr::new);
        let scope = git(&[&[OsStr::new("-C"), top], &scope[..]].concat())?.unwrap_or_default();
        if ["global", "system"].iter().any(|all| scope.starts_with(all.as_bytes())) {
            let message = "core.hooksPath is set for all repositories, so this one has no hooks of its own";
            let hint =
                "secretscan hook install --global puts them where it says; uninstall takes --global as well";
            return Err(Failure::new(message, hint).into());
        }
        let path = ["rev-parse", "--path-format=absolute", "--git-path", "hooks"].map(OsStr::new);
        let dir = git(&[&[OsStr::new("-C"), top], &path[..]].concat())?
            .context("git rev-parse --git-path hooks failed")?;
        Ok(HooksDir { dir: PathBuf::from(OsStr::from_bytes(&dir)), before: Before::Beside })
    }
}

/// The hooks of all repositories of this user: where core.hooksPath says already, else in a directory of ours.
fn global_dir() -> anyhow::Result<HooksDir> {
    let ours = data_dir::default()?.join("hooks");
    for scope in ["--global", "--system"] {
        let path = ["config", scope, "--type=path", "--get", "core.hooksPath"].map(OsStr::new);
        let dir = git(&path)?.map(|dir| PathBuf::from(OsStr::from_bytes(&dir)));
        match dir {
            Some(dir) if dir.is_relative() => {
                let message = format!("core.hooksPath is {} for all repositories", dir.display());
                return Err(Failure::new(message, "install in each repository, or make it absolute").into());
            }
            Some(dir) if dir != ours => return Ok(HooksDir { dir, before: Before::Beside }),
            _ => {}
        }
    }
    Ok(HooksDir { dir: ours, before: Before::InRepository })
}

/// What `git` says, without the line feed; `None` when it fails.
fn git(arguments: &[&OsStr]) -> anyhow::Result<Option<Vec<u8>>> {
    let output = Command::new("git").args(arguments).output();
    let output = output.map_err(|cause| {
        Failure::caused_by(cause, "cannot run git", "install git 2.34 or later, and put it on the PATH")
    })?;
    let text = output.stdout.strip_suffix(b"\n").unwrap_or(&output.stdout);
    Ok(output.status.success().then(|| text.to_vec()))
}

fn git_text(arguments: &[&str]) -> anyhow::Result<Option<String>> {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    Ok(git(&arguments)?.map(|text| String::from_utf8_lossy(&text).into_owned()))
}
