//! Where people are told: the section `[[channels]]`.

use std::path::PathBuf;

use serde::Deserialize;

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// By STARTTLS, or there is no connection.
    #[default]
    Starttls,
    /// By TLS from the beginning.
    Tls,
    /// Not at all.
    None,
}

/// How mail is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpSettings {
    /// The mail server.
    pub server: String,
    /// Its port; 587, 465 or 25 by `tls` when absent.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub tls: MailTls,
    /// The sender.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
    /// Who logs in; nobody when absent.
    pub user: Option<String>,
    /// A file that holds the password.
    pub password_file: Option<PathBuf>,
}

/// How messages of a channel are sent. URLs stand in files: most are secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// To an incoming webhook of Slack, or of what is compatible.
    Slack {
        /// A file that holds the URL.
        url_file: PathBuf,
    },
    /// To a webhook of a workflow of Microsoft Teams, as an adaptive card.
    Teams {
        /// A file that holds the URL.
        url_file: PathBuf,
    },
    /// To a URL of one's own, as JSON, signed as Standard Webhooks says.
    Webhook {
        /// A file that holds the URL.
        url_file: PathBuf,
        /// A file that holds the secret: `whsec_` and base64.
        secret_file: PathBuf,
    },
    /// By mail.
    Smtp(SmtpSettings),
}

/// Where people are told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct ChannelSettings {
    /// Its name, of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// A file with a template of one's own for the text; a webhook has none.
    pub template_file: Option<PathBuf>,
    /// How.
    pub kind: ChannelKind,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Slack,
    Teams,
    Webhook,
    Smtp,
}

/// A channel with the keys of all kinds: serde can't refuse unknown keys of a part that depends on another key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    kind: Kind,
    template_file: Option<PathBuf>,
    url_file: Option<PathBuf>,
    secret_file: Option<PathBuf>,
    server: Option<String>,
    port: Option<u16>,
    tls: Option<MailTls>,
    from: Option<String>,
    to: Option<Vec<String>>,
    user: Option<String>,
    password_file: Option<PathBuf>,
}

impl Written {
    /// A key that is there although its kind has none of this name.
    fn surplus(&self) -> Option<&'static str> {
        let keys = [
            ("template_file", self.template_file.is_some()),
            ("url_file", self.url_file.is_some()),
            ("secret_file", self.secret_file.is_some()),
            ("server", self.server.is_some()),
            ("port", self.port.is_some()),
            ("tls", self.tls.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("user", self.user.is_some()),
            ("password_file", self.password_file.is_some()),
        ];
        keys.into_iter().find(|(_, is_there)| *is_there).map(|(key, _)| key)
    }
}

impl TryFrom<Written> for ChannelSettings {
    type Error = String;

    fn try_from(mut written: Written) -> Result<Self, String> {
        let name = written.name.clone();
        let lacks = |key: &str| format!("the channel {name} lacks the key {key}");
        let kind = match written.kind {
            Kind::Slack => {
                ChannelKind::Slack { url_file: written.url_file.take().ok_or_else(|| lacks("url_file"))? }
            }
            Kind::Teams => {
                ChannelKind::Teams { url_file: written.url_file.take().ok_or_else(|| lacks("url_file"))? }
            }
            Kind::Webhook => ChannelKind::Webhook {
                url_file: written.url_file.take().ok_or_else(|| lacks("url_file"))?,
                secret_file: written.secret_file.take().ok_or_else(|| lacks("secret_file"))?,
            },
            Kind::Smtp => ChannelKind::Smtp(SmtpSettings {
                server: written.server.take().ok_or_else(|| lacks("server"))?,
                port: written.port.take(),
                tls: written.tls.take().unwrap_or_default(),
                from: written.from.take().ok_or_else(|| lacks("from"))?,
                to: written.to.take().ok_or_else(|| lacks("to"))?,
                user: written.user.take(),
                password_file: written.password_file.take(),
            }),
        };
        let template_file = match kind {
            ChannelKind::Webhook { .. } => None,
            ChannelKind::Slack { .. } | ChannelKind::Teams { .. } | ChannelKind::Smtp(_) => {
                written.template_file.take()
            }
        };
        match written.surplus() {
            Some(key) => Err(format!("the channel {name} is of a kind that has no key {key}")),
            None => Ok(Self { name, template_file, kind }),
        }
    }
}
