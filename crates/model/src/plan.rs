//! Which waiting request goes to an agent next: a pure decision over a snapshot.

use std::collections::HashMap;

use crate::ids::RepositoryId;
use crate::lifecycle::Priority;

/// A request that waits for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its urgency.
    pub priority: Priority,
    /// The repository that it belongs to.
    pub repository: RepositoryId,
    /// Its place in the queue: lower came first.
    pub sequence: u64,
    /// Whether it must wait for something else than an agent, such as another fetch of its repository.
    pub is_blocked: bool,
}

/// When each repository was served last, as a count of dispatches. The memory of the round robin.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    count: u64,
    served: HashMap<RepositoryId, u64>,
}

/// Repositories remembered by [`Rounds`] before it forgets the least recent half.
const MAX_REMEMBERED: usize = 100_000;

impl Rounds {
    /// The index of the candidate to dispatch: the most urgent; among equals that of the repository served longest ago,
    /// so that a giant repository can't starve the others; then the one that waits longest.
    pub fn pick(&self, candidates: &[Candidate]) -> Option<usize> {
        candidates
            .iter()
            .enumerate()
            .filter(|(_, candidate)| !candidate.is_blocked)
            .min_by_key(|(_, candidate)| {
                (
                    candidate.priority,
                    self.served.get(&candidate.repository).copied().unwrap_or(0),
                    candidate.sequence,
                )
            })
            .map(|(index, _)| index)
    }

    /// Remembers that a request of the repository was dispatched.
    pub fn served(&mut self, repository: &RepositoryId) {
        self.count += 1;
        self.served.insert(repository.clone(), self.count);
        if self.served.len() > MAX_REMEMBERED {
            let oldest_kept = self.count - MAX_REMEMBERED as u64 / 2;
            self.served.retain(|_, at| *at >= oldest_kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(priority: Priority, repository: &str, sequence: u64) -> Candidate {
        Candidate { priority, repository: repository.parse().unwrap(), sequence, is_blocked: false }
    }

    #[test]
    fn urgent_first_then_round_robin_then_age() {
        let mut waiting: Vec<Candidate> =
            (0..6).map(|sequence| candidate(Priority::OnDemand, "giant", sequence)).collect();
        waiting.push(candidate(Priority::OnDemand, "small", 6));
        waiting.push(candidate(Priority::Scheduled, "nightly", 7));
        waiting.push(candidate(Priority::Reactive, "pushed", 8));
        let mut rounds = Rounds::default();
        let mut order = vec![];
        while let Some(index) = rounds.pick(&waiting) {
            let chosen = waiting.remove(index);
            rounds.served(&chosen.repository);
            order.push(chosen.repository.to_string());
        }
        assert_eq!(
            order,
            ["pushed", "giant", "small", "giant", "giant", "giant", "giant", "giant", "nightly"]
        );
    }

    #[test]
    fn blocked_candidates_wait_without_holding_up_others() {
        let mut first = candidate(Priority::OnDemand, "busy", 0);
        first.is_blocked = true;
        assert_eq!(Rounds::default().pick(&[first.clone()]), None);
        assert_eq!(Rounds::default().pick(&[first, candidate(Priority::OnDemand, "other", 1)]), Some(1));
    }
}
