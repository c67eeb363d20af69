//! Payloads in the field of a form, `application/x-www-form-urlencoded`, as GitHub sends them if asked.

use std::borrow::Cow;

use super::PayloadError;

/// Whether a content type is that of a form.
pub(super) fn is_form(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The field `payload`.
pub(super) fn payload(body: &[u8]) -> Result<Cow<'_, [u8]>, PayloadError> {
    let mut fields = url::form_urlencoded::parse(body);
    let (_, value) = fields.find(|(name, _)| name == "payload").ok_or(PayloadError::NoPayload)?;
    Ok(match value {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    })
}
