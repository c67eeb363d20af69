//! The channels to people: how a message is put and sent.

use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use secretscan_bus::{chain, now};
use secretscan_detect::Secret;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::item::{Item, time};
use super::mail::Mail;
use super::template::{Content, Markup, Template};
use crate::config::{ChannelKind, ChannelSettings, DeliverySettings};
use crate::error::{StartError, read_secret};
use crate::outcome::Outcome;
use secretscan_http::{Call, Http, check_url};

/// What a secret of Standard Webhooks begins with.
const SECRET_PREFIX: &str = "whsec_";
/// Standard Webhooks asks for a key of 24 to 64 bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A channel to people.
pub(crate) struct Channel {
    pub(crate) name: String,
    kind: Kind,
}

enum Kind {
    Slack { url: Secret, template: Template },
    Teams { url: Secret, template: Template },
    Webhook { url: Secret, key: Secret },
    Smtp { mail: Box<Mail>, template: Template },
}

/// The body of a webhook, in the form of Standard Webhooks:
/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    timestamp: String,
    data: &'a Content<'a>,
}

impl Channel {
    pub(crate) fn new(settings: &ChannelSettings, delivery: &DeliverySettings) -> Result<Self, StartError> {
        let name = &settings.name;
        let is_token = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(is_token) {
            return Err(StartError::ChannelName { name: name.clone() });
        }
        let template = |markup| Template::new(name, markup, settings.template_file.as_deref());
        let url = |file| {
            let key = format!("the url_file of the channel {name}");
            let url = read_secret(&key, file)?;
            let text = String::from_utf8_lossy(url.expose());
            check_url(&key, &text, delivery.allow_plaintext)?;
            Ok::<_, StartError>(url)
        };
        let kind = match &settings.kind {
            ChannelKind::Slack { url_file } => {
                Kind::Slack { url: url(url_file)?, template: template(Markup::Slack)? }
            }
            ChannelKind::Teams { url_file } => {
                Kind::Teams { url: url(url_file)?, template: template(Markup::Teams)? }
            }
            ChannelKind::Webhook { url_file, secret_file } => {
                let secret = read_secret(&format!("the secret_file of the channel {name}"), secret_file)?;
                let key =
                    signing_key(&secret).ok_or_else(|| StartError::SigningKey { name: name.clone() })?;
                Kind::Webhook { url: url(url_file)?, key }
            }
            ChannelKind::Smtp(smtp) => {
                let mail = Box::new(Mail::new(name, smtp, delivery)?);
                Kind::Smtp { mail, template: template(Markup::Plain)? }
            }
        };
        Ok(Self { name: name.clone(), kind })
    }

    /// Sends a message with these items, of which at most so many are named.
    pub(crate) async fn send(&self, http: &Http, items: &[&Item], max_items: usize) -> Outcome {
        let content = Content::new(items, max_items);
        let filled = |template: &Template| {
            template.fill(&content).map_err(|error| Outcome::Never { reason: chain(&error) })
        };
        let call = match &self.kind {
            Kind::Slack { url, template } => filled(template).map(|text| post(url, &json!({ "text": text }))),
            Kind::Teams { url, template } => filled(template).map(|text| post(url, &card(&text))),
            Kind::Webhook { url, key } => Ok(signed(url, key, &self.name, items, &content)),
            Kind::Smtp { mail, template } => match filled(template) {
                Ok(text) => return mail.send(&content.headline, text).await,
                Err(outcome) => Err(outcome),
            },
        };
        match call {
            Ok(call) => match http.send(call).await {
                Ok(answer) => Outcome::of(&answer),
                Err(trouble) => trouble.into(),
            },
            Err(outcome) => outcome,
        }
    }
}

fn post(url: &Secret, body: &serde_json::Value) -> Call {
    Call::post(String::from_utf8_lossy(url.expose()).into_owned(), body.to_string().into_bytes())
}

/// An adaptive card, as a workflow of Teams takes it: <https://learn.microsoft.com/connectors/teams/>, "when a Teams
/// webhook request is received".
fn card(text: &str) -> serde_json::Value {
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.2",
                "body": [{ "type": "TextBlock", "text": text, "wrap": true }],
            },
        }],
    })
}

/// The bytes of a key; `None` when it is not written as it should be.
fn signing_key(secret: &Secret) -> Option<Secret> {
    let text = std::str::from_utf8(secret.expose()).ok()?;
    let key = BASE64.decode(text.strip_prefix(SECRET_PREFIX)?.as_bytes()).ok()?;
    KEY_BYTES.contains(&key.len()).then(|| Secret::new(key))
}

/// A message signed as Standard Webhooks says. Its id is made of what it says, so that the receiver knows it again.
fn signed(url: &Secret, key: &Secret, channel: &str, items: &[&Item], content: &Content<'_>) -> Call {
    let mut keys: Vec<&str> = items.iter().map(|item| item.key.as_str()).collect();
    keys.sort_unstable();
    let digest = Sha256::digest(format!("{channel}\n{}", keys.join("\n")));
    let id = format!("msg_{}", HEXLOWER.encode(&digest[..16]));
    let now = now().0;
    let seconds = (now / 1_000).to_string();
    let event = Event { r#type: "secretscan.notification", timestamp: time(now), data: content };
    let body = serde_json::to_vec(&event).expect("texts and numbers always serialise");
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("a key of any length");
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(&body);
    let signature = format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()));
    Call::post(String::from_utf8_lossy(url.expose()).into_owned(), body)
        .with("webhook-id", id)
        .with("webhook-timestamp", seconds)
        .with("webhook-signature", signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_key_has_its_form() {
        let key = |text: String| signing_key(&Secret::new(text)).map(|key| key.expose().len());
        let encoded = |length| BASE64.encode(&vec![7; length]);
        assert_eq!(key(format!("whsec_{}", encoded(32))), Some(32));
        assert_eq!(key(encoded(32)), None);
        assert_eq!(key(format!("whsec_{}", encoded(23))), None);
        assert_eq!(key("whsec_!".into()), None);
    }
}
