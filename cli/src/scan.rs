//! `secretscan scan`: scans offline, in this process.

use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use std::{env, thread};

use anyhow::Context;
use secretscan_detect::{Depth, HashKey, Scanner, Secret};
use secretscan_git::{
    GitError, ScanOptions, ScanReport, Selection, Staged, scan_content, scan_directory, scan_history,
};
use secretscan_report::{Found, Redaction, Report, ReportedFinding, Summary};

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::ignore::{self, IgnoreArguments};
use crate::output::{self, ReportArguments};
use crate::progress::Progress;
use crate::rules::RuleArguments;
#[cfg(feature = "verify")]
use crate::verify;

/// Larger content is reported as not scanned: it would be held in memory.
const MAX_BLOB_BYTES: u64 = 1 << 30;
/// Contents of so many bytes are held in memory together, and as much by each child process.
const MAX_MEMORY_BYTES: u64 = 4 << 30;

const HELP: &str = "More options: secretscan help scan\n\
    Exit codes: 0 nothing found, 1 secrets found, 2 error\n\n\
    Examples:\n  \
    secretscan scan                                  the whole history of this repository\n  \
    secretscan scan --staged                         what the next commit would bring\n  \
    secretscan scan --report sarif=scan.sarif ~/code/shop\n  \
    git diff | secretscan scan --stdin";

/// Scan a repository's history, staged changes, a directory or standard input
///
/// Without a mode the whole history of the repository is scanned, every ref of it. Nothing leaves this machine,
/// unless --verify asks for it.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// The repository, or any path inside it [default: the current directory]
    #[arg(conflicts_with_all = ["stdin", "directory"])]
    path: Option<PathBuf>,

    #[command(flatten)]
    mode: ModeArguments,

    #[command(flatten)]
    report: ReportArguments,

    /// Hide this percentage of each secret; what stays is its start [default: 100: all but what tells its kind]
    #[arg(
        long, value_name = "PERCENT", num_args = 0..=1, require_equals = true, default_missing_value = "100",
        value_parser = clap::value_parser!(u8).range(0..=100)
    )]
    redact: Option<u8>,

    /// Show the secrets in the report, as --redact=0 does
    #[arg(long, conflicts_with = "redact", hide_short_help = true)]
    no_redact: bool,

    #[command(flatten)]
    rules: RuleArguments,

    #[command(flatten)]
    ignore: IgnoreArguments,

    /// Report secrets even on lines with the comment secretscan:allow or gitleaks:allow
    #[arg(long, hide_short_help = true)]
    ignore_inline_allow: bool,

    #[cfg(feature = "verify")]
    #[command(flatten)]
    verify: verify::VerifyArguments,

    /// Decode text that is encoded so many times; 0 decodes nothing
    #[arg(long, hide_short_help = true, value_name = "N", default_value_t = Depth::default().decode)]
    max_decode_depth: u8,

    /// Open archives in archives so deep; 0 opens none
    #[arg(long, hide_short_help = true, value_name = "N", default_value_t = Depth::default().archive)]
    max_archive_depth: u8,

    /// How many threads scan [default: one for each processor]
    #[arg(long, hide_short_help = true, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// What to scan. At most one of them.
#[derive(clap::Args)]
#[group(id = "mode", multiple = false)]
struct ModeArguments {
    /// Scan every commit that any ref reaches (the default)
    #[arg(long)]
    history: bool,

    /// Scan the commits of a range, such as main..topic
    #[arg(long, value_name = "RANGE")]
    range: Option<String>,

    /// Scan what is staged for the next commit
    #[arg(long)]
    staged: bool,

    /// Scan standard input
    #[arg(long)]
    stdin: bool,

    /// Scan the files of a directory, whether in a repository or not
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// The key of the secret hashes in offline reports: a constant, so that fingerprints are the same on every machine
/// and a baseline can be shared.
///
/// The price: whoever has a report can test guesses at a secret against its hash. Only weak secrets can be guessed,
/// and the report names their place anyway.
pub fn offline_hash_key() -> HashKey {
    HashKey::from_bytes(b"secretscan offline fingerprints, version 1")
}

/// Scans and reports.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let rules = arguments.rules.load(arguments.place())?;
    let ignore_list = arguments.ignore.load(arguments.place())?;
    let key = offline_hash_key();
    let writer = arguments.report.open(Some(&|secret| Secret::new(secret).hash(&key)))?;
    #[cfg(feature = "verify")]
    let asking =
        arguments.verify.prepare(rules.clone(), arguments.rules.are_of_repository(arguments.place()))?;
    let (started, start) = (output::now(), Instant::now());
    let mut scanner = Scanner::new(rules.clone()).with_depth(arguments.depth());
    if arguments.ignore_inline_allow {
        scanner = scanner.ignoring_comments();
    }
    let mut scanned = {
        let _progress = Progress::start("scanning");
        arguments.scan(&scanner, &key)?
    };
    let ignored = ignore::take_out(&mut scanned, &ignore_list);
    let summary = Summary {
        commits: scanned.commits,
        blobs: scanned.blobs,
        bytes: scanned.bytes,
        started,
        ended: output::now(),
        elapsed: start.elapsed(),
        ignored,
        not_scanned: scanned.not_scanned,
        known: None,
    };
    let found: Vec<Found<'_>> = (scanned.findings.iter())
        .map(|located| Found { finding: &located.finding, secret: Some(located.secret.expose()) })
        .collect();
    let findings = ReportedFinding::list(&found, arguments.redaction());
    #[cfg(feature = "verify")]
    let findings = asking.ask(&scanned.findings, findings);
    writer.write(vec![Report {
        tool_version: env!("CARGO_PKG_VERSION"),
        rule_set_version: &scanner.version(),
        repository: None,
        findings,
        summary,
    }])
}

impl Arguments {
    /// Where the rules of a repository are looked for.
    fn place(&self) -> &Path {
        self.mode.directory.as_deref().unwrap_or(self.repository())
    }

    fn repository(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new("."))
    }

    fn redaction(&self) -> Redaction {
        if self.no_redact {
            Redaction::from_percent(0)
        } else {
            Redaction::from_percent(self.redact.unwrap_or(100))
        }
    }

    fn depth(&self) -> Depth {
        Depth { decode: self.max_decode_depth, archive: self.max_archive_depth }
    }

    fn scan(&self, scanner: &Scanner, key: &HashKey) -> anyhow::Result<ScanReport> {
        let scratch = env::temp_dir();
        let options = options(self.threads.map_or_else(all_threads, NonZeroUsize::get), &scratch);
        let mode = &self.mode;
        let scanned = if mode.stdin {
            Ok(scan_content(b"stdin", &read_stdin()?, scanner, key, &options))
        } else if let Some(directory) = &mode.directory {
            scan_directory(directory, scanner, key, &options)
        } else if mode.staged {
            Staged::read(self.repository(), self.index().as_deref(), &options)
                .and_then(|staged| staged.scan(scanner, key, &options))
        } else {
            let selection = mode.range.clone().map_or(Selection::All, Selection::Range);
            scan_history(self.repository(), &selection, scanner, key, &options)
        };
        scanned.map_err(explain)
    }

    /// The index that Git tells its hooks to look at. It belongs to the repository they run in, so it does not count
    /// for one named on the command line.
    fn index(&self) -> Option<PathBuf> {
        if self.path.is_some() { None } else { env::var_os("GIT_INDEX_FILE").map(PathBuf::from) }
    }
}

/// One thread for each processor.
pub fn all_threads() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// How the commands scan; temporary files go to `scratch`.
pub fn options(threads: usize, scratch: &Path) -> ScanOptions<'_> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    ScanOptions {
        threads,
        max_blob_bytes: MAX_BLOB_BYTES,
        max_memory_bytes: MAX_MEMORY_BYTES,
        stop: &NEVER,
        scratch,
    }
}

fn read_stdin() -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut limited = io::stdin().lock().take(MAX_BLOB_BYTES + 1);
    limited.read_to_end(&mut content).context("cannot read standard input")?;
    if limited.limit() == 0 {
        let message = format!("standard input has more than {MAX_BLOB_BYTES} bytes");
        return Err(Failure::new(message, "scan it in parts").into());
    }
    Ok(content)
}

/// Adds advice.
pub fn explain(error: GitError) -> anyhow::Error {
    let hint = match &error {
        GitError::NotARepository { .. } => "to scan plain files, use --directory DIR",
        GitError::BadRange { .. } | GitError::UnknownRef { .. } => {
            "a range is written as for git log, such as main..topic; try it with git log --oneline RANGE"
        }
        GitError::Io { .. } => "check that the path exists and may be read or written",
        GitError::Spawn { .. } => "install git 2.34 or later, and put it on the PATH",
        _ => return error.into(),
    };
    Failure::caused_by(error, "cannot scan", hint).into()
}
