//! The secrets that are planted: formats as their providers document them, with random content, assembled at run time.

use data_encoding::BASE64URL_NOPAD;
use secretscan_testkit::{Random, SecretKind, SecretText, base62, crc32};

use super::text::{ALPHANUMERIC, BASE64, HEX};

const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const DIGITS: &str = "123456789";
const URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

/// A secret to plant.
pub struct NewSecret {
    /// What it opens.
    pub kind: &'static str,
    /// Whole lines, as they stand in settings or code.
    pub text: String,
    /// The secret; of several that belong together, each. Of a private key, its first line.
    pub values: Vec<String>,
}

/// How a secret is made.
#[derive(Clone, Copy)]
pub enum Kind {
    /// By the testkit.
    Common(&'static str, SecretKind),
    /// A token by its parts, given to a name.
    Token(&'static str, &'static [Part]),
    /// A line in which the last random part is the secret.
    Within(&'static str, &'static [Part]),
    /// A JSON Web Token.
    Jwt,
}

/// A part of a token.
#[derive(Clone, Copy)]
pub enum Part {
    /// Always the same.
    Fixed(&'static str),
    /// Characters of an alphabet, and how many.
    Random(&'static str, usize),
    /// CRC-32 of what follows the last underscore, in six digits of base 62: GitHub's way, and npm's.
    Base62Crc,
    /// An underscore and the CRC-32 of all before it in hexadecimal digits: Grafana's way.
    HexCrc,
}

use Kind::{Common, Token, Within};
use Part::{Base62Crc, Fixed, HexCrc, Random as Of};

/// All kinds.
pub const KINDS: [Kind; 36] = [
    Common("GitHub classic token", SecretKind::GitHubToken),
    Common("AWS access key", SecretKind::AwsKeyPair),
    Common("Slack bot token", SecretKind::SlackToken),
    Common("Stripe live key", SecretKind::StripeKey),
    Common("private key", SecretKind::PrivateKey),
    Common("password", SecretKind::Password),
    Kind::Jwt,
    Token(
        "GITHUB_TOKEN",
        &[Fixed("github_"), Fixed("pat_"), Of(ALPHANUMERIC, 22), Fixed("_"), Of(ALPHANUMERIC, 59)],
    ),
    Token("GITLAB_TOKEN", &[Fixed("glpat"), Fixed("-"), Of(ALPHANUMERIC, 20)]),
    Token("GOOGLE_API_KEY", &[Fixed("AI"), Fixed("zaSy"), Of(URL, 33)]),
    Token("GOOGLE_CLIENT_SECRET", &[Fixed("GOC"), Fixed("SPX-"), Of(URL, 28)]),
    Token(
        "OPENAI_API_KEY",
        &[Fixed("sk-"), Fixed("proj-"), Of(URL, 74), Fixed("T3Blbk"), Fixed("FJ"), Of(URL, 74)],
    ),
    Token("ANTHROPIC_API_KEY", &[Fixed("sk-ant"), Fixed("-api03-"), Of(URL, 93), Fixed("AA")]),
    Token("NPM_TOKEN", &[Fixed("npm"), Fixed("_"), Of(ALPHANUMERIC, 30), Base62Crc]),
    Token("PYPI_TOKEN", &[Fixed("pypi-"), Fixed("AgEIcHlwaS5vcmcCJ"), Of(URL, 130)]),
    Token("SENDGRID_API_KEY", &[Fixed("S"), Fixed("G."), Of(URL, 22), Fixed("."), Of(URL, 43)]),
    Token("DIGITALOCEAN_TOKEN", &[Fixed("dop"), Fixed("_v1_"), Of(HEX, 64)]),
    Token("SHOPIFY_TOKEN", &[Fixed("shp"), Fixed("at_"), Of(HEX, 32)]),
    Token("HF_TOKEN", &[Fixed("h"), Fixed("f_"), Of(LETTERS, 34)]),
    Token("TELEGRAM_BOT_TOKEN", &[Of(DIGITS, 10), Fixed(":AA"), Of(URL, 33)]),
    Token("DOCKER_TOKEN", &[Fixed("dckr"), Fixed("_pat_"), Of(URL, 27)]),
    Token("VAULT_TOKEN", &[Fixed("hv"), Fixed("s.CAES"), Of(URL, 90)]),
    Token("TERRAFORM_TOKEN", &[Of(ALPHANUMERIC, 14), Fixed(".atlas"), Fixed("v1."), Of(ALPHANUMERIC, 67)]),
    Token("DATABRICKS_TOKEN", &[Fixed("da"), Fixed("pi"), Of(HEX, 32)]),
    Token("GRAFANA_TOKEN", &[Fixed("gl"), Fixed("sa_"), Of(ALPHANUMERIC, 32), HexCrc]),
    Token("LINEAR_API_KEY", &[Fixed("lin"), Fixed("_api_"), Of(ALPHANUMERIC, 40)]),
    Token("POSTMAN_API_KEY", &[Fixed("PM"), Fixed("AK-"), Of(HEX, 24), Fixed("-"), Of(HEX, 34)]),
    Token("DOPPLER_TOKEN", &[Fixed("dp"), Fixed(".pt."), Of(ALPHANUMERIC, 43)]),
    Token("NEW_RELIC_API_KEY", &[Fixed("NR"), Fixed("AK-"), Of(UPPER, 27)]),
    Token("RUBYGEMS_API_KEY", &[Fixed("ruby"), Fixed("gems_"), Of(HEX, 48)]),
    Token("MAILCHIMP_API_KEY", &[Of(HEX, 32), Fixed("-u"), Fixed("s12")]),
    Token("AIRTABLE_TOKEN", &[Fixed("pa"), Fixed("t"), Of(ALPHANUMERIC, 14), Fixed("."), Of(HEX, 64)]),
    Within(
        "Slack webhook",
        &[
            Fixed("slack_url: https://hooks.slack"),
            Fixed(".com/services/T0"),
            Of(UPPER, 8),
            Fixed("/B0"),
            Of(UPPER, 8),
            Fixed("/"),
            Of(ALPHANUMERIC, 24),
        ],
    ),
    Within(
        "Azure storage key",
        &[
            Fixed("AZURE_STORAGE=DefaultEndpointsProtocol=https;AccountName=ledgerfiles;Account"),
            Fixed("Key="),
            Of(BASE64, 86),
            Fixed("==;EndpointSuffix=core.windows.net"),
        ],
    ),
    Within(
        "PostgreSQL URL",
        &[
            Fixed("DATABASE_URL=postgres://ledger"),
            Fixed(":"),
            Of(ALPHANUMERIC, 20),
            Fixed("@db.ledger.internal:5432/ledger"),
        ],
    ),
    Within(
        "MongoDB URL",
        &[
            Fixed("mongo_uri: mongodb+srv://ledger"),
            Fixed(":"),
            Of(ALPHANUMERIC, 18),
            Fixed("@c0.k2xq9.mongodb.net/ledger"),
        ],
    ),
];

impl NewSecret {
    /// A new one of this kind.
    pub fn new(kind: Kind, random: &mut Random) -> Self {
        match kind {
            Common(kind, common) => {
                let SecretText { text, secrets } = SecretText::new(common, random);
                let values = secrets.into_iter().map(|(_, secret)| match common {
                    SecretKind::PrivateKey => secret.lines().nth(1).expect("a key has lines").to_owned(),
                    _ => secret,
                });
                Self { kind, text, values: values.collect() }
            }
            Token(name, parts) => {
                let value = assemble(parts, random).concat();
                Self { kind: name, text: assignment(name, &value, random), values: vec![value] }
            }
            Within(kind, parts) => {
                let made = assemble(parts, random);
                let is_secret = |part: &Part| matches!(part, Part::Random(..));
                let at = parts.iter().rposition(is_secret).expect("a part is the secret");
                Self { kind, text: made.concat() + "\n", values: vec![made[at].clone()] }
            }
            Kind::Jwt => {
                let claims = format!("{{\"sub\":\"{}\",\"iat\":1704067200}}", random.text(DIGITS, 10));
                let parts = [r#"{"alg":"HS256","typ":"JWT"}"#, &claims]
                    .map(|part| BASE64URL_NOPAD.encode(part.as_bytes()));
                let value = format!("{}.{}.{}", parts[0], parts[1], random.text(URL, 43));
                Self {
                    kind: "JSON Web Token",
                    text: assignment("SESSION", &value, random),
                    values: vec![value],
                }
            }
        }
    }
}

/// The parts one by one.
fn assemble(parts: &[Part], random: &mut Random) -> Vec<String> {
    let mut made: Vec<String> = Vec::new();
    for part in parts {
        let before = made.concat();
        made.push(match *part {
            Fixed(text) => text.to_owned(),
            Of(alphabet, len) => random.text(alphabet, len),
            Base62Crc => base62(crc32(before.rsplit('_').next().unwrap_or_default().as_bytes())),
            HexCrc => format!("_{:08x}", crc32(before.as_bytes())),
        });
    }
    made
}

/// A line that gives a value to a name, in one of several syntaxes.
fn assignment(name: &str, value: &str, random: &mut Random) -> String {
    let lower = name.to_lowercase();
    match random.below(5) {
        0 => format!("export {name}={value}\n"),
        1 => format!("{lower}: {value}\n"),
        2 => format!("  \"{lower}\": \"{value}\",\n"),
        3 => format!("    client.{lower} = '{value}'\n"),
        _ => format!("{name} = \"{value}\"\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_holds_its_values() {
        let mut random = Random::new(1);
        for kind in KINDS {
            let made = NewSecret::new(kind, &mut random);
            assert!(!made.values.is_empty());
            assert!(
                made.values.iter().all(|value| value.len() >= 16 && made.text.contains(value)),
                "{}",
                made.kind
            );
            assert!(made.text.ends_with('\n'));
        }
    }

    #[test]
    fn checksums_are_those_of_the_providers() {
        let token = assemble(&[Fixed("a_"), Fixed("123456789"), Base62Crc], &mut Random::new(1)).concat();
        // The check value of the CRC catalogue, 0xCBF43926, in base 62.
        assert_eq!(token, "a_1234567893jZRME");
        assert_eq!(assemble(&[Fixed("123456789"), HexCrc], &mut Random::new(1))[1], "_cbf43926");
    }
}
