//! `secretscan scan`: scans offline, in this process.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::Context;
use secretscan_detect::{HashKey, Scanner};
use secretscan_git::{
    GitError, ScanOptions, ScanReport, Selection, scan_content, scan_directory, scan_history, scan_staged,
};
use secretscan_report::{Format, Report, ReportedFinding, Summary, TextStyle};

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::ignore::{self, IgnoreArguments};
use crate::output;
use crate::progress::Progress;
use crate::rules::RuleArguments;

/// Larger content is reported as not scanned: it would be held in memory.
const MAX_BLOB_BYTES: u64 = 1 << 30;

/// Scan a repository's history, staged changes, a directory or standard input
///
/// Without a mode the whole history of the repository is scanned, every ref of it. Nothing leaves this machine.
#[derive(clap::Args)]
#[command(after_help = crate::exit::HELP)]
pub struct Arguments {
    /// The repository, or any path inside it [default: the current directory]
    #[arg(conflicts_with_all = ["stdin", "directory"])]
    path: Option<PathBuf>,

    #[command(flatten)]
    mode: ModeArguments,

    /// How to report
    #[arg(long, value_enum, default_value_t = FormatArgument::Text)]
    format: FormatArgument,

    /// Write the report to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Keep the secrets themselves out of the report
    #[arg(
        long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1,
        require_equals = true, action = clap::ArgAction::Set
    )]
    redact: bool,

    /// Show the secrets in the report, as --redact=false does
    #[arg(long, conflicts_with = "redact")]
    no_redact: bool,

    #[command(flatten)]
    rules: RuleArguments,

    #[command(flatten)]
    ignore: IgnoreArguments,

    /// Report secrets even on lines with the comment secretscan:allow or gitleaks:allow
    #[arg(long)]
    ignore_inline_allow: bool,

    /// How many threads scan [default: one for each processor]
    #[arg(long, value_name = "N")]
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

/// How to report.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum FormatArgument {
    /// For people
    Text,
    /// One JSON document
    Json,
    /// One JSON object a line for each finding
    Jsonl,
    /// SARIF 2.1.0
    Sarif,
}

impl From<FormatArgument> for Format {
    fn from(argument: FormatArgument) -> Self {
        match argument {
            FormatArgument::Text => Self::Text,
            FormatArgument::Json => Self::Json,
            FormatArgument::Jsonl => Self::Jsonl,
            FormatArgument::Sarif => Self::Sarif,
        }
    }
}

/// The key of the secret hashes in offline reports: a constant, so that fingerprints are the same on every machine
/// and a baseline can be shared.
///
/// The price: whoever has a report can test guesses at a secret against its hash. Only weak secrets can be guessed,
/// and the report names their place anyway.
fn offline_hash_key() -> HashKey {
    HashKey::from_bytes(b"secretscan offline fingerprints, version 1")
}

/// Scans and reports.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let rules = arguments.rules.load(arguments.place())?;
    let ignore_list = arguments.ignore.load(arguments.place())?;
    // Opened first: an unwritable file should not cost a long scan, and an old report must not pass for a new one.
    let mut file = arguments.output.as_deref().map(create).transpose()?;
    let started = Instant::now();
    let mut scanner = Scanner::new(rules.clone());
    if arguments.ignore_inline_allow {
        scanner = scanner.ignoring_comments();
    }
    let mut scanned = {
        let _progress = Progress::start("scanning");
        arguments.scan(&scanner)?
    };
    let ignored = ignore::take_out(&mut scanned, &ignore_list);
    let mut report = arguments.report(&scanned, rules.version(), started.elapsed());
    report.summary.ignored = ignored;
    let outcome = if scanned.findings.is_empty() { Outcome::Clean } else { Outcome::Findings };

    let format = arguments.format.into();
    match &mut file {
        Some(file) => report.write(format, TextStyle::Plain, file)?,
        None => output::to_stdout(|out| {
            report.write(format, TextStyle::of_stdout(), out).map_err(|error| error.source)
        })?,
    }
    if format != Format::Text || file.is_some() {
        // Where standard error is closed, nobody listens.
        let _ = report.write_summary(TextStyle::of_stderr(), &mut io::stderr());
    }
    Ok(outcome)
}

fn create(path: &Path) -> Result<BufWriter<File>, Failure> {
    File::create(path).map(BufWriter::new).map_err(|cause| {
        let message = format!("cannot write the report to {}", path.display());
        Failure::caused_by(cause, message, "name a file in an existing, writable directory")
    })
}

impl Arguments {
    /// Where the rules of a repository are looked for.
    fn place(&self) -> &Path {
        self.mode.directory.as_deref().unwrap_or(self.repository())
    }

    fn repository(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new("."))
    }

    fn scan(&self, scanner: &Scanner) -> anyhow::Result<ScanReport> {
        let key = offline_hash_key();
        let options = ScanOptions {
            threads: self
                .threads
                .or_else(|| thread::available_parallelism().ok())
                .map_or(1, NonZeroUsize::get),
            max_blob_bytes: MAX_BLOB_BYTES,
            stop: &AtomicBool::new(false),
            scratch: &env::temp_dir(),
        };
        let mode = &self.mode;
        let scanned = if mode.stdin {
            Ok(scan_content(b"stdin", &read_stdin()?, scanner, &key, &options))
        } else if let Some(directory) = &mode.directory {
            scan_directory(directory, scanner, &key, &options)
        } else if mode.staged {
            scan_staged(self.repository(), self.index().as_deref(), scanner, &key, &options)
        } else {
            let selection = mode.range.clone().map_or(Selection::All, Selection::Range);
            scan_history(self.repository(), &selection, scanner, &key, &options)
        };
        scanned.map_err(explain)
    }

    /// The index that Git tells its hooks to look at. It belongs to the repository they run in, so it does not count
    /// for one named on the command line.
    fn index(&self) -> Option<PathBuf> {
        if self.path.is_some() { None } else { env::var_os("GIT_INDEX_FILE").map(PathBuf::from) }
    }

    fn report<'a>(
        &self,
        scanned: &'a ScanReport,
        rule_set_version: &'a str,
        elapsed: Duration,
    ) -> Report<'a> {
        let is_redacted = self.redact && !self.no_redact;
        let secret =
            |bytes: &'a [u8]| (!is_redacted).then(|| -> Cow<'a, str> { String::from_utf8_lossy(bytes) });
        Report {
            tool_version: env!("CARGO_PKG_VERSION"),
            rule_set_version,
            findings: scanned
                .findings
                .iter()
                .map(|located| ReportedFinding {
                    finding: &located.finding,
                    secret: secret(located.secret.expose()),
                })
                .collect(),
            summary: Summary {
                commits: scanned.commits,
                blobs: scanned.blobs,
                bytes: scanned.bytes,
                elapsed,
                ignored: 0,
                not_scanned: scanned.not_scanned.clone(),
            },
        }
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

fn explain(error: GitError) -> anyhow::Error {
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
