//! Rules that gitleaks knows by another id, so that its users' configurations and ignore files mean the same here.

/// Ids as gitleaks' reports and its users' files show them, and ours. Only rules for the same kind of secret, or ours
/// for several of those.
pub const ALIASES: &[(&str, &str)] = &[
    ("aws-access-token", "aws-access-key-id"),
    ("curl-auth-user", "curl-user-password"),
    ("digitalocean-access-token", "digitalocean-token"),
    ("digitalocean-pat", "digitalocean-token"),
    ("discord-api-token", "discord-bot-token"),
    ("generic-api-key", "generic-secret-assignment"),
    ("github-app-token", "github-token"),
    ("github-fine-grained-pat", "github-fine-grained-token"),
    ("github-oauth", "github-token"),
    ("github-pat", "github-token"),
    ("gitlab-pat", "gitlab-token"),
    ("huggingface-access-token", "huggingface-token"),
    ("mailgun-private-api-token", "mailgun-api-key"),
    ("rubygems-api-token", "rubygems-api-key"),
    ("sendgrid-api-token", "sendgrid-api-key"),
    ("sentry-user-token", "sentry-token"),
    ("slack-bot-token", "slack-token"),
    ("slack-user-token", "slack-token"),
    ("slack-webhook-url", "slack-webhook"),
    ("telegram-bot-api-token", "telegram-bot-token"),
];

/// Our id of a rule that gitleaks knows by this one; any other id as it is.
pub fn canonical(id: &str) -> &str {
    ALIASES.iter().find(|(theirs, _)| *theirs == id).map_or(id, |(_, ours)| ours)
}
