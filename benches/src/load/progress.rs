//! A line on standard error that says how far it is.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// How often the line changes on a terminal, and elsewhere.
const EVERY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Says how far something is, now and then.
pub struct Progress {
    what: String,
    all: usize,
    started: Instant,
    said: Option<Instant>,
}

impl Progress {
    /// Of so many.
    pub fn new(what: impl Into<String>, all: usize) -> Self {
        Self { what: what.into(), all, started: Instant::now(), said: None }
    }

    /// So many are done.
    pub fn at(&mut self, done: usize) {
        let is_terminal = stderr().is_terminal();
        let every = if is_terminal { EVERY.0 } else { EVERY.1 };
        if done < self.all && self.said.is_some_and(|said| said.elapsed() < every) {
            return;
        }
        self.said = Some(Instant::now());
        let seconds = self.started.elapsed().as_secs_f64();
        let (what, all, rate) = (&self.what, self.all, done as f64 / seconds.max(1e-3));
        let end = if is_terminal && done < all { "\x1b[K\r" } else { "\n" };
        // Where standard error is closed, the measurement goes on.
        let _ = write!(stderr(), "{what}: {done} of {all}, {seconds:.0} s, {rate:.0}/s{end}");
    }
}
