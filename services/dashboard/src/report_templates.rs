//! Reports that are made by templates of whoever runs the dashboard, besides those of the built-in formats.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use secretscan_report::{Format, Template, TemplateError};
use thiserror::Error;

/// Why a template can't be used.
#[derive(Debug, Error)]
pub enum ReportTemplateError {
    /// Its name would be no part of a URL.
    #[error("the name {name:?} in dashboard.report_templates can't be used; use letters, digits, _ and -")]
    Name {
        /// The name.
        name: String,
    },
    /// Its file can't be read.
    #[error("the template {} of dashboard.report_templates can't be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is wrong.
    #[error("{} of dashboard.report_templates can't be used", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: TemplateError,
    },
}

/// A format that a template makes.
#[derive(Clone)]
pub struct ReportTemplate {
    /// How it is written.
    pub format: Format,
    /// Its media type.
    pub media_type: &'static str,
    /// What names of its files end with.
    pub extension: String,
}

/// Templates by their names.
pub struct ReportTemplates(BTreeMap<String, ReportTemplate>);

impl ReportTemplates {
    /// Reads the files.
    ///
    /// # Errors
    /// [`ReportTemplateError`] for the first one that can't be used.
    pub fn read(files: &BTreeMap<String, PathBuf>) -> Result<Self, ReportTemplateError> {
        let read = |(name, path): (&String, &PathBuf)| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if name.is_empty() || !name.chars().all(is_plain) {
                return Err(ReportTemplateError::Name { name: name.clone() });
            }
            Ok((name.clone(), ReportTemplate::read(path)?))
        };
        files.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&ReportTemplate> {
        self.0.get(name)
    }

    /// All names.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

impl ReportTemplate {
    fn read(path: &Path) -> Result<Self, ReportTemplateError> {
        let unread = |source| ReportTemplateError::Read { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(unread)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let wrong = |source| ReportTemplateError::Wrong { path: path.to_owned(), source };
        let template = Template::parse(&name, &text).map_err(wrong)?;
        let made = name.strip_suffix(".j2").or_else(|| name.strip_suffix(".jinja")).unwrap_or(&name);
        let extension = made.rsplit_once('.').map_or("txt", |(_, extension)| extension).to_owned();
        let media_type = match extension.as_str() {
            "html" | "htm" => "text/html; charset=utf-8",
            "json" => "application/json",
            "xml" => "application/xml",
            "csv" => "text/csv; charset=utf-8",
            "md" => "text/markdown; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        };
        Ok(Self { format: Format::Template(template), media_type, extension })
    }
}
