//! Indexing what a clone receives, in Git's place.
//!
//! `git index-pack` hashes each object with code of its own, some 190 MB/s; gix-pack writes the same index, byte for byte, with the
//! hash instructions of the processor, and looks for collisions as Git does. Git finds its own programs in `GIT_EXEC_PATH`: there, under
//! the name `git`, it meets this program, which takes the one call that it knows and hands all others on. So fetching,
//! with all its transports and settings, stays with Git. The price: whether an object is missing is seen when it is needed.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, thread};

use gix_hash::Kind as IdKind;
use gix_pack::Bundle;
use gix_pack::bundle::write::Options;
use prodash::tree::Root;

use crate::repository::{ids_of, open};

/// The variable that says where Git looks for its programs first.
pub(crate) const EXEC_PATH: &str = "GIT_EXEC_PATH";
const GIT_DIR: &str = "GIT_DIR";
/// Packs with more objects are left to Git: it needs less memory for each.
const MAX_OBJECTS: u32 = 2_600_000;
/// Signature, version, number of objects.
const HEADER: usize = 12;
/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);
/// As Git exits when something is wrong.
const FATAL: u8 = 128;
/// Steps of the work, as gix-pack calls them, and as Git does.
const STEPS: [(gix_utils::progress::Id, &str); 2] =
    [(*b"IWIO", "Receiving objects"), (*b"IWRO", "Resolving deltas")];

/// Makes a directory where Git finds `program` when it looks for its own, by [`EXEC_PATH`].
pub(crate) fn link(program: &Path, dir: &Path) -> io::Result<()> {
    symlink(program, dir.join("git"))
}

/// What a program that is named as an indexer does first: where Git has called it, it does what Git wants, and ends with that.
/// Else `None`.
pub fn called_by_git() -> Option<ExitCode> {
    let mut arguments = env::args_os();
    let name = PathBuf::from(arguments.next()?);
    if name.file_name() != Some(OsStr::new("git")) {
        return None;
    }
    let arguments: Vec<OsString> = arguments.collect();
    // Without a buffer: what is not read is Git's, if it is to go on.
    let mut input = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(input) => File::from(input),
        Err(error) => return Some(refuse(&error.to_string())),
    };
    let (header, wanted) = match wanted(&arguments, &mut input) {
        Ok(read) => read,
        Err(_) => return Some(refuse("early EOF")),
    };
    let Some(Wanted { keep, directory, ids }) = wanted else {
        return Some(hand_on(&arguments, &header));
    };
    let mut input = Input { rest: header.as_slice().chain(input), is_over: false };
    let indexed = index(&mut input, &directory, ids).and_then(|pack| {
        reverse(&directory.join(format!("pack-{pack}.idx")), ids)?;
        Ok(tell(&directory, &pack, &keep)?)
    });
    Some(match indexed {
        Ok(()) => ExitCode::SUCCESS,
        // As Git calls it: the connection was cut.
        Err(_) if input.is_over => refuse("early EOF"),
        Err(error) => refuse(&error.to_string()),
    })
}

/// What comes, and whether more was wanted.
struct Input<R> {
    rest: R,
    is_over: bool,
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.rest.read(buffer)?;
        self.is_over |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

/// What is to be indexed, if it is for us.
struct Wanted {
    /// What the file says that keeps the pack until refs lead to it.
    keep: String,
    /// Where the pack goes.
    directory: PathBuf,
    ids: IdKind,
}

/// What Git wants, and what of the pack was read to see it.
fn wanted(arguments: &[OsString], input: &mut impl Read) -> io::Result<(Vec<u8>, Option<Wanted>)> {
    let (Some(keep), Some(git_dir)) = (keep_of(arguments), env::var_os(GIT_DIR)) else {
        return Ok((Vec::new(), None));
    };
    let git_dir = Path::new(&git_dir);
    let Ok(repository) = open(git_dir) else { return Ok((Vec::new(), None)) };
    let mut header = vec![0; HEADER];
    input.read_exact(&mut header)?;
    let is_ours = matches!(version_and_count(&header), Some((2, 1..=MAX_OBJECTS)));
    let directory = git_dir.join("objects/pack");
    Ok((header, is_ours.then(|| Wanted { keep, directory, ids: ids_of(&repository) })))
}

/// The version of a pack, and how many objects it has.
fn version_and_count(header: &[u8]) -> Option<(u32, u32)> {
    let (version, count) = header.strip_prefix(b"PACK")?.split_first_chunk()?;
    Some((u32::from_be_bytes(*version), u32::from_be_bytes(count.try_into().ok()?)))
}

/// Of the arguments of a clone's `git index-pack`, the one that is not always the same. `None` if they are others.
fn keep_of(arguments: &[OsString]) -> Option<String> {
    let (name, options) = arguments.split_first()?;
    let mut keep = None;
    let mut is_stdin = false;
    for option in options {
        match option.to_str()? {
            "--stdin" => is_stdin = true,
            "-v" | "--fix-thin" | "--check-self-contained-and-connected" => {}
            option => keep = Some(option.strip_prefix("--keep=")?.to_owned()),
        }
    }
    keep.filter(|_| name == "index-pack" && is_stdin)
}

/// Becomes Git itself, as it would have been called without us. Of the pack it is told what was read already.
fn hand_on(arguments: &[OsString], header: &[u8]) -> ExitCode {
    // Where this program stands, which a shell does not tell.
    let Some(ours) = env::var_os(EXEC_PATH) else { return refuse("GIT_EXEC_PATH is not set") };
    let path = env::var_os("PATH").unwrap_or_default();
    let others = env::split_paths(&path).filter(|directory| *directory != ours);
    let mut command = Command::new("git");
    match env::join_paths(others) {
        Ok(path) => command.env("PATH", path).env_remove(EXEC_PATH).args(arguments),
        Err(error) => return refuse(&error.to_string()),
    };
    match version_and_count(header) {
        Some((version, count)) => drop(command.arg(format!("--pack_header={version},{count}"))),
        None if header.is_empty() => {}
        None => return refuse("what came is no pack"),
    }
    refuse(&format!("can't run git: {}", command.exec()))
}

fn refuse(detail: &str) -> ExitCode {
    // Who can't be told anything sees the exit code.
    let _ = writeln!(io::stderr(), "fatal: the pack can't be indexed: {detail}");
    FATAL.into()
}

/// Stores a pack and its index, and gives the name of both without their endings.
fn index(pack: &mut dyn Read, directory: &Path, ids: IdKind) -> Result<String, Box<dyn Error>> {
    let tree = Root::new();
    let mut progress = tree.add_child("pack");
    let is_done = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        let teller = scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                tell_progress(&tree);
                thread::park_timeout(TICK);
            }
        });
        let outcome = Bundle::write_to_directory(
            &mut BufReader::new(pack),
            Some(directory),
            &mut progress,
            &AtomicBool::new(false),
            None::<gix_object::find::Never>,
            ids,
            Options::default(),
        );
        is_done.store(true, Ordering::Relaxed);
        teller.thread().unpark();
        outcome
    });
    let indexed = outcome?.index;
    let count = indexed.num_objects as usize;
    STEPS.iter().for_each(|(_, step)| tell_step(step, count, count));
    Ok(indexed.data_hash.to_string())
}

/// Tells how far the step is that is under way.
fn tell_progress(tree: &Root) {
    let mut tasks = Vec::new();
    tree.sorted_snapshot(&mut tasks);
    for (id, step) in STEPS {
        let progress =
            tasks.iter().find(|(_, task)| task.id == id).and_then(|(_, task)| task.progress.as_ref());
        if let Some(progress) = progress
            && let Some(all) = progress.done_at.filter(|all| *all > 0)
        {
            tell_step(step, progress.step.load(Ordering::Relaxed).min(all), all);
        }
    }
}

/// As Git does it.
fn tell_step(step: &str, done: usize, all: usize) {
    // Nobody may be listening.
    let _ = write!(io::stderr(), "{step}: {:3}% ({done}/{all})\r", done * 100 / all);
}

/// Writes beside an index which of its objects stands where in the pack, as Git does, which else finds it out each time that it
/// needs it. Source: gitformat-pack(5).
fn reverse(index: &Path, ids: IdKind) -> Result<(), Box<dyn Error>> {
    let file = gix_pack::index::File::at(index, ids)?;
    let mut places: Vec<(u64, u32)> =
        (0..file.num_objects()).map(|place| (file.pack_offset_at_index(place), place)).collect();
    places.sort_unstable();
    let mut bytes = b"RIDX\0\0\0\x01\0\0\0".to_vec();
    bytes.push(if ids == IdKind::Sha1 { 1 } else { 2 });
    places.iter().for_each(|(_, place)| bytes.extend_from_slice(&place.to_be_bytes()));
    bytes.extend_from_slice(file.pack_checksum().as_slice());
    let mut hasher = gix_hash::hasher(ids);
    hasher.update(&bytes);
    bytes.extend_from_slice(hasher.try_finalize()?.as_slice());
    Ok(fs::write(index.with_extension("rev"), bytes)?)
}

/// Tells Git which pack it is, and which file keeps it until refs lead to it.
fn tell(directory: &Path, pack: &str, keep: &str) -> io::Result<()> {
    fs::write(directory.join(format!("pack-{pack}.keep")), format!("{keep}\n"))?;
    let mut output = io::stdout();
    writeln!(output, "keep\t{pack}")?;
    output.flush()
}
