//! How much is done in each second, from counters that only grow.

use std::collections::VecDeque;

use secretscan_model::Timestamp;

/// So many looks are kept: what the widest sparkline shows.
const KEPT: usize = 300;
/// The rate that is shown as a number is that of so many milliseconds.
const RATE_OVER_MS: i64 = 10_000;

/// What was done since the view began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commits scanned.
    pub commits: u64,
    /// Batches ended.
    pub batches: u64,
    /// Requests ended.
    pub requests: u64,
}

/// The counters at each look, the newest last.
#[derive(Clone, Debug, Default)]
pub struct Throughput(VecDeque<(Timestamp, Counters)>);

/// One of the counters.
pub type Counter = fn(&Counters) -> u64;

impl Throughput {
    /// Keeps what the counters say now.
    pub fn record(&mut self, at: Timestamp, counters: Counters) {
        self.0.push_back((at, counters));
        while self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// A second's worth, over the last ten; 0 until there are two looks.
    pub fn rate(&self, counter: Counter) -> f64 {
        let Some((end, last)) = self.0.back() else { return 0.0 };
        let is_within = |(at, _): &&(Timestamp, Counters)| end.0 - at.0 <= RATE_OVER_MS;
        let Some((start, first)) = self.0.iter().find(is_within) else { return 0.0 };
        let seconds = (end.0 - start.0) as f64 / 1_000.0;
        if seconds <= 0.0 { 0.0 } else { counter(last).saturating_sub(counter(first)) as f64 / seconds }
    }

    /// What each look found more than the one before, the newest last, at most so many.
    pub fn steps(&self, counter: Counter, count: usize) -> Vec<u64> {
        let looks: Vec<u64> = self.0.iter().map(|(_, counters)| counter(counters)).collect();
        let steps = looks.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
        steps.skip(looks.len().saturating_sub(count + 1)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_ten_seconds() {
        let mut throughput = Throughput::default();
        assert_eq!(throughput.rate(|all| all.commits), 0.0);
        for second in 0..=20 {
            // 10 a second, then 100.
            let commits = if second <= 10 { second * 10 } else { 100 + (second - 10) * 100 };
            let counters = Counters { commits, ..Counters::default() };
            throughput.record(Timestamp(second as i64 * 1_000), counters);
        }
        assert_eq!(throughput.rate(|all| all.commits), 100.0);
        assert_eq!(throughput.rate(|all| all.batches), 0.0);
        assert_eq!(throughput.steps(|all| all.commits, 3), [100, 100, 100]);
        assert_eq!(throughput.steps(|all| all.commits, 100).len(), 20);
    }
}
