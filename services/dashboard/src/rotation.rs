//! What to do about a secret that leaked, by its kind: who issued it, and what else depends on it.

/// How secrets of one kind are told by the id of the rule that found them, and how they are replaced.
struct Kind {
    /// Parts of ids; with `^` how they begin.
    ids: &'static [&'static str],
    steps: &'static [&'static str],
}

/// Of the first kind that an id belongs to.
const KINDS: [Kind; 9] = [
    Kind {
        ids: &[
            "bitcoin",
            "bip3",
            "ethereum",
            "solana",
            "stellar-secret",
            "ripple",
            "nostr",
            "sui-",
            "cardano",
            "zcash",
            "monero",
            "substrate",
            "aptos",
            "near-private",
            "tezos",
            "eos-private",
            "avalanche",
            "mina-private",
        ],
        steps: &[
            "Make a new wallet, on a machine that never saw the old key.",
            "Move what the old key holds to it, now: such a key can't be revoked, and programs watch public repositories for it.",
            "Look through the old address's transactions for some that were not yours.",
        ],
    },
    Kind {
        ids: &[
            "^private-key",
            "^openssh-",
            "^putty-",
            "^pkcs12",
            "^java-keystore",
            "^wireguard",
            "^tor-onion",
            "^saml-",
        ],
        steps: &[
            "Make a new pair of keys, and put its private half where the old one is used, outside of the repository.",
            "Put its public half where the old one is trusted: authorized_keys, deploy keys, peers, the certificate.",
            "Take the old public key away everywhere; ask who issued a certificate for it to revoke that.",
            "A passphrase does not help: whoever has the file can try as many as they like.",
            "Look into the logs of what it opens for logins that were not yours.",
        ],
    },
    Kind {
        ids: &["webhook-secret", "signing-secret", "hmac-key", "signature-key", "salt-key"],
        steps: &[
            "Make a new signing secret, and let the receiver take both for a while, where the provider signs with both.",
            "Take the old one away: whoever has it can make messages that look like the provider's.",
            "Look through the messages that came since for some that the provider does not know.",
        ],
    },
    Kind {
        ids: &["webhook", "-hook"],
        steps: &[
            "Make a new webhook, and give its address to whoever posts to it, outside of the repository.",
            "Delete the old one: its address is all that is needed to post in your name.",
            "Tell who reads there that messages since may not be yours.",
        ],
    },
    Kind {
        ids: &["client-secret", "app-secret", "oauth-secret", "application-secret", "consumer-secret"],
        steps: &[
            "Add a second secret to the client (application) at the provider, and put it where the old one is used.",
            "Delete the old one.",
            "Revoke the tokens that were issued with it: they stay valid for their time.",
            "Look at the client's redirect addresses and permissions for changes that were not yours.",
        ],
    },
    Kind {
        ids: &[
            "encryption-key",
            "fernet",
            "unseal",
            "gossip",
            "master-key",
            "masterkey",
            "machine-key",
            "django-secret",
            "rails-secret",
            "laravel-app",
            "secret-key-base",
            "age-secret",
            "jasypt",
            "paseto-key",
            "jwk-",
            "jwt-key",
        ],
        steps: &[
            "Make a new key, and set it as the first one, where the program can read with several.",
            "Encrypt or sign anew what the old key protects; sessions and links that it signed end.",
            "Take the old key away. What was encrypted with it and may be copied counts as read: change the secrets in it too.",
        ],
    },
    Kind {
        ids: &[
            "database",
            "postgres",
            "mysql",
            "mongo",
            "redis-",
            "mssql",
            "rabbitmq",
            "elasticsearch",
            "jdbc",
            "oracle-connect",
            "sql-user",
            "sqlcmd",
            "pgpass",
            "neo4j",
            "kafka-jaas",
        ],
        steps: &[
            "Make a second user with the same rights, and put its password where the old one is used, outside of the repository.",
            "Lock the old user, or change its password, and end its open connections.",
            "See whether the server can be reached from where it need not be, and close that.",
            "Look into the server's log for connections that were not yours, and for users that were added.",
        ],
    },
    Kind {
        ids: &[
            "password",
            "passphrase",
            "-pw",
            "netrc",
            "basic-auth",
            "docker-config",
            "community",
            "cpassword",
        ],
        steps: &[
            "Change the password where it is used to log in, and everywhere else where the same one is used.",
            "Put the new one where programs need it, outside of the repository; better give programs a token of their own.",
            "End open sessions, and turn on a second factor where people log in.",
            "Look for logins that were not yours.",
        ],
    },
    Kind {
        ids: &[
            "session",
            "cookie",
            "oauth-access",
            "oauth-refresh",
            "refresh-token",
            "jwt",
            "jwe",
            "macaroon",
            "sts-",
        ],
        steps: &[
            "End the session or revoke the token where it was issued: log out of all devices, or take the application's access away.",
            "Where it can't be revoked, it is valid until it expires: see when, and lock the account until then if it matters.",
            "Log in anew, and keep such tokens in no file of the repository.",
            "Look into the provider's log for uses that were not yours.",
        ],
    },
];

/// What holds of keys and tokens of an API, and of what has no kind of its own.
const API_KEY: &[&str] = &[
    "Make a new one where it was issued, with only the rights that it needs, and an end.",
    "Put it where the old one is used, outside of the repository: a vault, or the settings of the deployment.",
    "Revoke the old one: it stays in the history, and in every clone of it.",
    "Look into the provider's log for uses that were not yours.",
];

/// What to do about a secret that a rule found, in this order.
pub fn steps(rule_id: &str) -> &'static [&'static str] {
    KINDS
        .iter()
        .find(|kind| kind.ids.iter().any(|part| is_part(part, rule_id)))
        .map_or(API_KEY, |kind| kind.steps)
}

fn is_part(part: &str, id: &str) -> bool {
    part.strip_prefix('^').map_or_else(|| id.contains(part), |start| id.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_way() {
        let first = |id: &str| steps(id)[0];
        let expected = [
            ("github-token", "Make a new one where"),
            ("aws-secret-access-key", "Make a new one where"),
            ("private-key", "Make a new pair"),
            ("openssh-private-key-bare", "Make a new pair"),
            ("mailgun-private-key", "Make a new one where"),
            ("ethereum-private-key", "Make a new wallet"),
            ("slack-webhook", "Make a new webhook"),
            ("github-webhook-secret", "Make a new signing secret"),
            ("github-oauth-client-secret", "Add a second secret"),
            ("database-url-password", "Make a second user"),
            ("generic-password", "Change the password"),
            ("slack-session-cookie", "End the session"),
            ("airflow-fernet-key", "Make a new key"),
            ("a-rule-of-somebody", "Make a new one where"),
        ];
        for (id, start) in expected {
            assert!(first(id).starts_with(start), "{id}: {}", first(id));
        }
    }

    #[test]
    fn no_kind_is_without_rules() {
        let rules = secretscan_rules::builtin();
        let ids: Vec<&str> = rules.rules().iter().map(|rule| rule.id.as_str()).collect();
        for part in KINDS.iter().flat_map(|kind| kind.ids) {
            assert!(ids.iter().any(|id| is_part(part, id)), "no rule is called {part}");
        }
    }
}
