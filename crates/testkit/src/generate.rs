//! Random repositories with histories like real ones.

use secretscan_model::CommitId;

use crate::oracle::COMMIT_MESSAGE;
use crate::random::Random;
use crate::repository::{Change, Mark, Repository, RepositoryBuilder};
use crate::secret::{SecretKind, SecretText};

const WORDS: [&str; 24] = [
    "parse", "value", "index", "order", "batch", "queue", "state", "merge", "table", "field", "count",
    "range", "split", "write", "read", "close", "open", "flush", "block", "entry", "shard", "cache", "route",
    "label",
];
const ENDINGS: [&str; 6] = ["rs", "py", "go", "toml", "md", "yaml"];
/// How the lines without secrets end.
const LINE_END: &str = ");\n";
/// Where the commits go that are on no other branch.
const TRUNK: &str = "main";

/// A secret that was put into a [`GeneratedRepository`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlantedSecret {
    /// The id of the built-in rule that finds it.
    pub rule_id: &'static str,
    /// The secret.
    pub secret: String,
    /// The path it was first written to. Renames and copies may have brought it to others.
    pub path: Vec<u8>,
    /// The commit that introduced it there.
    pub commit: CommitId,
}

/// A random repository and what was hidden in it.
pub struct GeneratedRepository {
    /// The repository.
    pub repository: Repository,
    /// Every secret in it, in the order of planting.
    pub planted: Vec<PlantedSecret>,
}

/// Makes a repository with this many commits (at least 20) on branches that are merged or left, some with several
/// others at once, with renames, copies, deletions, both kinds of tags, a branch of its own root, a reference that is
/// neither branch nor tag, and clocks that run wrong. Among the files are ones with CRLF, NUL bytes, UTF-16, very long
/// lines, a path that is not UTF-8, a symbolic link and a submodule.
///
/// The same seed makes the same repository, with the same ids.
///
/// # Errors
/// When git fails.
pub fn generate(seed: u64, commits: usize) -> anyhow::Result<GeneratedRepository> {
    assert!(commits >= 20, "the special files alone need several commits");
    let mut generator = Generator {
        random: Random::new(seed),
        builder: RepositoryBuilder::new()?,
        side_branches: Vec::new(),
        planted: Vec::new(),
        commits: 0,
        names: 0,
    };
    generator.special_files();
    while generator.commits < commits {
        generator.step();
    }
    generator.finish()
}

struct Generator {
    random: Random,
    builder: RepositoryBuilder,
    side_branches: Vec<String>,
    planted: Vec<(Mark, Vec<u8>, SecretText)>,
    commits: usize,
    /// How many names were made: no two are equal.
    names: usize,
}

impl Generator {
    fn finish(self) -> anyhow::Result<GeneratedRepository> {
        let repository = self.builder.build()?;
        let planted = self.planted.into_iter().flat_map(|(commit, path, text)| {
            let commit = repository.id(commit);
            let planted =
                move |(rule_id, secret)| PlantedSecret { rule_id, secret, path: path.clone(), commit };
            text.secrets.into_iter().map(planted)
        });
        let planted = planted.collect();
        Ok(GeneratedRepository { repository, planted })
    }

    /// The files that every generated repository has, each with a secret, and the other root.
    fn special_files(&mut self) {
        let first: Vec<Change> = (0..8).map(|_| Change::write(self.new_path(), self.new_content())).collect();
        self.commit(TRUNK, first);
        let crlf = |text: &str| text.replace('\n', "\r\n").into_bytes();
        let utf16 = |text: &str| {
            let units = text.encode_utf16().flat_map(u16::to_le_bytes);
            [0xFF, 0xFE].into_iter().chain(units).collect::<Vec<u8>>()
        };
        let binary = |text: &str| [b"\x7fBIN\0\0\x01\xff\n", text.as_bytes(), b"\0\xfe\xff"].concat();
        let long = |text: &str| [vec![b' '; 200_000], text.as_bytes().to_vec()].concat();
        let plain = |text: &str| text.as_bytes().to_vec();
        type Form<'a> = &'a dyn Fn(&str) -> Vec<u8>;
        let special: [(&[u8], SecretKind, Form<'_>); 6] = [
            (b"windows.ini", SecretKind::GitHubToken, &crlf),
            (b"registry.reg", SecretKind::SlackToken, &utf16),
            (b"image.bin", SecretKind::AwsKeyPair, &binary),
            (b"bundle.min.js", SecretKind::StripeKey, &long),
            (b"caf\xe9/na\xefve \"quoted\"\t.txt", SecretKind::Password, &plain),
            (b"deploy key", SecretKind::PrivateKey, &plain),
        ];
        for (path, kind, form) in special {
            let text = SecretText::new(kind, &mut self.random);
            let content = form(&text.text);
            let commit = self.commit(TRUNK, [Change::write(path, content)]);
            self.planted.push((commit, path.to_vec(), text));
        }
        let text = SecretText::new(SecretKind::SlackToken, &mut self.random);
        self.builder.message(&format!("Turn the bot off\n\nIt was {}", text.text));
        let commit = self.commit(TRUNK, []);
        self.planted.push((commit, COMMIT_MESSAGE.to_vec(), text));
        let elsewhere: CommitId = "1".repeat(40).parse().expect("40 digits are an id");
        self.commit(
            TRUNK,
            [Change::symlink("link", "windows.ini"), Change::submodule("vendor/module", elsewhere)],
        );
        let page = self.new_content();
        self.commit("pages", [Change::write("index.html", page)]);
        self.plant("pages");
        let commit = self.plant("review");
        self.builder.reference("refs/pull/1/head", commit);
        self.builder.delete_branch("review");
    }

    fn step(&mut self) {
        if self.random.percent(1) {
            // A clock that runs wrong: an hour back, and from there on.
            self.builder.shift_time(-3600);
        }
        let branch = self.some_branch();
        match self.random.below(100) {
            0..=3 if self.side_branches.len() < 8 => {
                let name = format!("topic-{}", self.take_name());
                self.builder.branch(&name, TRUNK);
                self.side_branches.push(name);
            }
            4..=7 if !self.side_branches.is_empty() => self.merge(1),
            8 if self.side_branches.len() >= 3 => self.merge(3),
            9 => {
                let commit = self.edit(TRUNK);
                let name = format!("v{}", self.take_name());
                if self.random.percent(50) {
                    self.builder.tag(&name, commit);
                } else {
                    self.builder.annotated_tag(&name, commit);
                }
            }
            10..=12 => {
                let from = self.some_file(&branch);
                let to = self.new_path();
                let copies = self.random.percent(40);
                self.commit(
                    &branch,
                    [if copies { Change::copy(from, to) } else { Change::rename(from, to) }],
                );
            }
            13 if self.builder.files(&branch).len() > 8 => {
                let path = self.some_file(&branch);
                self.commit(&branch, [Change::delete(path)]);
            }
            14..=19 => {
                self.plant(&branch);
            }
            _ => {
                self.edit(&branch);
            }
        }
    }

    /// Merges the oldest side branches into the trunk, now and then with a secret that no parent has.
    fn merge(&mut self, count: usize) {
        let merged: Vec<String> = self.side_branches.drain(..count).collect();
        let others: Vec<&str> = merged.iter().map(String::as_str).collect();
        let evil = self.random.percent(20).then(|| self.new_secret());
        let changes = evil.iter().map(|(path, content, _)| Change::write(path, content));
        let commit = self.builder.merge(TRUNK, &others, changes);
        self.commits += 1;
        self.planted.extend(evil.map(|(path, _, text)| (commit, path, text)));
        for branch in &merged {
            self.builder.delete_branch(branch);
        }
    }

    /// Commits a new file with a secret among other text.
    fn plant(&mut self, branch: &str) -> Mark {
        let (path, content, text) = self.new_secret();
        let commit = self.commit(branch, [Change::write(&path, content)]);
        self.planted.push((commit, path, text));
        commit
    }

    /// Changes one or two files, or adds one.
    fn edit(&mut self, branch: &str) -> Mark {
        if self.random.percent(15) {
            let change = Change::write(self.new_path(), self.new_content());
            return self.commit(branch, [change]);
        }
        let mut paths = vec![self.some_file(branch), self.some_file(branch)];
        paths.truncate(1 + self.random.below(2));
        paths.dedup();
        let changes: Vec<Change> = paths
            .into_iter()
            .map(|path| {
                let content = self.edited(branch, &path);
                Change::write(path, content)
            })
            .collect();
        self.commit(branch, changes)
    }

    /// The content of a file with a line put in after one of the lines that hold no secret, or at the end.
    fn edited(&mut self, branch: &str, path: &[u8]) -> Vec<u8> {
        let line = self.new_line();
        let mut content = self.builder.content(branch, path).to_vec();
        let len = LINE_END.len();
        let ends: Vec<usize> =
            (len..=content.len()).filter(|end| content[end - len..*end] == *LINE_END.as_bytes()).collect();
        let at = if ends.is_empty() { content.len() } else { *self.random.choose(&ends) };
        content.splice(at..at, line.into_bytes());
        content
    }

    fn commit(&mut self, branch: &str, changes: impl IntoIterator<Item = Change>) -> Mark {
        self.commits += 1;
        self.builder.commit(branch, changes)
    }

    fn some_branch(&mut self) -> String {
        if self.side_branches.is_empty() || self.random.percent(50) {
            return TRUNK.to_owned();
        }
        self.random.choose(&self.side_branches).clone()
    }

    fn some_file(&mut self, branch: &str) -> Vec<u8> {
        let files = self.builder.files(branch);
        self.random.choose(&files).to_vec()
    }

    fn new_secret(&mut self) -> (Vec<u8>, String, SecretText) {
        let kind = *self.random.choose(&SecretKind::ALL);
        let text = SecretText::new(kind, &mut self.random);
        let content = format!("{}{}{}", self.new_content(), text.text, self.new_content());
        (self.new_path(), content, text)
    }

    fn new_path(&mut self) -> Vec<u8> {
        let name = self.take_name();
        let (folder, word) = (self.random.choose(&WORDS), self.random.choose(&WORDS));
        format!("{folder}/{word}-{name}.{}", self.random.choose(&ENDINGS)).into_bytes()
    }

    fn new_content(&mut self) -> String {
        (0..5 + self.random.below(40)).map(|_| self.new_line()).collect()
    }

    fn new_line(&mut self) -> String {
        let words: Vec<&str> = (0..2 + self.random.below(8)).map(|_| *self.random.choose(&WORDS)).collect();
        format!("{}({}{LINE_END}", words[0], words[1..].join(", "))
    }

    fn take_name(&mut self) -> usize {
        self.names += 1;
        self.names
    }
}
