//! The texts of messages. Templates are those of MiniJinja: Jinja2 syntax.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Output, State, UndefinedBehavior, Value};
use serde::Serialize;
use thiserror::Error;

use super::item::{Detail, Item};

/// What a text is read by, which says what must be escaped in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Markup {
    /// Slack's mrkdwn: <https://docs.slack.dev/messaging/formatting-message-text/#escaping>.
    Slack,
    /// The Markdown of adaptive cards:
    /// <https://learn.microsoft.com/adaptive-cards/authoring-cards/text-features>.
    Teams,
    /// Plain text.
    Plain,
}

/// A template that can't be used.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// It can't be read.
    #[error("the template {} can't be read; check template_file", path.display())]
    Read {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It can't be parsed, or not be filled in.
    #[error("the template of the channel {channel} can't be used")]
    Wrong {
        /// Its channel.
        channel: String,
        /// Where and why.
        source: minijinja::Error,
    },
}

/// What a message says. Its JSON is what templates get.
#[derive(Debug, Serialize)]
pub(crate) struct Content<'a> {
    /// How much of what there is, in a few words.
    pub(crate) headline: String,
    /// How many items there are.
    pub(crate) count: usize,
    /// How many of them are not named.
    pub(crate) more: usize,
    /// Those that are named.
    pub(crate) items: Vec<&'a Item>,
}

impl<'a> Content<'a> {
    pub(crate) fn new(items: &[&'a Item], max_items: usize) -> Self {
        let named: Vec<&Item> = items.iter().take(max_items).copied().collect();
        Self { headline: headline(items), count: items.len(), more: items.len() - named.len(), items: named }
    }
}

fn headline(items: &[&Item]) -> String {
    let number = |is_it: fn(&Detail) -> bool, one: &str, many: &str| match items
        .iter()
        .filter(|item| is_it(&item.detail))
        .count()
    {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {many}")),
    };
    let parts = [
        number(|detail| matches!(detail, Detail::Finding { .. }), "new secret", "new secrets"),
        number(
            |detail| matches!(detail, Detail::UnknownCommits { .. }),
            "repository with unknown commits",
            "repositories with unknown commits",
        ),
        number(|detail| matches!(detail, Detail::FailedRequest { .. }), "failed scan", "failed scans"),
        number(|detail| matches!(detail, Detail::DeadLetter { .. }), "dead letter", "dead letters"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("secretscan: {}", parts.join(", "))
}

/// A template that can be filled in.
pub(crate) struct Template {
    channel: String,
    environment: Environment<'static>,
}

const NAME: &str = "message";

impl Template {
    /// Reads the template of a channel, or takes the one that is built in, and tries it.
    pub(crate) fn new(channel: &str, markup: Markup, file: Option<&Path>) -> Result<Self, TemplateError> {
        let source = match file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| TemplateError::Read { path: path.to_owned(), source })?,
            None => match markup {
                Markup::Slack => include_str!("templates/slack.j2"),
                Markup::Teams => include_str!("templates/teams.j2"),
                Markup::Plain => include_str!("templates/smtp.j2"),
            }
            .to_owned(),
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        environment.set_syntax(syntax.build().expect("the usual delimiters"));
        environment.set_formatter(move |out, state, value| format(markup, out, state, value));
        let wrong = |source| TemplateError::Wrong { channel: channel.to_owned(), source };
        environment.add_template_owned(NAME, source).map_err(wrong)?;
        let template = Self { channel: channel.to_owned(), environment };
        template.fill(&Content::new(&[], 1))?;
        Ok(template)
    }

    pub(crate) fn fill(&self, content: &Content<'_>) -> Result<String, TemplateError> {
        let filled = self.environment.get_template(NAME).and_then(|template| template.render(Serde(content)));
        filled
            .map(|text| text.trim_end().to_owned())
            .map_err(|source| TemplateError::Wrong { channel: self.channel.clone(), source })
    }
}

fn format(
    markup: Markup,
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    match value.as_str().filter(|_| !value.is_safe()) {
        Some(text) => Ok(out.write_str(&escaped(markup, text))?),
        None => minijinja::escape_formatter(out, state, value),
    }
}

/// A value so that it is shown as it is: no mention, no link, no line of its own.
fn escaped(markup: Markup, text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match (markup, c) {
            (_, c) if c.is_control() => escaped.push(' '),
            (Markup::Slack, '&') => escaped.push_str("&amp;"),
            (Markup::Slack, '<') => escaped.push_str("&lt;"),
            (Markup::Slack, '>') => escaped.push_str("&gt;"),
            // There is no escape for it, and it would end the code that it stands in.
            (Markup::Slack, '`') => escaped.push('\''),
            (Markup::Teams, '\\' | '*' | '_' | '[' | ']' | '(' | ')' | '`' | '<' | '>' | '#') => {
                escaped.push('\\');
                escaped.push(c);
            }
            (_, c) => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_for_who_reads_them() {
        let text = "<!channel> & `a`\n[b](https://c.example)";
        assert_eq!(escaped(Markup::Slack, text), "&lt;!channel&gt; &amp; 'a' [b](https://c.example)");
        assert_eq!(escaped(Markup::Teams, text), r"\<!channel\> & \`a\` \[b\]\(https://c.example\)");
        assert_eq!(escaped(Markup::Plain, text), "<!channel> & `a` [b](https://c.example)");
    }

    #[test]
    fn a_wrong_template_is_told_at_the_start() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{% for %}").unwrap();
        let error = Template::new("c", Markup::Plain, Some(file.path())).err().unwrap();
        assert!(error.to_string().contains("the template of the channel c"), "{error}");
        let error = Template::new("c", Markup::Plain, Some(Path::new("/no/such/file"))).err().unwrap();
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }
}
