//! Messages by mail, over SMTP.

use std::net::IpAddr;

use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncTransport, Message, Tokio1Executor};
use secretscan_bus::chain;

use crate::config::{DeliverySettings, MailTls, SmtpSettings};
use crate::error::{StartError, read_secret};
use crate::outcome::Outcome;

/// A mail server and who gets what from whom.
pub(crate) struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mail {
    pub(crate) fn new(
        name: &str,
        settings: &SmtpSettings,
        delivery: &DeliverySettings,
    ) -> Result<Self, StartError> {
        let SmtpSettings { server, port, tls, from, to, user, password_file } = settings;
        let wrong = |what: &str| StartError::Mail { name: name.to_owned(), what: what.to_owned() };
        let is_here = server == "localhost" || server.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let builder = match tls {
            MailTls::Starttls => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(server),
            MailTls::Tls => AsyncSmtpTransport::<Tokio1Executor>::relay(server),
            MailTls::None if is_here || delivery.allow_plaintext => {
                Ok(AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server))
            }
            MailTls::None => return Err(wrong("tls: use starttls or tls, or set delivery.allow_plaintext")),
        };
        let mut builder = builder.map_err(|_| wrong("server: it can't be used with TLS"))?;
        builder = builder.timeout(Some(delivery.timeout()));
        if let Some(port) = port {
            builder = builder.port(*port);
        }
        match (user, password_file) {
            (Some(user), Some(file)) => {
                let password = read_secret(&format!("the password_file of the channel {name}"), file)?;
                let password = String::from_utf8_lossy(password.expose()).into_owned();
                builder = builder.credentials(Credentials::new(user.clone(), password));
            }
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => return Err(wrong("user and password_file go together")),
        }
        let mailbox =
            |text: &String| text.parse().map_err(|_| wrong(&format!("{text:?} is no mail address")));
        let to: Vec<Mailbox> = to.iter().map(mailbox).collect::<Result<_, _>>()?;
        if to.is_empty() {
            return Err(wrong("to: name at least one address"));
        }
        Ok(Self { transport: builder.build(), from: mailbox(from)?, to })
    }

    pub(crate) async fn send(&self, subject: &str, text: String) -> Outcome {
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .date_now()
            .message_id(None)
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let message = match builder.body(text) {
            Ok(message) => message,
            Err(error) => return Outcome::Never { reason: chain(&error) },
        };
        match self.transport.send(message).await {
            Ok(_) => Outcome::Arrived,
            Err(error) => {
                // What the server says may repeat what it was sent.
                let reason = match error.status() {
                    Some(code) => format!("the mail server answered {code}"),
                    // It tells its causes itself.
                    None => error.to_string(),
                };
                match error.is_permanent() {
                    true => Outcome::Never { reason },
                    false => Outcome::Again { after: None, may_have_arrived: true, reason },
                }
            }
        }
    }
}
