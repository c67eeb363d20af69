//! Where a finding stands: at the tip of a branch, only in history, or gone from every ref.
//!
//! Two kinds of facts say it. Batches report a finding in any order and any number of times, and each only of what it brought
//! itself ([`crate::finding::Seen`]); a look at all refs ([`survey`]) says what has become of all that was known by then.
//! A look at which a finding was not found counts only once all that it listed is scanned: the secret may stand in
//! commits that replaced the old ones.

use serde::{Deserialize, Serialize};

use crate::finding::Seen;
use crate::ids::{RequestId, Timestamp};

/// At most this many moves are kept of a finding: the last ones.
pub const MAX_MOVES: usize = 20;

/// One look at the refs of a repository, for a request. The order is that of time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Look {
    /// When. Later than that of every look before it that is known.
    pub at: Timestamp,
    /// The request whose agent looked.
    pub request: RequestId,
}

/// Where a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// A branch ends at a commit whose file holds the secret.
    Tip,
    /// A commit that a ref reaches brought it; no branch ends at it.
    History,
    /// No ref reaches a commit that brought it.
    Gone,
}

/// A look that found a finding elsewhere than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Where.
    pub place: Place,
    /// The look.
    pub look: Look,
    /// The last look that found it where it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Look>,
}

/// What looks at all refs said of a finding, as the bucket `standings` keeps it. There is none as long as they said
/// what its batches did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Where it went, in order; at most [`MAX_MOVES`].
    pub moves: Vec<Move>,
}

/// The last look at all refs of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// The look.
    pub look: Look,
}

/// What one look says of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Whether a ref reaches one of the commits that brought it.
    pub is_reachable: bool,
    /// Whether it stands at the tip of a branch; `None` where that can't be told.
    pub is_at_tip: Option<bool>,
    /// Whether all that is listed is scanned, or is scanned by this very request.
    pub is_settled: bool,
}

/// The state of a finding, as people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingState {
    /// At the tip of a branch.
    Open,
    /// In commits that refs reach, but at no tip.
    OnlyInHistory,
    /// Gone from every ref.
    Resolved,
    /// Back after it was gone.
    Reopened,
}

impl FindingState {
    /// The name, as it is shown and asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::OnlyInHistory => "only-in-history",
            Self::Resolved => "resolved",
            Self::Reopened => "reopened",
        }
    }
}

/// All that is known of where a finding stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// The state.
    pub state: FindingState,
    /// Where it is.
    pub place: Place,
    /// Since which look; `None` where no look is known.
    pub since: Option<Look>,
    /// The last look at which it was there.
    pub last_seen: Option<Look>,
    /// Where it went before that, in order, and now.
    pub moves: Vec<Move>,
}

/// Where a finding stands by all facts: when its batches saw it, what looks at all refs said of it, the last look at those of
/// its repository, and whether all that a request listed is scanned.
pub fn whereabouts(
    seen: Option<&Seen>,
    standing: Option<&Standing>,
    last_survey: Option<&Survey>,
    is_complete: &dyn Fn(&RequestId) -> bool,
) -> Whereabouts {
    let moves = moves(seen, standing, is_complete);
    let (place, since) = match moves.last() {
        Some(last) => (last.place, Some(last.look.clone())),
        None => (initial(seen), seen.map(|seen| seen.first.clone())),
    };
    let was_gone = moves.iter().any(|moved| moved.place == Place::Gone);
    let state = match place {
        Place::Gone => FindingState::Resolved,
        Place::Tip | Place::History if was_gone => FindingState::Reopened,
        Place::Tip => FindingState::Open,
        Place::History => FindingState::OnlyInHistory,
    };
    let last_seen = match moves.last() {
        Some(Move { place: Place::Gone, before, .. }) => before.clone(),
        _ => seen.map(|seen| seen.last.clone()).max(last_survey.map(|survey| survey.look.clone())),
    };
    Whereabouts { state, place, since, last_seen, moves }
}

/// What a look at all refs makes of what is known of a finding; `None` when it changes nothing, or was overtaken.
pub fn survey(
    seen: Option<&Seen>,
    standing: Option<&Standing>,
    last_survey: Option<&Survey>,
    sight: Sight,
    look: &Look,
    is_complete: &dyn Fn(&RequestId) -> bool,
) -> Option<Standing> {
    let known = whereabouts(seen, standing, last_survey, is_complete);
    if known.since.as_ref().is_some_and(|since| since >= look) {
        return None;
    }
    // What batches of this very request have found stands: they were cut at an earlier look, by an agent that was lost.
    let is_of_request = |seen: Option<&Look>| seen.is_some_and(|seen| seen.request == look.request);
    let place = match sight {
        Sight { is_at_tip: Some(true), .. } => Place::Tip,
        _ if is_of_request(seen.and_then(|seen| seen.at_tip.as_ref())) => Place::Tip,
        Sight { is_reachable: false, .. } if is_of_request(seen.map(|seen| &seen.last)) => known.place,
        Sight { is_reachable: false, is_settled: true, .. } => Place::Gone,
        Sight { is_reachable: false, .. } => known.place,
        Sight { is_at_tip: Some(false), .. } => Place::History,
        Sight { is_at_tip: None, .. } if known.place == Place::Tip => Place::Tip,
        Sight { is_at_tip: None, .. } => Place::History,
    };
    let mut moves = known.moves;
    if place != known.place {
        moves.push(Move { place, look: look.clone(), before: known.last_seen });
    }
    let first_kept = moves.len().saturating_sub(MAX_MOVES);
    moves.drain(..first_kept);
    // Of those that are left the first one may lead to where a finding is taken to begin: it is no move then.
    if moves.first().is_some_and(|first| first.place == initial(seen)) {
        moves.remove(0);
    }
    // Also when nothing moved, if what was written before does not count any more: else it would count once more when
    // the finding is seen again.
    let is_known = standing.map_or(moves.is_empty(), |standing| standing.moves == moves);
    (!is_known).then_some(Standing { moves })
}

/// The moves that count, and those that batches tell of since.
fn moves(
    seen: Option<&Seen>,
    standing: Option<&Standing>,
    is_complete: &dyn Fn(&RequestId) -> bool,
) -> Vec<Move> {
    let mut moves: Vec<Move> = Vec::new();
    let mut place = initial(seen);
    for moved in standing.iter().flat_map(|standing| &standing.moves) {
        // A batch of the same request has found it, or not all that was listed then is scanned.
        let request = &moved.look.request;
        let is_void = moved.place == Place::Gone
            && (seen.is_some_and(|seen| seen.last.request == *request) || !is_complete(request));
        if !is_void && moved.place != place {
            place = moved.place;
            moves.push(moved.clone());
        }
    }
    let Some(seen) = seen else { return moves };
    let since = moves.last().map(|last| last.look.clone());
    // A batch may have been cut at one look and the refs been looked at again for the same request, by the next agent.
    let is_news =
        |look: &Look| since.as_ref().is_some_and(|since| look >= since || look.request == since.request);
    let before = since.clone();
    match &seen.at_tip {
        Some(look) if place != Place::Tip && is_news(look) => {
            moves.push(Move { place: Place::Tip, look: look.clone(), before });
        }
        _ if place == Place::Gone && is_news(&seen.last) => {
            moves.push(Move { place: Place::History, look: seen.last.clone(), before });
        }
        _ => {}
    }
    moves
}

/// Where a finding is that no look at all refs has found elsewhere.
fn initial(seen: Option<&Seen>) -> Place {
    match seen {
        Some(Seen { at_tip: Some(_), .. }) => Place::Tip,
        Some(Seen { at_tip: None, .. }) | None => Place::History,
    }
}
