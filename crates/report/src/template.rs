//! Reports that a user's template makes of the JSON document. The templates are those of MiniJinja: Jinja2 syntax.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, Output, State, UndefinedBehavior, Value};
use serde::Serialize;
use thiserror::Error;

use crate::document::Document;
use crate::{Report, escape};

/// A template that can be parsed.
#[derive(Clone)]
pub struct Template {
    environment: Arc<Environment<'static>>,
    name: String,
}

/// A template that can't be parsed.
#[derive(Debug, Error)]
#[error("the template can't be used")]
pub struct TemplateError {
    /// Where and why.
    #[source]
    source: minijinja::Error,
}

impl Template {
    /// Parses a template. What the name ends with says how values are escaped: as HTML for `.html`, `.htm` and `.xml`,
    /// as JSON for `.json`, `.js`, `.yaml` and `.yml`, also where `.j2` or `.jinja` follows; else as for a terminal.
    ///
    /// # Errors
    /// [`TemplateError`] for wrong syntax.
    pub fn parse(name: &str, source: &str) -> Result<Self, TemplateError> {
        let mut environment = environment();
        let parsed = environment.add_template_owned(name.to_owned(), source.to_owned());
        parsed.map_err(|source| TemplateError { source })?;
        Ok(Self { environment: Arc::new(environment), name: name.to_owned() })
    }

    pub(crate) fn write(&self, reports: &[Report<'_>], out: &mut dyn Write) -> io::Result<()> {
        self.render(&Document::new(reports), out)
    }

    pub(crate) fn render(&self, context: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
        let template = self.environment.get_template(&self.name).expect("it was added");
        let rendered = template
            .render(Serde(context))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        out.write_all(rendered.as_bytes())
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("name", &self.name).finish_non_exhaustive()
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    // A misspelt field should not leave a hole in a report.
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
    environment.set_syntax(syntax.build().expect("the usual delimiters"));
    environment.set_formatter(format);
    environment
}

/// Escapes a value for where it stands, and what acts on a terminal or reorders text everywhere. What is not there is
/// nothing.
fn format(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), minijinja::Error> {
    if *state.auto_escape() == AutoEscape::Json && !value.is_safe() {
        let json = serde_json::to_string(value)
            .map_err(|e| minijinja::Error::new(ErrorKind::BadSerialization, "not JSON").with_source(e))?;
        return Ok(out.write_str(&escape::for_json(&json))?);
    }
    if value.is_none() {
        return Ok(());
    }
    match value.as_str().filter(|_| !value.is_safe()) {
        Some(text) => minijinja::escape_formatter(out, state, &Value::from(escape::for_lines(text))),
        None => minijinja::escape_formatter(out, state, value),
    }
}
