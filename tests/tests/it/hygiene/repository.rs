//! A repository with a canary in every place that a history has for one.

use data_encoding::BASE64;
use secretscan_testkit::{Change, Random, Repository, RepositoryBuilder, SecretKind, SecretText};

use super::canary::Canary;

/// The repository, and what is planted in it.
pub(crate) fn planted() -> (Repository, Vec<Canary>) {
    let mut random = Random::new(7);
    let mut canaries = Vec::new();
    let mut plant = |name, kind| {
        let SecretText { text, mut secrets } = SecretText::new(kind, &mut random);
        let secret = secrets.pop().expect("a secret").1;
        // Of a key that fills lines the longest is enough, and more than enough to be seen.
        let telling = secret.lines().max_by_key(|line| line.len()).unwrap_or_default();
        canaries.push(Canary::new(name, telling));
        (text, secret)
    };
    let mut builder = RepositoryBuilder::new().unwrap();
    let mut files = Vec::new();
    for (kind, path) in SecretKind::ALL.into_iter().zip(["a", "b", "c", "d", "e", "f"]) {
        files.push(Change::write(format!("plain/{path}.conf"), plant("a file", kind).0));
    }
    let (text, _) = plant("a text in base64", SecretKind::StripeKey);
    files.push(Change::write("encoded.yaml", format!("data: {}\n", BASE64.encode(text.as_bytes()))));
    let (_, secret) = plant("pieces on several lines", SecretKind::GitHubToken);
    let pieces = [&secret[..9], &secret[9..20], &secret[20..]].join("\" +\n    \"");
    files.push(Change::write("pieces.js", format!("const token = \"{pieces}\";\n")));
    let (text, secret) = plant("a line that says it twice", SecretKind::Password);
    files.push(Change::write("twice.conf", format!("{} # was {secret}\n", text.trim_end())));
    let (text, _) = plant("an archive", SecretKind::SlackToken);
    let (_, secret) = plant("the name of a member of an archive", SecretKind::GitHubToken);
    files.push(Change::write("archive.tar", tar(&format!("{secret}.txt"), text.as_bytes())));
    let (_, secret) = plant("the name of a file", SecretKind::GitHubToken);
    files.push(Change::write(format!("{secret}.txt"), "nothing\n"));
    let (text, secret) = plant("the name of a file with a secret in it", SecretKind::GitHubToken);
    files.push(Change::write(format!("dir/{secret}/{secret}.txt"), text));
    builder.commit("main", files);
    let (text, secret) = plant("the message of a commit", SecretKind::GitHubToken);
    builder.message(&format!("Rotate\n\n{text}\n{secret}\n"));
    builder.commit("main", [Change::delete("plain/a.conf")]);
    let (text, secret) = plant("the name of an author", SecretKind::GitHubToken);
    let (_, mail) = plant("the address of an author", SecretKind::GitHubToken);
    builder.author(&format!("Ada {secret} <{mail}@example.com>"));
    let commit = builder.commit("main", [Change::write("of-author.conf", text)]);
    builder.author("Ada Example <ada@example.com>");
    let (_, secret) = plant("the message and the name of a tag", SecretKind::GitHubToken);
    builder.annotated_tag(&secret, commit);
    let (_, secret) = plant("the name of a branch", SecretKind::GitHubToken);
    builder.branch(&secret, "main");
    builder.commit(&secret, [Change::write("on-branch", "nothing\n")]);
    (builder.build().unwrap(), canaries)
}

/// An archive with one member.
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}
