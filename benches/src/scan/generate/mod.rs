//! A large repository with a long history of many small changes, in which secrets are hidden at known places.
//!
//! Each kind of secret is hidden once at each place, each time with another value. The repository is the same each time.

mod form;
mod import;
mod secrets;
mod text;

use std::collections::VecDeque;
use std::path::Path;

use data_encoding::BASE64;
use secretscan_testkit::Random;

use self::import::{Change, Import, Mark};
use self::secrets::{KINDS, Kind, NewSecret};
use self::text::Prose;
use crate::planted::{Place, Planted};

const SEED: u64 = 1;
/// How many of the files that stay as they are a commit adds.
const FILES_AT_ONCE: usize = 100;
/// How many edits later a secret is removed that does not stay.
const REMOVED_AFTER: usize = 25;
const MAIN: &str = "refs/heads/main";

/// How much there is.
pub struct Size {
    /// Files that are written once.
    pub files: usize,
    /// Files that are changed again and again.
    pub busy_files: usize,
    /// Commits that change two of those; enough for all places and kinds.
    pub edits: usize,
}

/// As large as the programs need to show what they are made of.
pub const LARGE: Size = Size { files: 20_000, busy_files: 40, edits: 5_600 };

/// Makes the bare repository and returns what is hidden in it.
///
/// # Errors
/// When git fails.
pub fn generate(repository: &Path, size: &Size) -> anyhow::Result<Vec<Planted>> {
    let mut generator = Generator {
        import: Import::start(repository)?,
        random: Random::new(SEED),
        prose: Prose::new(),
        tip: Vec::new(),
        busy: Vec::new(),
        removals: VecDeque::new(),
        planted: Vec::new(),
        names: 0,
    };
    generator.first_files(size)?;
    let mut plan = generator.plan();
    let every = size.edits / (plan.len() + 1);
    for edit in 0..size.edits {
        generator.edit()?;
        if edit % every == every - 1
            && let Some((place, kind)) = plan.pop()
        {
            generator.plant(place, kind, edit)?;
        }
        generator.remove_until(edit)?;
    }
    generator.import.finish(repository)?;
    Ok(generator.planted)
}

struct BusyFile {
    path: String,
    lines: Vec<String>,
}

/// Something that leaves again.
enum Removal {
    File(String),
    Lines { file: usize, lines: Vec<String> },
}

struct Generator {
    import: Import,
    random: Random,
    prose: Prose,
    /// The last commit of the main branch, if there is one.
    tip: Vec<Mark>,
    busy: Vec<BusyFile>,
    /// In the order of the edit after which each is due.
    removals: VecDeque<(usize, Removal)>,
    planted: Vec<Planted>,
    /// How many names were made: no two are equal.
    names: usize,
}

impl Generator {
    fn first_files(&mut self, size: &Size) -> anyhow::Result<()> {
        for _ in 0..size.files / FILES_AT_ONCE {
            let mut changes = Vec::new();
            for _ in 0..FILES_AT_ONCE {
                let lines = 5 + self.random.below(50);
                let content = self.prose.lines(lines, &mut self.random).concat().into_bytes();
                changes.push(Change::Write { path: self.new_path(), content });
            }
            self.commit(&changes)?;
        }
        for _ in 0..size.busy_files {
            let lines = 250 + self.random.below(750);
            let lines = self.prose.lines(lines, &mut self.random);
            let path = self.new_path();
            self.busy.push(BusyFile { path, lines });
        }
        Ok(())
    }

    /// Each kind at each place, in random order.
    fn plan(&mut self) -> Vec<(Place, Kind)> {
        let mut plan: Vec<(Place, Kind)> =
            Place::HISTORY.into_iter().flat_map(|place| KINDS.map(|kind| (place, kind))).collect();
        for at in (1..plan.len()).rev() {
            plan.swap(at, self.random.below(at + 1));
        }
        plan
    }

    /// Changes some lines of two busy files.
    fn edit(&mut self) -> anyhow::Result<()> {
        let files = [self.busy_file(), self.busy_file()];
        for file in files {
            for _ in 0..1 + self.random.below(3) {
                let line = self.prose.line(&mut self.random);
                let lines = &mut self.busy[file].lines;
                let at = self.random.below(lines.len());
                match self.random.below(10) {
                    0..5 => lines[at] = line,
                    5..8 => lines.insert(at, line),
                    _ => drop(lines.remove(at)),
                }
            }
        }
        let changes = files.map(|file| self.write_busy(file));
        self.commit(&changes)
    }

    fn plant(&mut self, place: Place, kind: Kind, edit: usize) -> anyhow::Result<()> {
        let NewSecret { kind, text, mut values } = NewSecret::new(kind, &mut self.random);
        let message = self.new_message();
        let due = edit + REMOVED_AFTER;
        match place {
            Place::CommitMessage => {
                let file = self.busy_file();
                let line = self.prose.line(&mut self.random);
                self.busy[file].lines.push(line);
                let change = self.write_busy(file);
                self.tip =
                    vec![self.import.commit(MAIN, &format!("{message}\n{text}"), &self.tip, &[change])?];
            }
            Place::TagMessage => {
                let name = format!("v1.{}", self.take_name());
                self.import.tag(&name, self.tip[0], &format!("{message}\n{text}"))?;
            }
            Place::RemovedLines => {
                let file = self.busy_file();
                let lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
                let at = self.random.below(self.busy[file].lines.len());
                self.busy[file].lines.splice(at..at, lines.clone());
                let change = self.write_busy(file);
                self.commit(&[change])?;
                self.removals.push_back((due, Removal::Lines { file, lines }));
            }
            _ => {
                let (ending, content) = form::content(place, &text, &self.prose, &mut self.random)?;
                let path =
                    format!("config/{}-{}.{ending}", self.prose.word(&mut self.random), self.take_name());
                let change = Change::Write { path: path.clone(), content };
                match place {
                    Place::Merge => self.merge(change)?,
                    Place::OtherReference => {
                        let reference = format!("refs/pull/{}/head", self.take_name());
                        self.import.commit(&reference, &message, &self.tip, &[change])?;
                    }
                    Place::DeletedFile => {
                        self.commit(&[change])?;
                        self.removals.push_back((due, Removal::File(path)));
                    }
                    _ => self.commit(&[change])?,
                }
            }
        }
        if place == Place::Base64 {
            // To report it encoded is to find it.
            values.push(BASE64.encode(text.as_bytes()));
        }
        self.planted.push(Planted { kind: kind.to_owned(), place, values });
        Ok(())
    }

    /// Merges a branch of one commit; the merge makes a change that neither parent has.
    fn merge(&mut self, change: Change) -> anyhow::Result<()> {
        let branch = format!("refs/heads/topic-{}", self.take_name());
        let path = self.new_path();
        let content = self.prose.lines(20, &mut self.random).concat().into_bytes();
        let merged = [Change::Write { path, content }];
        let message = self.new_message();
        let side = self.import.commit(&branch, &message, &self.tip, &merged)?;
        let [merged] = merged;
        let message = format!("Merge {branch}\n");
        self.tip = vec![self.import.commit(MAIN, &message, &[self.tip[0], side], &[merged, change])?];
        Ok(())
    }

    /// Removes what is due.
    fn remove_until(&mut self, edit: usize) -> anyhow::Result<()> {
        while let Some((_, removal)) = self.removals.pop_front_if(|(due, _)| *due <= edit) {
            let change = match removal {
                Removal::File(path) => Change::Delete { path },
                Removal::Lines { file, lines } => {
                    self.busy[file].lines.retain(|line| !lines.contains(line));
                    self.write_busy(file)
                }
            };
            self.commit(&[change])?;
        }
        Ok(())
    }

    fn commit(&mut self, changes: &[Change]) -> anyhow::Result<()> {
        let message = self.new_message();
        self.tip = vec![self.import.commit(MAIN, &message, &self.tip, changes)?];
        Ok(())
    }

    fn busy_file(&mut self) -> usize {
        self.random.below(self.busy.len())
    }

    fn write_busy(&self, file: usize) -> Change {
        let BusyFile { path, lines } = &self.busy[file];
        Change::Write { path: path.clone(), content: lines.concat().into_bytes() }
    }

    fn new_message(&mut self) -> String {
        let [a, b, c] = [(); 3].map(|()| self.prose.word(&mut self.random));
        format!("Let the {a} of a {b} keep its {c}\n")
    }

    fn new_path(&mut self) -> String {
        let [a, b, c] = [(); 3].map(|()| self.prose.word(&mut self.random));
        let ending = *self.random.choose(&["go", "java", "js", "md", "py", "rs", "toml", "ts", "yaml"]);
        format!("{a}/{b}/{c}-{}.{ending}", self.take_name())
    }

    fn take_name(&mut self) -> usize {
        self.names += 1;
        self.names
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_planted_is_there_and_what_is_removed_is_not_checked_out() {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("repository.git");
        let planted = generate(&repository, &Size { files: 100, busy_files: 2, edits: 1_000 }).unwrap();
        assert_eq!(planted.len(), KINDS.len() * Place::HISTORY.len());

        let git = |arguments: &[&str]| {
            let output = Command::new("git").arg("-C").arg(&repository).args(arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let everything = git(&["cat-file", "--batch-all-objects", "--batch"]);
        let tip = git(&["archive", "--format=tar", "main"]);
        for planted in planted {
            let is_in = |text: &str| planted.values.iter().any(|value| text.contains(value));
            if !matches!(planted.place, Place::Utf16 | Place::Zip | Place::Gzip) {
                assert!(is_in(&everything), "{planted:?}");
                assert_eq!(is_in(&tip), planted.place.is_checked_out(), "{planted:?}");
            }
        }
    }
}
