//! What people send: parameters of a URL, and forms that write. Forms are read here and nowhere else, so that none is read
//! without the token of the session.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use minijinja::{Value, context};

use super::error::PageError;
use crate::auth::Visitor;
use crate::state::App;

/// Names and values, some of them several times.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(text: &[u8]) -> Self {
        let pairs = url::form_urlencoded::parse(text).into_owned();
        Self(pairs.map(|(name, value)| (name, value.trim().to_owned())).collect())
    }

    /// A field without the space around it; empty when there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// A field that says something.
    pub fn some(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// All values of a field that say something.
    pub fn all(&self, name: &str) -> Vec<String> {
        let wanted = |(known, value): &&(String, String)| known == name && !value.is_empty();
        self.0.iter().filter(wanted).map(|(_, value)| value.clone()).collect()
    }

    /// Lines, or parts between commas.
    pub fn words(&self, name: &str) -> Vec<String> {
        let words = self.text(name).split([',', '\n', ' ']).map(str::trim);
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// Every field but the token of the session, to show a form as it was filled in.
    pub fn values(&self) -> BTreeMap<&str, &str> {
        let filled = self.0.iter().filter(|(name, _)| name != "csrf");
        filled.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// The same list elsewhere: its URL with another cursor, or none.
    pub fn url(&self, path: &str, cursor: Option<&str>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let kept = self.0.iter().filter(|(name, value)| name != "cursor" && !value.is_empty());
        query.extend_pairs(kept);
        if let Some(cursor) = cursor {
            query.append_pair("cursor", cursor);
        }
        let query = query.finish();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }

    /// The links to the first and to the next page.
    pub fn pages(&self, path: &str, next: Option<&str>) -> Value {
        let first = self.some("cursor").map(|_| self.url(path, None));
        context! { first, next => next.map(|cursor| self.url(path, Some(cursor))) }
    }
}

/// The parameters of the URL.
pub(super) struct Params(pub Fields);

impl FromRequestParts<Arc<App>> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Infallible> {
        Ok(Self(Fields::parse(parts.uri.query().unwrap_or_default().as_bytes())))
    }
}

/// What a form says, and who has sent it. That it was sent from a page of the session is checked.
#[derive(Debug)]
pub(super) struct Form {
    pub visitor: Visitor,
    pub fields: Fields,
}

impl FromRequest<Arc<App>> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, app).await?;
        let request = Request::from_parts(parts, body);
        let body = Bytes::from_request(request, app).await.map_err(IntoResponse::into_response)?;
        let form = Self { visitor, fields: Fields::parse(&body) };
        if !form.visitor.has_csrf(form.fields.text("csrf")) {
            let text =
                "This form belongs to another session. Go back, load the page again, and send it from there.";
            return Err(PageError::new(StatusCode::FORBIDDEN, "Not from this session", text).into_response());
        }
        Ok(form)
    }
}

/// A page of this dashboard that a form names, to go there next: never elsewhere.
pub(super) fn local_path(path: &str, otherwise: &str) -> String {
    let is_here = path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains(['\\', '\r', '\n', '\t'])
        && !path.starts_with("/login");
    if is_here { path.to_owned() } else { otherwise.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_lead_to_pages_of_this_dashboard_only() {
        assert_eq!(local_path("/findings?rule=a&b=c", "/"), "/findings?rule=a&b=c");
        for elsewhere in
            ["", "https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil", "/login"]
        {
            assert_eq!(local_path(elsewhere, "/"), "/", "{elsewhere}");
        }
    }

    #[test]
    fn a_list_is_a_url() {
        let fields = Fields::parse(b"severity=high&severity=low&path=a+b%26c&rule=&cursor=old");
        assert_eq!(
            fields.url("/findings", Some("n")),
            "/findings?severity=high&severity=low&path=a+b%26c&cursor=n"
        );
        assert_eq!(fields.all("severity"), ["high", "low"]);
        assert_eq!(fields.some("rule"), None);
        assert_eq!(Fields::default().url("/findings", None), "/findings");
    }
}
