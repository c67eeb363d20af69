//! Which findings are not to be reported because an ignore file lists them.

use std::path::{Path, PathBuf};

use secretscan_detect::canonical;
use secretscan_git::ScanReport;
use secretscan_report::IgnoreList;

use crate::failure::Failure;
use crate::project;

/// The ignore files that a repository may have at its root; all of them are used.
const PROJECT_FILES: [&str; 2] = [".secretscanignore", ".gitleaksignore"];

/// Ignore files.
#[derive(clap::Args)]
pub struct IgnoreArguments {
    /// Leave out the findings listed in this file, besides those in .secretscanignore and .gitleaksignore at the
    /// repository's root; one a line: a fingerprint, file:rule:line or commit:file:rule:line; may be repeated
    #[arg(long, value_name = "FILE")]
    ignore_file: Vec<PathBuf>,

    /// Report findings even if an ignore file of the repository lists them
    #[arg(long, hide_short_help = true)]
    no_ignore_files: bool,
}

impl IgnoreArguments {
    /// What the files given, and those of the repository at `place`, list.
    pub fn load(&self, place: &Path) -> Result<IgnoreList, Failure> {
        let of_project =
            if self.no_ignore_files { Vec::new() } else { project::files(place, &PROJECT_FILES) };
        let mut all = IgnoreList::default();
        for file in self.ignore_file.iter().chain(&of_project) {
            let hint = "correct the file; --no-ignore-files passes over those of the repository";
            let list = IgnoreList::read(file, canonical);
            all.extend(list.map_err(|cause| Failure::caused_by(cause, "cannot use the ignore file", hint))?);
        }
        Ok(all)
    }
}

/// Takes out what is listed; gives how many findings that were.
pub fn take_out(report: &mut ScanReport, list: &IgnoreList) -> u64 {
    let before = report.findings.len();
    report.findings.retain(|located| !list.ignores(&located.finding));
    (before - report.findings.len()) as u64
}
