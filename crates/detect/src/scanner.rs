//! The scanner: matches of the rules in a content, filtered by everything that the content alone decides.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use crate::archive::{Unread, for_each_member};
use crate::comment::AllowedLines;
use crate::content::{LineCursor, Transcoded, UTF8_MARK, line_end};
use crate::decode::{known_runs, known_runs_of_delta};
use crate::depth::Depth;
use crate::derive::DerivedHit;
use crate::entropy::shannon;
use crate::error::RuleError;
use crate::excerpt::{MaskedRanges, clean, excerpt};
use crate::landmarks::{Copied, Landmarks};
use crate::narrow::Narrow;
use crate::proximity::drop_incomplete;
use crate::rule::{Allowlist, Condition, Rule, RuleIndex};
use crate::rule_set::RuleSet;
use crate::search::Hit;
use crate::secret::{Secret, mask};

/// How much of the lines around a match allowlists see, on either side.
const LINE_LIMIT: usize = 4096;

/// Finds secrets with one rule set. Cheap to clone and to share.
#[derive(Clone, Debug)]
pub struct Scanner {
    rules: Arc<RuleSet>,
    depth: Depth,
    ignores_comments: bool,
    narrow: Option<Arc<Narrow>>,
}

/// A place where a rule found a secret in some content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMatch {
    /// The rule.
    pub rule: RuleIndex,
    /// Offset of the first byte of the secret in the content as given, also when that is UTF-16 or UTF-32.
    pub start: usize,
    /// Offset after the last byte of the secret in the content as given.
    pub end: usize,
    /// Line of the first byte of the secret, from 1. Line and column are those of the UTF-8 form without its mark.
    pub line: u32,
    /// Column of the first character of the secret, in characters (Unicode code points), from 1.
    pub column: u32,
    /// Line of the last byte of the secret, from 1.
    pub end_line: u32,
    /// Column after the last character of the secret, from 1.
    pub end_column: u32,
    /// The secret.
    pub secret: Secret,
    /// The line or lines, at most 200 characters around the secret, all secrets masked.
    pub excerpt: String,
    /// Where the content holds the secret in another form, how that is undone, from the outside: `base64`, `hex`,
    /// `percent`, `unicode`, `html` or `joined`, with `>` in between. The place of the match is that of the other form.
    pub decoded_from: Option<String>,
    /// Where the content is an archive, the path of the member that the match is in, with `!` between the names of
    /// nested ones. Offsets, lines and columns are those of the member; also without a path, when the content is a
    /// compressed file.
    pub member: Option<Arc<[u8]>>,
    /// Positions among the rule's allowlists of those that exclude the match at the paths and commits they name:
    /// what they ask of the content holds.
    excluded_by: Vec<u16>,
}

impl RawMatch {
    /// The full path of the match in content at `path`: for a member of an archive with its own path after `!`.
    pub fn path<'a>(&self, path: &'a [u8]) -> Cow<'a, [u8]> {
        match &self.member {
            Some(member) => Cow::Owned([path, member].join(&b'!')),
            None => Cow::Borrowed(path),
        }
    }
}

/// A rule, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleHash {
    /// Its id.
    pub id: String,
    /// A hash of all that decides what it finds alone.
    pub hash: String,
    /// Whether it yields to others on the same bytes.
    pub is_generic: bool,
}

/// What is in a content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// The matches.
    pub matches: Vec<RawMatch>,
    /// What was not looked at, and why.
    pub unread: Vec<Unread>,
}

/// What the rules find in a text as it stands.
pub(crate) struct Hits {
    /// Every match of every regex.
    pub(crate) all: Vec<Hit>,
    /// Those that nothing in the text excludes, and the positions of the allowlists that exclude them at some places.
    pub(crate) kept: Vec<(Hit, Vec<u16>)>,
    /// Where the allow comments stand, ascending.
    pub(crate) allow_comments: Vec<usize>,
}

impl Scanner {
    /// A scanner with these rules.
    pub fn new(rules: Arc<RuleSet>) -> Self {
        Self { rules, depth: Depth::default(), ignores_comments: false, narrow: None }
    }

    /// The same scanner, which finds only what these rules find beside the others. At least one must be chosen.
    ///
    /// # Errors
    /// When the rules can't be joined.
    pub fn narrowed(&self, is_chosen: impl Fn(&str) -> bool) -> Result<Self, RuleError> {
        let whole = self.whole();
        let narrow = Some(Arc::new(Narrow::new(&whole, is_chosen)?));
        Ok(Self { narrow, ..whole })
    }

    /// How many rules run over everything.
    pub fn running(&self) -> usize {
        self.narrow.as_ref().map_or(&self.rules, |narrow| &narrow.alone.rules).rules().len()
    }

    /// The scanner with all its rules.
    fn whole(&self) -> Self {
        Self { narrow: None, ..self.clone() }
    }

    /// A scanner with other rules, that looks in the same way.
    pub(crate) fn with_rules(&self, rules: Arc<RuleSet>) -> Self {
        Self { rules, narrow: None, ..self.clone() }
    }

    /// A hash of each rule that reports: of all that decides what it finds alone, and of how deep is looked where that is not
    /// the default.
    pub fn hashes(&self) -> Vec<RuleHash> {
        let depth = self.depth_mark();
        let hash = |rule: &Rule| RuleHash {
            id: rule.id.clone(),
            hash: format!("{}{depth}", self.rules.hash_of(rule)),
            is_generic: rule.is_generic,
        };
        self.rules.rules().glance().filter(|rule| !rule.is_helper).map(|rule| hash(&rule)).collect()
    }

    /// The same scanner, looking so deep.
    #[must_use]
    pub fn with_depth(self, depth: Depth) -> Self {
        Self { depth, ..self }
    }

    /// How deep it looks.
    pub fn depth(&self) -> Depth {
        self.depth
    }

    /// The same, but comments in the content do not exclude matches.
    #[must_use]
    pub fn ignoring_comments(self) -> Self {
        Self { ignores_comments: true, ..self }
    }

    /// The rules.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// The version of the rules, such as `r1-1a2b3c4d5e6f`, and how deep it looks where that is not the default, such as
    /// `r1-1a2b3c4d5e6f-d0-a2`: scanners of equal versions find the same.
    pub fn version(&self) -> String {
        format!("{}{}", self.rules.version(), self.depth_mark())
    }

    fn depth_mark(&self) -> String {
        match self.depth {
            depth if depth == Depth::default() => String::new(),
            Depth { decode, archive } => format!("-d{decode}-a{archive}"),
        }
    }

    /// The matches of [`Scanner::scan_all`].
    pub fn scan(&self, content: &[u8]) -> Vec<RawMatch> {
        self.scan_all(content).matches
    }

    /// Everything that the rules find in the content, whatever its path and commit, in order of offset: as it stands,
    /// decoded and joined where it is cut into pieces, and in the members of archives.
    ///
    /// Content that looks like UTF-16 or UTF-32 is scanned as bytes and as text.
    pub fn scan_all(&self, content: &[u8]) -> Scanned {
        self.scan_base(content).0
    }

    /// The same, and what the scans of the content's deltas take over.
    pub fn scan_base(&self, content: &[u8]) -> (Scanned, Landmarks) {
        if let Some(narrow) = &self.narrow {
            let (scanned, landmarks) = narrow.alone.scan_base(content);
            return (narrow.settle(&self.whole(), content, scanned), landmarks);
        }
        let mut landmarks = self.landmarks(content);
        (self.scan_with(content, &mut landmarks), landmarks)
    }

    /// The same for content that has parts in common with a base, which is much faster when these are most of it.
    ///
    /// `copied` is in the order of the content, without overlaps there.
    ///
    /// # Panics
    /// When `copied` reaches beyond the content or the base.
    pub fn scan_delta(&self, content: &[u8], base: &Landmarks, copied: &[Copied]) -> (Scanned, Landmarks) {
        if let Some(narrow) = &self.narrow {
            let (scanned, landmarks) = narrow.alone.scan_delta(content, base, copied);
            return (narrow.settle(&self.whole(), content, scanned), landmarks);
        }
        let mut landmarks = self.rules.search().landmarks_of_delta(content, base, copied);
        landmarks.runs = known_runs_of_delta(content, (&base.runs, base.content_len()), copied);
        (self.scan_with(content, &mut landmarks), landmarks)
    }

    fn scan_with(&self, content: &[u8], landmarks: &mut Landmarks) -> Scanned {
        let mut scanned = self.scan_forms(content, landmarks);
        let mut inside = Vec::new();
        let unread = for_each_member(content, self.depth.archive, &mut |path, member| {
            let of_member = self.scan_forms(member, &mut self.landmarks(member));
            let path: Option<Arc<[u8]>> = (!path.is_empty()).then(|| path.into());
            inside.extend(
                of_member.matches.into_iter().map(|found| RawMatch { member: path.clone(), ..found }),
            );
        });
        scanned.unread.extend(unread);
        if !inside.is_empty() {
            // What an archive holds uncompressed is seen in its own bytes too.
            let secrets: HashSet<&[u8]> =
                inside.iter().map(|found: &RawMatch| found.secret.expose()).collect();
            scanned.matches.retain(|found| !secrets.contains(found.secret.expose()));
            scanned.matches.extend(inside);
        }
        scanned
    }

    fn landmarks(&self, content: &[u8]) -> Landmarks {
        let mut landmarks = self.rules.search().landmarks(content);
        landmarks.runs = known_runs(content);
        landmarks
    }

    /// Scans a content as bytes and as text.
    fn scan_forms(&self, content: &[u8], landmarks: &mut Landmarks) -> Scanned {
        let mut scanned = self.scan_bytes(content, landmarks);
        let mut add = |text: &[u8], original: &dyn Fn(usize) -> usize| {
            let of_text = self.scan_bytes(text, &mut self.landmarks(text));
            scanned.unread.extend(of_text.unread);
            scanned.matches.extend(of_text.matches.into_iter().map(|found| RawMatch {
                start: original(found.start),
                end: original(found.end),
                ..found
            }));
            scanned.matches.sort_by_key(|found| (found.start, found.end, found.rule));
            scanned.matches.dedup_by_key(|found| (found.start, found.end, found.rule));
        };
        if let Some(transcoded) = Transcoded::of(content) {
            add(&transcoded.text, &|at| transcoded.original_offset(at));
        } else if let Some(text) = content.strip_prefix(UTF8_MARK) {
            // Only what looks for the start of the text is hidden by the mark.
            let first_line = &text[..line_end(text, 0, LINE_LIMIT)];
            add(first_line, &|at| UTF8_MARK.len() + at);
        }
        scanned
    }

    /// What the rules that are about paths alone find: the secret is the path, and it stands at the start of the file.
    ///
    /// These matches need no content; [`Scanner::is_reported`] holds for them too.
    pub fn scan_path(&self, path: &[u8]) -> Vec<RawMatch> {
        let is_match = |index: &&RuleIndex| {
            self.narrow.as_ref().is_none_or(|narrow| narrow.is_chosen(**index))
                && self.rule(**index).path.as_ref().is_some_and(|regex| regex.is_match(path))
        };
        let matches = self.rules.path_rules().iter().filter(is_match).map(|index| {
            let allowlists = self.rules.allowlists_of(self.rule(*index)).zip(0_u16..);
            // What an allowlist asks of a content can't hold.
            let of_place = allowlists.filter(|(allowlist, _)| !allowlist.has_content());
            RawMatch {
                rule: *index,
                start: 0,
                end: 0,
                line: 1,
                column: 1,
                end_line: 1,
                end_column: 1,
                secret: Secret::new(path),
                excerpt: clean(path),
                decoded_from: None,
                member: None,
                excluded_by: of_place.map(|(_, position)| position).collect(),
            }
        });
        matches.collect()
    }

    /// What the rules find in the name of a file itself, and the name with that masked, if it is anything.
    /// Generic rules are left out: a path has no assignments, and much that looks random.
    pub fn scan_name(&self, path: &[u8]) -> (Vec<RawMatch>, Option<Vec<u8>>) {
        // The name is masked wherever it is told, whichever rules are chosen.
        let mut matches = self.whole().scan(path);
        matches.retain(|found| !self.rule(found.rule).is_generic);
        if matches.is_empty() {
            return (matches, None);
        }
        let (mut shown, mut at) = (Vec::with_capacity(path.len()), 0);
        for found in &matches {
            if at <= found.start {
                shown.extend_from_slice(&path[at..found.start]);
                shown.extend_from_slice(mask(found.secret.expose()).as_bytes());
            }
            at = at.max(found.end);
        }
        shown.extend_from_slice(&path[at..]);
        if let Some(narrow) = &self.narrow {
            narrow.keep(&mut matches);
        }
        (matches, Some(shown))
    }

    /// Whether a match in content at this path, in this commit (full id in lower-case hexadecimal), is to be reported:
    /// the rule applies to the path and no allowlist excludes the match there.
    ///
    /// The match must come from a scanner with the same rules.
    pub fn is_reported(&self, raw: &RawMatch, path: &[u8], commit: Option<&str>) -> bool {
        // What is said of paths counts for that of the member by itself, too.
        let full = raw.path(path);
        let file = full.rsplit(|byte| *byte == b'!').next().filter(|_| raw.member.is_some());
        let paths: Vec<&[u8]> = [Some(&*full), file].into_iter().flatten().collect();
        let rule = self.rule(raw.rule);
        let holds = |_: &Allowlist, position: u16| raw.excluded_by.contains(&position);
        // Of what is required it is known that it is near, not which match it is.
        let needs_none = |allowlist: &Allowlist, _: u16| !allowlist.has_content();
        self.applies(rule, &paths, commit, holds)
            && rule
                .required
                .iter()
                .all(|required| self.applies(self.rule(required.rule), &paths, commit, needs_none))
    }

    /// Whether the rule is for one of these paths. `holds` says of an allowlist that needs both whether what it asks of the
    /// content holds.
    fn applies(
        &self,
        rule: &Rule,
        paths: &[&[u8]],
        commit: Option<&str>,
        holds: impl Fn(&Allowlist, u16) -> bool,
    ) -> bool {
        rule.path.as_ref().is_none_or(|regex| paths.iter().any(|path| regex.is_match(path)))
            && !self.rules.allowlists_of(rule).zip(0_u16..).any(|(allowlist, position)| {
                allowlist.has_place()
                    && (allowlist.condition == Condition::Or || holds(allowlist, position))
                    && paths.iter().any(|path| allowlist.matches_place(path, commit))
            })
    }

    fn scan_bytes(&self, content: &[u8], landmarks: &mut Landmarks) -> Scanned {
        let Hits { all, mut kept, allow_comments } = self.hits(content, landmarks);
        let derived = self.derive(content, &mut landmarks.runs);
        let mut scanned = Scanned::default();
        if derived.is_cut {
            let reason = "encodings nested to more text than is decoded".to_owned();
            scanned.unread.push(Unread { member: Vec::new(), reason });
        }
        if all.is_empty() && derived.hits.is_empty() {
            return scanned;
        }
        let masked = MaskedRanges::new(
            all.iter().map(|hit| (hit.secret_start, hit.secret_end)),
            derived.hits.iter().map(|hit| (hit.original.start, hit.original.end)),
        );
        let derived = self.settle(&all, &mut kept, derived);
        let comments: &[usize] = if self.ignores_comments { &[] } else { &allow_comments };
        let allowed = AllowedLines::new(content, comments);
        let mut located: Vec<DerivedHit> = kept
            .into_iter()
            .map(|(hit, excluded_by)| DerivedHit {
                rule: hit.rule,
                original: hit.secret_start..hit.secret_end,
                lines_beyond: lines_beyond_secret(content, &hit),
                secret: content[hit.secret_start..hit.secret_end].to_vec(),
                excluded_by,
                forms: Vec::new(),
            })
            .collect();
        located.extend(derived);
        located.sort_by_key(|hit| (hit.original.start, hit.original.end, hit.rule));
        let mut start = LineCursor::new(content);
        for hit in located {
            let range = hit.original;
            start.advance(range.start);
            let mut end = start.clone();
            end.advance(range.end - 1);
            let (before, after) = hit.lines_beyond;
            if allowed.allow(start.line() - before, end.line() + after) {
                continue;
            }
            let forms: Vec<&str> = hit.forms.iter().map(|form| form.as_str()).collect();
            scanned.matches.push(RawMatch {
                rule: RuleIndex(hit.rule),
                start: range.start,
                end: range.end,
                line: start.line(),
                column: start.column(),
                end_line: end.line(),
                end_column: end.next_column(),
                secret: Secret::from_written(&hit.secret),
                excerpt: excerpt(content, &masked, &hit.secret, (range.start, range.end), start.line_start()),
                decoded_from: (!forms.is_empty()).then(|| forms.join(">")),
                member: None,
                excluded_by: hit.excluded_by,
            });
        }
        scanned
    }

    /// What the rules find in a view.
    pub(crate) fn hits_in_view(&self, text: &[u8]) -> Hits {
        self.hits(text, &mut self.rules.search().landmarks(text))
    }

    /// What the rules find in a text as it stands.
    fn hits(&self, text: &[u8], landmarks: &mut Landmarks) -> Hits {
        let found = self.rules.search().find(self.rules.rules(), text, landmarks);
        let mut kept: Vec<(Hit, Vec<u16>)> = Vec::new();
        for hit in &found.hits {
            if let Some(excluded_by) = self.filter(text, hit) {
                kept.push((*hit, excluded_by));
            }
        }
        kept.sort_by_key(|(hit, _)| (hit.secret_start, hit.secret_end, hit.rule));
        drop_incomplete(&self.rules, text, &mut kept);
        self.drop_generic(&mut kept);
        Hits { all: found.hits, kept, allow_comments: found.allow_comments }
    }

    /// `None` when entropy or an allowlist excludes the hit wherever the content stands; else the positions of the
    /// allowlists that exclude it at their paths and commits.
    fn filter(&self, content: &[u8], hit: &Hit) -> Option<Vec<u16>> {
        let rule = self.rule(RuleIndex(hit.rule));
        let secret = &content[hit.secret_start..hit.secret_end];
        if rule.entropy.is_some_and(|least| shannon(secret) <= least) {
            return None;
        }
        if rule.checksum.is_some_and(|checksum| !checksum.holds(secret)) {
            return None;
        }
        if rule.reject.iter().any(|shape| shape.holds(secret)) {
            return None;
        }
        let whole = &content[hit.start..hit.end];
        let line = line_around(content, hit);
        let mut excluded_by = Vec::new();
        for (allowlist, index) in self.rules.allowlists_of(rule).zip(0_u16..) {
            let is_wanted_place = allowlist.condition == Condition::And && allowlist.has_place();
            let holds = allowlist.has_content() && allowlist.matches_content(secret, whole, line);
            if is_wanted_place {
                if holds || !allowlist.has_content() {
                    excluded_by.push(index);
                }
            } else if holds {
                return None;
            }
        }
        Some(excluded_by)
    }

    /// Of hits on overlapping secrets, generic rules yield to the others and among each other to the earlier rule.
    /// A rule that is for some paths only makes nobody yield, since it may not apply.
    fn drop_generic(&self, kept: &mut Vec<(Hit, Vec<u16>)>) {
        let rule = |hit: &Hit| self.rule(RuleIndex(hit.rule));
        let rank = |hit: &Hit| if rule(hit).is_generic { u32::from(hit.rule) + 1 } else { 0 };
        let mut taken: Vec<(usize, usize, u32)> = kept
            .iter()
            .filter(|(hit, _)| rule(hit).path.is_none())
            .map(|(hit, _)| (hit.secret_start, hit.secret_end, rank(hit)))
            .collect();
        taken.sort_unstable();
        let longest = taken.iter().map(|(start, end, _)| end - start).max().unwrap_or(0);
        kept.retain(|(hit, _)| {
            let own = rank(hit);
            let first = taken.partition_point(|(start, ..)| *start + longest <= hit.secret_start);
            !taken[first..]
                .iter()
                .take_while(|(start, ..)| *start < hit.secret_end)
                .any(|(_, end, rank)| *end > hit.secret_start && *rank < own)
        });
    }

    fn rule(&self, index: RuleIndex) -> &Rule {
        self.rules.rule(index)
    }
}

/// How many line breaks the match has before and after the secret. White space at its ends is passed over: a regex may
/// look for a line break, so as to see where a word starts.
fn lines_beyond_secret(content: &[u8], hit: &Hit) -> (u32, u32) {
    let line_breaks =
        |bytes: &[u8]| u32::try_from(memchr::memchr_iter(b'\n', bytes).count()).unwrap_or(u32::MAX);
    let before = content[hit.start..hit.secret_start].trim_ascii_start();
    let after = content[hit.secret_end..hit.end].trim_ascii_end();
    (line_breaks(before), line_breaks(after))
}

/// The lines of the match, within [`LINE_LIMIT`].
fn line_around<'a>(content: &'a [u8], hit: &Hit) -> &'a [u8] {
    let from = hit.start.saturating_sub(LINE_LIMIT);
    let start = memchr::memrchr(b'\n', &content[from..hit.start]).map_or(from, |newline| from + newline + 1);
    &content[start..line_end(content, hit.end, LINE_LIMIT)]
}
