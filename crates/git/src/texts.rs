//! What commits and tags themselves say: messages and names, which may hold secrets like any file.

use std::collections::HashSet;

use git2::{ObjectType, Oid, Repository};
use secretscan_detect::Scanner;
use secretscan_model::Author;
use secretscan_model::ids::CommitId;

use crate::attribution::Origin;
use crate::command::{git_in, output};
use crate::error::GitError;
use crate::objects::read;
use crate::repository::parse_oid;
use crate::scan::{Scan, ScanOptions};

/// Stands for the path of commit messages. No tree can have it.
pub const COMMIT_MESSAGE: &[u8] = b".git/COMMIT_MESSAGE";
/// Stands for the path of the names and addresses in commits.
pub(crate) const COMMIT_AUTHOR: &[u8] = b".git/COMMIT_AUTHOR";

/// Names and addresses are cut at this length: a commit may claim megabytes.
const MAX_AUTHOR_CHARS: usize = 256;

/// The texts of a commit that people wrote, with what stands for their path. Signatures and merged tags are left out.
pub(crate) fn texts_of_commit(commit: &[u8]) -> [(&'static [u8], &[u8]); 2] {
    let (header, message) = split(commit);
    // The author and the committer stand next to each other.
    let start = find_line(header, b"author ").unwrap_or(header.len());
    let committer = find_line(header, b"committer ").unwrap_or(start);
    let end = memchr::memchr(b'\n', &header[committer..]).map_or(header.len(), |end| committer + end);
    [(COMMIT_AUTHOR, header.get(start..end).unwrap_or_default()), (COMMIT_MESSAGE, message)]
}

/// Header and body of a commit or tag.
fn split(object: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memmem::find(object, b"\n\n") {
        Some(end) => (&object[..=end], &object[end + 2..]),
        None => (object, b""),
    }
}

/// Where the first line begins that starts so.
fn find_line(header: &[u8], prefix: &[u8]) -> Option<usize> {
    memchr::memmem::find_iter(header, prefix).find(|at| *at == 0 || header[at - 1] == b'\n')
}

/// The value of a header line.
fn field<'a>(object: &'a [u8], name: &[u8]) -> &'a [u8] {
    let (header, _) = split(object);
    let mut lines = header.split(|byte| *byte == b'\n');
    lines.find_map(|line| line.strip_prefix(name)).unwrap_or_default()
}

/// Reads the author of a commit, `author NAME <EMAIL> SECONDS ZONE`. Histories hold malformed ones: what can't be read
/// is left empty.
pub(crate) fn author(commit: &[u8]) -> Author {
    person(field(commit, b"author "))
}

fn person(line: &[u8]) -> Author {
    let line = String::from_utf8_lossy(line);
    let (name, rest) = line.split_once('<').unwrap_or((&line, ""));
    let (email, time) = rest.rsplit_once('>').unwrap_or((rest, ""));
    let time = time.split_ascii_whitespace().next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    let short = |text: &str| text.trim().chars().take(MAX_AUTHOR_CHARS).collect();
    Author { name: short(name), email: short(email), time }
}

/// Scans the messages of annotated tags, and what refs lead to that is in no commit: blobs.
pub(crate) fn scan_refs(
    scan: &mut Scan<'_>,
    repository: &Repository,
    scanner: &Scanner,
    options: &ScanOptions<'_>,
) -> Result<(), GitError> {
    let mut command = git_in(repository.path());
    command.args(["for-each-ref", "--format=%(objecttype) %(objectname) %(refname)"]);
    let listing = output(command, "for-each-ref")?;
    let mut of_refs = RefScan::new(repository, scanner, options);
    for line in listing.split(|byte| *byte == b'\n') {
        let mut fields = line.splitn(3, |byte| *byte == b' ');
        let (Some(kind), Some(id), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let id = parse_oid(repository, &String::from_utf8_lossy(id));
        if let Some(id) = id.filter(|_| kind != b"commit") {
            of_refs.add(scan, name, id);
        }
    }
    Ok(())
}

/// Scans what refs lead to that is in no commit, each object once.
pub(crate) struct RefScan<'a> {
    repository: &'a Repository,
    scanner: &'a Scanner,
    max_bytes: u64,
    seen: HashSet<Oid>,
}

impl<'a> RefScan<'a> {
    pub fn new(repository: &'a Repository, scanner: &'a Scanner, options: &ScanOptions<'_>) -> Self {
        Self { repository, scanner, max_bytes: options.max_blob_bytes, seen: HashSet::new() }
    }

    /// The ref of this name has this id. Nothing comes of a commit.
    pub fn add(&mut self, scan: &mut Scan<'_>, name: &[u8], id: Oid) {
        let mut next = Some(id);
        // A tag may point to a tag.
        while let Some(id) = next.filter(|id| self.seen.insert(*id)) {
            next = None;
            match read(self.repository, id.as_bytes(), self.max_bytes) {
                Ok((ObjectType::Blob, content)) => {
                    let bytes = content.len() as u64;
                    let scanned = self.scanner.scan_all(&content);
                    scan.add_content(name, bytes, &scanned, &Origin::outside_history());
                }
                Ok((ObjectType::Tag, tag)) => next = self.add_tag(scan, name, &tag),
                Ok((ObjectType::Tree, _)) => {
                    let what = String::from_utf8_lossy(name).into_owned();
                    scan.leave_out(what, "it leads to a tree that belongs to no commit");
                }
                Ok(_) => {}
                Err(reason) => scan.leave_out(String::from_utf8_lossy(name), reason),
            }
        }
    }

    /// Scans the message; gives what the tag points to, unless it is a commit.
    fn add_tag(&self, scan: &mut Scan<'_>, name: &[u8], tag: &[u8]) -> Option<Oid> {
        let (_, message) = split(tag);
        let target = String::from_utf8_lossy(field(tag, b"object ")).into_owned();
        let commit = target.parse::<CommitId>().ok().filter(|_| field(tag, b"type ") == b"commit");
        let author = person(field(tag, b"tagger "));
        let origin = Origin::of_commit(author.time, commit, author);
        scan.add_text(name, &self.scanner.scan(message), &origin);
        parse_oid(self.repository, &target).filter(|_| commit.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authors_are_read_from_good_and_bad_commits() {
        let of = |text: &[u8]| author(text);
        let good =
            of(b"tree 00\nauthor A U Thor <a@example.com> 1700000000 +0100\ncommitter C <c> 1 +0000\n\nm");
        assert_eq!(good.name, "A U Thor");
        assert_eq!((good.email.as_str(), good.time), ("a@example.com", 1_700_000_000));
        assert_eq!(of(b"author <> 5 +0000\n"), Author { time: 5, ..Author::default() });
        assert_eq!(of(b"author L\xe9o <l@x>\n").name, "L\u{fffd}o");
        assert_eq!(of(b"tree 00\n\nauthor In Message <m> 1 +0"), Author::default());
        assert_eq!(of(b""), Author::default());
    }

    #[test]
    fn a_commit_says_who_and_why() {
        let signed =
            b"tree 00\nparent 11\nauthor A <a> 1 +0\ncommitter C <c> 2 +0\ngpgsig x\n y\n\nwhy\n\nmore\n";
        let [(_, who), (_, why)] = texts_of_commit(signed);
        assert_eq!(who, b"author A <a> 1 +0\ncommitter C <c> 2 +0");
        assert_eq!(why, b"why\n\nmore\n");
        for odd in [&b""[..], b"tree 00\n\n", b"author A", b"committer C\nauthor A\n\nx", b"\n\n"] {
            texts_of_commit(odd);
        }
    }
}
