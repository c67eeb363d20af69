//! Reading chosen objects of a pack: each delta is decoded once, right after its base, and what was learnt of the base
//! is at hand.
//!
//! Objects form trees, each delta below its base. A worker goes down such a tree with its lighter parts first and gives
//! up a content before it enters the last part, so that it never holds more contents than the logarithm of the number of
//! objects, however long the chains are. What would not fit into the memory that all contents may take together is put off,
//! and decoded by itself at the end.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use gix_hash::{Kind as IdKind, ObjectId, oid};
use gix_object::Kind;
use gix_pack::data;
use gix_pack::data::entry::Header;
use gix_utils::progress::Discard;
use rayon::Scope;
use secretscan_detect::Copied;

use crate::delta::{self, Applied, DeltaError};
use crate::error::GitError;
use crate::pack_file::{Headers, Inflater, PackFile};

/// Deflate can't make more of a byte than this. Source: the zlib technical details.
const MAX_INFLATION: u64 = 1032;

/// A larger buffer is not kept for the next delta.
const MAX_KEPT_BUFFER: usize = 16 << 20;

/// How much content is decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContentLimits {
    /// Larger contents are left out.
    pub max_bytes: u64,
    /// All that are held at a time take at most this, or there are just two: one and its base.
    pub max_memory_bytes: u64,
}

/// A pack and its index, open.
pub(crate) struct PackReader {
    path: PathBuf,
    /// What its ids are, which its file does not tell.
    ids: IdKind,
    pack: PackFile,
    idx: gix_pack::index::File,
    name: String,
    /// Of each object by its place in the index, once they were gone through.
    kinds: OnceLock<Vec<Kind>>,
}

/// An object that a traversal comes by.
pub(crate) struct Object<'a> {
    pub id: ObjectId,
    pub kind: Kind,
    pub content: &'a [u8],
}

/// The base of an object that is stored as a delta, when the visitor saw it.
pub(crate) struct Base<'a, S> {
    /// What the visitor left of the base.
    pub state: &'a S,
    /// What the object has in common with it.
    pub copied: &'a [Copied],
}

/// Whether an object is to be visited.
pub(crate) type Wants<'a> = dyn Fn(&oid, Kind) -> bool + 'a;

/// What is called once for each wanted object, in no particular order but after its base, on several threads at once.
/// What it returns is kept while the object's deltas are visited.
pub(crate) type Visit<'a, S> = dyn Fn(Object<'_>, Option<Base<'_, S>>) -> S + Sync + 'a;

impl PackReader {
    /// Opens `path`, which ends with `.pack`, and the index beside it, with ids of this kind.
    pub fn open(path: &Path, ids: IdKind) -> Result<Self, GitError> {
        let name = path.display().to_string();
        let damaged = |e: &dyn std::fmt::Display| GitError::damaged_pack(&name, e.to_string());
        let mapped = data::File::at(path, ids).map_err(|e| damaged(&e))?;
        let idx = gix_pack::index::File::at(path.with_extension("idx"), ids).map_err(|e| damaged(&e))?;
        if idx.pack_checksum() != mapped.checksum() || idx.num_objects() != mapped.num_objects() {
            return Err(damaged(&"the index belongs to another pack"));
        }
        let pack = PackFile::open(path, ids, mapped.pack_end() as u64).map_err(GitError::io("open", path))?;
        Ok(Self { path: path.to_path_buf(), ids, pack, idx, name, kinds: OnceLock::new() })
    }

    /// Verifies the checksums of both files.
    pub fn verify(&self) -> Result<(), GitError> {
        let interrupted = AtomicBool::new(false);
        let damaged = |e: &dyn std::fmt::Display| GitError::damaged_pack(&self.name, e.to_string());
        let mapped = data::File::at(&self.path, self.ids).map_err(|e| damaged(&e))?;
        mapped.verify_checksum(&mut Discard, &interrupted).map_err(|e| damaged(&e))?;
        self.idx.verify_checksum(&mut Discard, &interrupted).map_err(|e| damaged(&e)).map(drop)
    }

    /// What its ids are.
    pub fn ids(&self) -> IdKind {
        self.ids
    }

    /// Whether it has an object.
    pub fn has(&self, id: &oid) -> bool {
        self.idx.lookup(id).is_some()
    }

    /// The place of an object in the index, if it has it.
    pub fn place(&self, id: &oid) -> Option<u32> {
        self.idx.lookup(id)
    }

    /// The object at this place in the index.
    pub fn id(&self, place: u32) -> &oid {
        self.idx.oid_at_index(place)
    }

    /// The kind of an object that it has, once [`PackReader::for_each`] was called.
    pub fn kind(&self, id: &oid) -> Option<Kind> {
        Some(self.kinds.get()?[self.idx.lookup(id)? as usize])
    }

    /// How many objects it has.
    pub fn len(&self) -> usize {
        self.idx.num_objects() as usize
    }

    /// Decodes and visits what is wanted, on the threads of the pool. Too large content is left out, and so are the deltas
    /// of such content: returned with the size in bytes.
    pub fn for_each<S: Send + Sync>(
        &self,
        pool: &rayon::ThreadPool,
        stop: &AtomicBool,
        limits: ContentLimits,
        wants: &Wants<'_>,
        visit: &Visit<'_, S>,
    ) -> Result<Vec<(ObjectId, u64)>, GitError> {
        let plan = Plan::new(self, wants)?;
        self.kinds.get_or_init(|| plan.kinds());
        let held = AtomicU64::new(0);
        let (error, left_out, put_off) = (Mutex::default(), Mutex::default(), Mutex::default());
        let walk =
            Walk { reader: self, plan: &plan, visit, stop, limits, held: &held, error, left_out, put_off };
        pool.in_place_scope(|scope| {
            for root in &plan.roots {
                let walk = &walk;
                scope.spawn(move |scope| walk.descend(scope, *root, None));
            }
        });
        if stop.load(Ordering::Relaxed) {
            return Err(GitError::Stopped);
        }
        if let Some(error) = walk.error.lock().expect("no visit panicked").take() {
            return Err(error);
        }
        walk.visit_put_off()?;
        Ok(walk.left_out.into_inner().expect("no visit panicked"))
    }

    fn damaged(&self, detail: impl Into<String>) -> GitError {
        GitError::damaged_pack(&self.name, detail)
    }
}

/// Stands for no base.
const NONE: u32 = u32::MAX;

/// One object of a pack.
struct Entry {
    offset: u64,
    /// Its place in the index.
    index: u32,
    /// The place of its base among the entries, or [`NONE`].
    base: u32,
    kind: Kind,
    is_wanted: bool,
    /// How many bytes it is inflated, the delta itself for a delta.
    size: u64,
    /// How much is to be inflated for what is wanted of it and its deltas; 0: nothing is.
    weight: u64,
}

/// Which objects are to be decoded, and in what order.
struct Plan {
    /// By offset.
    entries: Vec<Entry>,
    /// The places of deltas: those of one base together, the heaviest first.
    deltas: Vec<u32>,
    /// Where those of each entry begin, and one more.
    first_delta: Vec<u32>,
    /// The needed objects that are no deltas, the heaviest first.
    roots: Vec<u32>,
}

impl Plan {
    fn new(reader: &PackReader, wants: &Wants<'_>) -> Result<Self, GitError> {
        let entries = read_entries(reader)?;
        let (deltas, first_delta) = group_by_base(&entries);
        let mut plan = Self { entries, deltas, first_delta, roots: Vec::new() };
        let order = plan.order_bases_first();
        if order.len() != plan.entries.len() {
            return Err(reader.damaged("deltas go round in a circle"));
        }
        for &place in &order {
            let base = plan.entries[place as usize].base;
            if base != NONE {
                plan.entries[place as usize].kind = plan.entries[base as usize].kind;
            }
        }
        for &place in order.iter().rev() {
            let below: u64 = plan.deltas_of(place).iter().map(|delta| plan.entry(*delta).weight).sum();
            let entry = &mut plan.entries[place as usize];
            let id = reader.idx.oid_at_index(entry.index);
            entry.is_wanted = wants(id, entry.kind);
            // Never zero for what is needed, even for an empty object.
            entry.weight = if entry.is_wanted || below > 0 { entry.size + below + 1 } else { 0 };
        }
        let entries = &plan.entries;
        for of_base in plan.first_delta.windows(2) {
            plan.deltas[of_base[0] as usize..of_base[1] as usize]
                .sort_unstable_by_key(|delta| std::cmp::Reverse(entries[*delta as usize].weight));
        }
        plan.roots = order;
        plan.roots.retain(|root| entries[*root as usize].base == NONE && entries[*root as usize].weight > 0);
        plan.roots.sort_by_key(|root| std::cmp::Reverse(entries[*root as usize].weight));
        Ok(plan)
    }

    /// By the place in the index.
    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = vec![Kind::Tree; self.entries.len()];
        for entry in &self.entries {
            kinds[entry.index as usize] = entry.kind;
        }
        kinds
    }

    fn entry(&self, place: u32) -> &Entry {
        &self.entries[place as usize]
    }

    /// Where an object is stored: up to the next one.
    fn stored(&self, place: u32, pack: &PackFile) -> Range<u64> {
        let next = self.entries.get(place as usize + 1);
        self.entry(place).offset..next.map_or(pack.end(), |next| next.offset)
    }

    fn deltas_of(&self, place: u32) -> &[u32] {
        let place = place as usize;
        &self.deltas[self.first_delta[place] as usize..self.first_delta[place + 1] as usize]
    }

    /// The places of all entries that are no deltas or lead to one that is none, each after its base.
    fn order_bases_first(&self) -> Vec<u32> {
        let all = 0..u32::try_from(self.entries.len()).expect("an index counts with 32 bits");
        let mut order: Vec<u32> = all.filter(|place| self.entry(*place).base == NONE).collect();
        let mut next = 0;
        while let Some(&place) = order.get(next) {
            order.extend(self.deltas_of(place));
            next += 1;
        }
        order
    }
}

/// Reads the header of every object.
fn read_entries(reader: &PackReader) -> Result<Vec<Entry>, GitError> {
    let damaged = |e: &dyn std::fmt::Display| reader.damaged(e.to_string());
    let mut offsets: Vec<(u64, u32)> =
        (0..reader.idx.num_objects()).map(|index| (reader.idx.pack_offset_at_index(index), index)).collect();
    offsets.sort_unstable();
    let place_of = |offset: u64| offsets.binary_search_by_key(&offset, |(offset, _)| *offset).ok();
    let no_base = || reader.damaged("the base of a delta is not in the pack");
    let mut headers = Headers::new(&reader.pack);
    let mut read = |&(offset, index): &(u64, u32)| {
        let entry = headers.at(offset).map_err(|e| damaged(&e))?;
        if entry.decompressed_size > MAX_INFLATION.saturating_mul(reader.pack.end()) {
            return Err(reader.damaged("an object claims more bytes than there can be"));
        }
        let base_offset = match entry.header {
            Header::OfsDelta { base_distance } => {
                Some(entry.checked_base_pack_offset(base_distance).ok_or_else(no_base)?)
            }
            Header::RefDelta { base_id } => {
                let index = reader.idx.lookup(base_id).ok_or_else(no_base)?;
                Some(reader.idx.pack_offset_at_index(index))
            }
            _ => None,
        };
        let base = match base_offset {
            Some(offset) => place_of(offset).ok_or_else(no_base)? as u32,
            None => NONE,
        };
        let kind = entry.header.as_kind().unwrap_or(Kind::Tree);
        Ok(Entry { offset, index, base, kind, is_wanted: false, size: entry.decompressed_size, weight: 0 })
    };
    offsets.iter().map(&mut read).collect()
}

/// The deltas, those of one base together, and where those of each entry begin.
fn group_by_base(entries: &[Entry]) -> (Vec<u32>, Vec<u32>) {
    let mut first_delta = vec![0_u32; entries.len() + 1];
    let bases = || entries.iter().zip(0_u32..).filter(|(entry, _)| entry.base != NONE);
    for (entry, _) in bases() {
        first_delta[entry.base as usize + 1] += 1;
    }
    for place in 1..first_delta.len() {
        first_delta[place] += first_delta[place - 1];
    }
    let mut next = first_delta.clone();
    let mut deltas = vec![0; first_delta[entries.len()] as usize];
    for (entry, place) in bases() {
        let at = &mut next[entry.base as usize];
        deltas[*at as usize] = place;
        *at += 1;
    }
    (deltas, first_delta)
}

/// A decoded object whose deltas are yet to come.
struct Decoded<'a, S> {
    content: Vec<u8>,
    state: Option<S>,
    _held: Held<'a>,
}

/// Memory that is taken until this is dropped.
struct Held<'a> {
    all: &'a AtomicU64,
    bytes: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why an object is not visited now.
enum NotNow {
    /// It has so many bytes.
    TooLarge(u64),
    /// There is no memory for it while others are held.
    NoRoom,
    Failed(GitError),
}

impl From<GitError> for NotNow {
    fn from(error: GitError) -> Self {
        Self::Failed(error)
    }
}

struct Walk<'a, S> {
    reader: &'a PackReader,
    plan: &'a Plan,
    visit: &'a Visit<'a, S>,
    stop: &'a AtomicBool,
    limits: ContentLimits,
    /// Bytes of contents that are held.
    held: &'a AtomicU64,
    /// The first one; ends the walk.
    error: Mutex<Option<GitError>>,
    /// Wanted objects with too many bytes, or whose base has too many, and how many.
    left_out: Mutex<Vec<(ObjectId, u64)>>,
    /// The places of objects for which there was no memory.
    put_off: Mutex<Vec<u32>>,
}

/// What a thread uses again and again.
#[derive(Default)]
struct Buffers {
    inflater: Inflater,
    delta: Vec<u8>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

impl<'a, S: Send + Sync> Walk<'a, S> {
    /// Visits an object and the lightest of its deltas, and so on down; leaves the others to whoever has time.
    fn descend<'s>(&'s self, scope: &Scope<'s>, mut place: u32, mut base: Option<Arc<Decoded<'a, S>>>)
    where
        'a: 's,
    {
        loop {
            if self.stop.load(Ordering::Relaxed) || self.error.lock().expect("no visit panicked").is_some() {
                return;
            }
            let decoded = match self.visit(place, base.take()) {
                Ok(decoded) => Arc::new(decoded),
                Err(NotNow::TooLarge(size)) => return self.leave_out(place, size),
                Err(NotNow::NoRoom) => {
                    return self.put_off.lock().expect("no visit panicked").push(place);
                }
                Err(NotNow::Failed(error)) => {
                    self.error.lock().expect("no visit panicked").get_or_insert(error);
                    return;
                }
            };
            let deltas = self.plan.deltas_of(place);
            let needed = deltas.partition_point(|delta| self.plan.entry(*delta).weight > 0);
            let Some((lightest, others)) = deltas[..needed].split_last() else { return };
            for delta in others {
                let base = decoded.clone();
                scope.spawn(move |scope| self.descend(scope, *delta, Some(base)));
            }
            place = *lightest;
            base = Some(decoded);
        }
    }

    /// Decodes and visits an object.
    fn visit(&self, place: u32, base: Option<Arc<Decoded<'a, S>>>) -> Result<Decoded<'a, S>, NotNow> {
        let entry = self.plan.entry(place);
        let hold = |bytes| {
            let held = self.held.fetch_add(bytes, Ordering::Relaxed);
            let taken = Held { all: self.held, bytes };
            if held.saturating_add(bytes) <= self.limits.max_memory_bytes {
                Ok(taken)
            } else {
                Err(NotNow::NoRoom)
            }
        };
        let (applied, held) = self.decode(place, base.as_ref().map(|base| base.content.as_slice()), hold)?;
        let Applied { content, copied } = applied;
        let state = entry.is_wanted.then(|| {
            let object = self.object(place, &content);
            let state = base.as_ref().and_then(|base| base.state.as_ref());
            (self.visit)(object, state.map(|state| Base { state, copied: &copied }))
        });
        Ok(Decoded { content, state, _held: held })
    }

    /// Decodes an object, given its base if it is a delta. `hold` is asked before memory is taken, with the bytes.
    fn decode<H>(
        &self,
        place: u32,
        base: Option<&[u8]>,
        hold: impl Fn(u64) -> Result<H, NotNow>,
    ) -> Result<(Applied, H), NotNow> {
        let entry = self.plan.entry(place);
        let max_bytes = self.limits.max_bytes;
        if entry.size > max_bytes {
            return Err(NotNow::TooLarge(entry.size));
        }
        BUFFERS.with_borrow_mut(|Buffers { inflater, delta }| {
            let Some(base) = base else {
                let held = hold(entry.size)?;
                let mut content = Vec::new();
                self.inflate(place, inflater, &mut content)?;
                return Ok((Applied { content, copied: Vec::new() }, held));
            };
            let of_delta = hold(entry.size)?;
            self.inflate(place, inflater, delta)?;
            let held = hold(delta::result_size(delta).unwrap_or(0).min(max_bytes))?;
            let applied = delta::apply(base, delta, max_bytes).map_err(|error| match error {
                DeltaError::TooLarge(size) => NotNow::TooLarge(size),
                DeltaError::Damaged => self.reader.damaged("a delta does not fit its base").into(),
            });
            drop(of_delta);
            if delta.capacity() > MAX_KEPT_BUFFER {
                *delta = Vec::new();
            }
            applied.map(|applied| (applied, held))
        })
    }

    /// Visits what was put off and the deltas of it, one by one, each decoded from the first of its bases on.
    fn visit_put_off(&self) -> Result<(), GitError> {
        let mut places = std::mem::take(&mut *self.put_off.lock().expect("no visit panicked"));
        while let Some(place) = places.pop() {
            places.extend(
                self.plan.deltas_of(place).iter().filter(|delta| self.plan.entry(**delta).weight > 0),
            );
            if self.plan.entry(place).is_wanted {
                match self.decode_alone(place) {
                    Ok(content) => drop((self.visit)(self.object(place, &content), None)),
                    Err(NotNow::TooLarge(size)) => {
                        let id = self.reader.idx.oid_at_index(self.plan.entry(place).index).to_owned();
                        self.left_out.lock().expect("no visit panicked").push((id, size));
                    }
                    Err(NotNow::NoRoom) => {}
                    Err(NotNow::Failed(error)) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn decode_alone(&self, place: u32) -> Result<Vec<u8>, NotNow> {
        let bases = std::iter::successors(Some(place), |place| {
            let base = self.plan.entry(*place).base;
            (base != NONE).then_some(base)
        });
        let mut content: Option<Vec<u8>> = None;
        for place in bases.collect::<Vec<_>>().into_iter().rev() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(GitError::Stopped.into());
            }
            let (applied, ()) = self.decode(place, content.as_deref(), |_| Ok(()))?;
            content = Some(applied.content);
        }
        Ok(content.unwrap_or_default())
    }

    fn object<'c>(&self, place: u32, content: &'c [u8]) -> Object<'c> {
        let entry = self.plan.entry(place);
        Object { id: self.reader.idx.oid_at_index(entry.index).to_owned(), kind: entry.kind, content }
    }

    /// Inflates what is stored of an object.
    fn inflate(&self, place: u32, inflater: &mut Inflater, out: &mut Vec<u8>) -> Result<(), GitError> {
        let damaged = |e: &dyn std::fmt::Display| self.reader.damaged(e.to_string());
        let size = usize::try_from(self.plan.entry(place).size).map_err(|e| damaged(&e))?;
        out.clear();
        out.try_reserve_exact(size).map_err(|e| damaged(&e))?;
        out.resize(size, 0);
        inflater
            .inflate(&self.reader.pack, self.plan.stored(place, &self.reader.pack), out)
            .map_err(|e| damaged(&e))
    }

    /// Reports the wanted ones among an object and its deltas.
    fn leave_out(&self, place: u32, size: u64) {
        let mut places = vec![place];
        while let Some(place) = places.pop() {
            let entry = self.plan.entry(place);
            if entry.is_wanted {
                let id = self.reader.idx.oid_at_index(entry.index).to_owned();
                self.left_out.lock().expect("no visit panicked").push((id, size));
            }
            places.extend(self.plan.deltas_of(place));
        }
    }
}
