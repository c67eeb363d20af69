//! From templates to pages.

use std::sync::OnceLock;

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use secretscan_bus::now;
use serde::Serialize;

use super::assets;
use crate::auth::{Role, Visitor};

macro_rules! templates {
    ($($name:literal),* $(,)?) => { [$(($name, include_str!(concat!("templates/", $name)))),*] };
}

const TEMPLATES: [(&str, &str); 17] = templates![
    "agents.html",
    "audit.html",
    "base.html",
    "dead_letters.html",
    "error.html",
    "finding.html",
    "findings.html",
    "login.html",
    "overview.html",
    "parts.html",
    "repositories.html",
    "repository.html",
    "request.html",
    "request_new.html",
    "requests.html",
    "schedules.html",
    "shared.html",
];

fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        for (name, text) in TEMPLATES {
            environment.add_template(name, text).expect("the templates are part of the program, and tested");
        }
        environment.add_filter("time", time);
        environment.add_filter("ago", ago);
        environment.add_filter("number", number);
        environment.add_filter("bytes", bytes);
        environment.add_filter("lasted", lasted);
        environment.add_filter("query", query);
        environment.add_filter("short", short);
        environment
    })
}

/// A row of a list, or anything else, as templates read it.
pub(super) fn shown(value: &impl Serialize) -> Value {
    Value::from(Serde(value))
}

/// A page with the frame around it; without a visitor there is no navigation.
pub(super) fn page(visitor: Option<&Visitor>, template: &str, title: &str, about: Value) -> Response {
    let frame = context! {
        title => title,
        assets => format!("/assets/{}", assets::version()),
        visitor => visitor.map(|visitor| context! {
            name => visitor.actor.name.as_str(),
            role => visitor.actor.role.as_str(),
            is_triager => visitor.actor.role.may(Role::Triager),
            is_admin => visitor.actor.role.may(Role::Admin),
            sees_all => visitor.actor.scope == crate::auth::Scope::All,
            csrf => visitor.csrf.as_str(),
        }),
        ..about
    };
    let rendered = environment().get_template(template).and_then(|template| template.render(frame));
    match rendered {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(template, error = secretscan_bus::chain(&error), "a page can't be made");
            (StatusCode::INTERNAL_SERVER_ERROR, "This page can't be made; the log says why.").into_response()
        }
    }
}

/// A time: milliseconds since the Unix epoch, or as RFC 3339.
fn timestamp(value: &Value) -> Result<jiff::Timestamp, Error> {
    let parsed = match (value.as_i64(), value.as_str()) {
        (Some(ms), _) => jiff::Timestamp::from_millisecond(ms).ok(),
        (None, Some(text)) => text.parse().ok(),
        (None, None) => None,
    };
    parsed.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("{value} is no time")))
}

/// A time as `2026-01-31 23:59` in UTC.
fn time(value: &Value) -> Result<String, Error> {
    Ok(timestamp(value)?.strftime("%Y-%m-%d %H:%M").to_string())
}

/// A time as how far it is away, with the time itself to look at; a dash where there is none.
fn ago(value: &Value) -> Result<Value, Error> {
    if value.is_none() {
        return Ok(Value::from("–"));
    }
    let at = timestamp(value)?;
    let away = now().0 - at.as_millisecond();
    let span = span(away.abs());
    let text = match away {
        -999..=999 => "now".to_owned(),
        1_000.. => format!("{span} ago"),
        _ => format!("in {span}"),
    };
    let exact = at.strftime("%Y-%m-%d %H:%M:%S UTC");
    let machine = at.strftime("%Y-%m-%dT%H:%M:%SZ");
    Ok(Value::from_safe_string(format!("<time datetime=\"{machine}\" title=\"{exact}\">{text}</time>")))
}

/// A duration in milliseconds.
fn lasted(ms: i64) -> String {
    if ms < 1_000 { format!("{ms} ms") } else { span(ms) }
}

fn span(ms: i64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        172_800..63_072_000 => format!("{} days", seconds / 86_400),
        _ => format!("{} years", seconds / 31_536_000),
    }
}

/// With thin gaps between thousands.
pub(super) fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn bytes(bytes: i64) -> String {
    match bytes {
        ..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// The beginning of a text that may be long.
fn short(text: &str) -> String {
    const MOST: usize = 90;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A part of a URL.
fn query(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans_are_for_people() {
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((number(999).as_str(), number(-1_000).as_str()), ("999", "-1\u{202f}000"));
        assert_eq!((span(59_000).as_str(), span(90_000).as_str()), ("59 s", "1 min"));
        assert_eq!(bytes(1_500_000), "1.5 MB");
    }

    #[test]
    fn every_template_is_one() {
        assert_eq!(environment().templates().count(), TEMPLATES.len());
    }
}
