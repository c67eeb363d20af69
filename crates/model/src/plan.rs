//! Which waiting request goes to an agent next: a pure decision over what waits, in time that hardly grows with it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::ids::RepositoryId;
use crate::lifecycle::Priority;

/// What waits for agents, in the order in which it is to go: the most urgent first; among equals that of the repository
/// served longest ago, so that a giant repository can't starve the others; then what waits longest.
#[derive(Debug)]
pub struct Line<W> {
    /// Whether a repository is served one at a time.
    is_exclusive: bool,
    lanes: BTreeMap<Priority, Lane<W>>,
    rounds: Rounds,
}

/// What was taken out of a [`Line`].
#[derive(Debug)]
pub struct Chosen<W> {
    /// Its urgency.
    pub priority: Priority,
    /// The repository that it belongs to.
    pub repository: RepositoryId,
    /// Its place in the queue of its urgency: lower came first.
    pub sequence: u64,
    /// What is to be done.
    pub work: W,
    /// When its repository was served before.
    served_before: u64,
}

impl<W> Line<W> {
    /// A line in which nothing waits. Exclusive: what is taken at a time belongs to different repositories.
    pub fn new(is_exclusive: bool) -> Self {
        Self { is_exclusive, lanes: BTreeMap::new(), rounds: Rounds::default() }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.values().all(|lane| lane.queues.is_empty())
    }

    /// Adds what waits; takes the place of what has the same sequence.
    pub fn insert(&mut self, priority: Priority, repository: &RepositoryId, sequence: u64, work: W) {
        let lane = self.lanes.entry(priority).or_default();
        lane.queues.entry(repository.clone()).or_default().works.insert(sequence, work);
        lane.set_turn(repository, self.rounds.last(repository));
    }

    /// Takes out up to so many of those that may go, in their order. Their repositories count as served.
    pub fn take(&mut self, count: usize, may_go: impl Fn(&RepositoryId, &W) -> bool) -> Vec<Chosen<W>> {
        self.take_of(&Priority::ALL, count, may_go)
    }

    /// The same of these urgencies alone, in the order in which they are given.
    pub fn take_of(
        &mut self,
        priorities: &[Priority],
        count: usize,
        may_go: impl Fn(&RepositoryId, &W) -> bool,
    ) -> Vec<Chosen<W>> {
        let mut chosen: Vec<Chosen<W>> = Vec::new();
        let mut served = HashSet::new();
        for &priority in priorities {
            while let Some(lane) = self.lanes.get(&priority) {
                let first_of = |(_, _, repository): &(u64, u64, RepositoryId)| {
                    if self.is_exclusive && served.contains(repository) {
                        return None;
                    }
                    let mut works = lane.queues.get(repository)?.works.iter();
                    let (sequence, _) = works.find(|(_, work)| may_go(repository, work))?;
                    Some((repository.clone(), *sequence))
                };
                // One of each repository: who was served goes to the end of the line.
                let round = lane.turns.iter().filter_map(first_of).take(count - chosen.len());
                let round: Vec<(RepositoryId, u64)> = round.collect();
                if round.is_empty() {
                    break;
                }
                for (repository, sequence) in round {
                    chosen.extend(self.take_one(priority, &repository, sequence));
                    served.insert(repository);
                }
            }
        }
        chosen
    }

    fn take_one(
        &mut self,
        priority: Priority,
        repository: &RepositoryId,
        sequence: u64,
    ) -> Option<Chosen<W>> {
        let lane = self.lanes.get_mut(&priority)?;
        let work = lane.queues.get_mut(repository)?.works.remove(&sequence)?;
        let served_before = self.rounds.last(repository);
        self.rounds.serve(repository);
        self.set_turns(repository);
        Some(Chosen { priority, repository: repository.clone(), sequence, work, served_before })
    }

    /// Puts back what could not go: its repository was not served.
    pub fn put_back(&mut self, chosen: Chosen<W>) {
        let Chosen { priority, repository, sequence, work, served_before } = chosen;
        self.rounds.served.insert(repository.clone(), served_before);
        let lane = self.lanes.entry(priority).or_default();
        // What came again meanwhile is newer.
        lane.queues.entry(repository.clone()).or_default().works.entry(sequence).or_insert(work);
        self.set_turns(&repository);
    }

    /// What waits, in no order.
    pub fn works(&self) -> impl Iterator<Item = &W> {
        let queues = self.lanes.values().flat_map(|lane| lane.queues.values());
        queues.flat_map(|queue| queue.works.values())
    }

    /// Forgets what does not pass.
    pub fn retain(&mut self, mut passes: impl FnMut(&W) -> bool) {
        for lane in self.lanes.values_mut() {
            let mut changed = Vec::new();
            for (repository, queue) in &mut lane.queues {
                let before = queue.works.len();
                queue.works.retain(|_, work| passes(work));
                if queue.works.len() != before {
                    changed.push(repository.clone());
                }
            }
            for repository in changed {
                lane.set_turn(&repository, self.rounds.last(&repository));
            }
        }
    }

    fn set_turns(&mut self, repository: &RepositoryId) {
        let served = self.rounds.last(repository);
        for lane in self.lanes.values_mut() {
            lane.set_turn(repository, served);
        }
    }
}

/// What waits with the same urgency.
#[derive(Debug)]
struct Lane<W> {
    queues: HashMap<RepositoryId, Queue<W>>,
    /// When it was served last, the first sequence that waits, the repository.
    turns: BTreeSet<(u64, u64, RepositoryId)>,
}

#[derive(Debug)]
struct Queue<W> {
    works: BTreeMap<u64, W>,
    /// Its place among the turns.
    turn: Option<(u64, u64)>,
}

impl<W> Default for Lane<W> {
    fn default() -> Self {
        Self { queues: HashMap::new(), turns: BTreeSet::new() }
    }
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self { works: BTreeMap::new(), turn: None }
    }
}

impl<W> Lane<W> {
    /// Gives a repository its place among the turns, or none when nothing of it waits.
    fn set_turn(&mut self, repository: &RepositoryId, served: u64) {
        let Some(queue) = self.queues.get_mut(repository) else { return };
        if let Some((served, sequence)) = queue.turn.take() {
            self.turns.remove(&(served, sequence, repository.clone()));
        }
        match queue.works.first_key_value() {
            Some((sequence, _)) => {
                queue.turn = Some((served, *sequence));
                self.turns.insert((served, *sequence, repository.clone()));
            }
            None => {
                self.queues.remove(repository);
            }
        }
    }
}

/// When each repository was served last, as a count of dispatches. The memory of the round robin.
#[derive(Clone, Debug, Default)]
struct Rounds {
    count: u64,
    served: HashMap<RepositoryId, u64>,
}

/// Repositories remembered by [`Rounds`] before it forgets the least recent half.
const MAX_REMEMBERED: usize = 100_000;

impl Rounds {
    fn last(&self, repository: &RepositoryId) -> u64 {
        self.served.get(repository).copied().unwrap_or(0)
    }

    fn serve(&mut self, repository: &RepositoryId) {
        self.count += 1;
        self.served.insert(repository.clone(), self.count);
        if self.served.len() > MAX_REMEMBERED {
            let oldest_kept = self.count.saturating_sub(MAX_REMEMBERED as u64 / 2);
            self.served.retain(|_, at| *at >= oldest_kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(repository: &str) -> RepositoryId {
        repository.parse().unwrap()
    }

    fn line(is_exclusive: bool, waiting: &[(Priority, &str)]) -> Line<()> {
        let mut line = Line::new(is_exclusive);
        for (sequence, (priority, repository)) in waiting.iter().enumerate() {
            line.insert(*priority, &id(repository), sequence as u64, ());
        }
        line
    }

    fn names(chosen: &[Chosen<()>]) -> Vec<String> {
        chosen.iter().map(|chosen| chosen.repository.to_string()).collect()
    }

    const ALL: fn(&RepositoryId, &()) -> bool = |_, ()| true;

    #[test]
    fn urgent_first_then_round_robin_then_age() {
        let mut waiting = vec![(Priority::OnDemand, "giant"); 6];
        waiting.push((Priority::OnDemand, "small"));
        waiting.push((Priority::Scheduled, "nightly"));
        waiting.push((Priority::Reactive, "pushed"));
        let expected = ["pushed", "giant", "small", "giant", "giant", "giant", "giant", "giant", "nightly"];
        assert_eq!(names(&line(false, &waiting).take(100, ALL)), expected);
        // One by one, the order is the same.
        let mut line = line(false, &waiting);
        let taken: Vec<String> = std::iter::from_fn(|| names(&line.take(1, ALL)).pop()).collect();
        assert_eq!(taken, expected);
        assert!(line.is_empty());
    }

    #[test]
    fn only_what_is_urgent_goes_when_that_is_asked_for() {
        let waiting =
            [(Priority::OnDemand, "giant"), (Priority::Reactive, "pushed"), (Priority::Scheduled, "a")];
        let mut line = line(false, &waiting);
        assert_eq!(names(&line.take_of(&[Priority::Reactive], 9, ALL)), ["pushed"]);
        assert_eq!(names(&line.take(9, ALL)), ["giant", "a"]);
    }

    #[test]
    fn blocked_repositories_wait_without_holding_up_others() {
        let mut line = line(false, &[(Priority::OnDemand, "busy"), (Priority::OnDemand, "other")]);
        assert_eq!(names(&line.take(9, |repository, ()| *repository != id("busy"))), ["other"]);
        assert_eq!(names(&line.take(9, ALL)), ["busy"]);
    }

    #[test]
    fn what_may_go_is_not_held_up_by_what_waits_before_it() {
        let mut line = Line::new(true);
        line.insert(Priority::OnDemand, &id("a"), 1, "waits for the holder");
        line.insert(Priority::OnDemand, &id("a"), 2, "holder");
        line.insert(Priority::OnDemand, &id("b"), 3, "other");
        let mut taken = |may_go: fn(&RepositoryId, &&str) -> bool| {
            line.take(9, may_go).into_iter().map(|chosen| chosen.work).collect::<Vec<_>>()
        };
        assert_eq!(
            taken(|repository, work| *repository != id("a") || *work == "holder"),
            ["holder", "other"]
        );
        assert_eq!(taken(|_, _| true), ["waits for the holder"]);
    }

    #[test]
    fn an_exclusive_line_serves_a_repository_once_at_a_time() {
        let waiting = [(Priority::Scheduled, "a"), (Priority::OnDemand, "a"), (Priority::OnDemand, "b")];
        let mut line = line(true, &waiting);
        assert_eq!(names(&line.take(9, ALL)), ["a", "b"]);
        assert_eq!(names(&line.take(9, ALL)), ["a"]);
    }

    #[test]
    fn what_is_put_back_keeps_its_turn() {
        let mut line = line(true, &[(Priority::OnDemand, "a"), (Priority::OnDemand, "b")]);
        let first = line.take(1, ALL).pop().unwrap();
        line.put_back(first);
        assert_eq!(names(&line.take(9, ALL)), ["a", "b"]);
    }

    #[test]
    fn what_comes_again_takes_its_own_place_and_what_is_forgotten_is_gone() {
        let mut line = Line::new(false);
        line.insert(Priority::OnDemand, &id("a"), 1, "old");
        line.insert(Priority::OnDemand, &id("a"), 1, "new");
        line.insert(Priority::OnDemand, &id("b"), 2, "stale");
        line.retain(|work| *work != "stale");
        let works: Vec<&str> = line.take(9, |_, _| true).into_iter().map(|chosen| chosen.work).collect();
        assert_eq!(works, ["new"]);
        assert!(line.is_empty());
    }
}
