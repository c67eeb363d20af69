//! Holds processes to a slice of the processor: whoever has used more than its share is stopped until the time has come.
//!
//! As cpulimit(1) does it, which needs no rights; a control group would do the same with a finer grain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use secretscan_benches::process::usage;

/// How often it is looked; the system counts in steps of the same length.
const TICK: Duration = Duration::from_millis(10);
/// Who was idle may catch up so much at most.
const MAX_SAVED: Duration = Duration::from_millis(50);

/// Processes that are held. Dropping it lets them run.
pub struct Slices {
    stop: Arc<AtomicBool>,
    holding: Option<JoinHandle<()>>,
}

struct Held {
    pid: u32,
    /// Processor time that it may have used by now.
    allowed: Duration,
    is_stopped: bool,
}

impl Slices {
    /// Holds each of the processes to this many cores.
    pub fn hold(pids: &[u32], cores: f64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut held: Vec<Held> = pids
            .iter()
            .map(|pid| Held { pid: *pid, allowed: used(*pid).unwrap_or_default(), is_stopped: false })
            .collect();
        let holding = thread::spawn({
            let stop = stop.clone();
            move || {
                let mut last = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    thread::park_timeout(TICK);
                    let share = last.elapsed().mul_f64(cores);
                    last = Instant::now();
                    held.iter_mut().for_each(|process| process.look(share));
                }
                held.iter().for_each(|process| process.send(Signal::CONT));
            }
        });
        Self { stop, holding: Some(holding) }
    }
}

impl Drop for Slices {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(holding) = self.holding.take() {
            let _ = holding.join();
        }
    }
}

impl Held {
    fn look(&mut self, share: Duration) {
        let Some(used) = used(self.pid) else { return };
        self.allowed = (self.allowed + share).min(used + MAX_SAVED);
        let is_over = used > self.allowed;
        if is_over != self.is_stopped {
            self.is_stopped = is_over;
            self.send(if is_over { Signal::STOP } else { Signal::CONT });
        }
    }

    fn send(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // Fails only when it has ended.
            let _ = kill_process(pid, signal);
        }
    }
}

/// `None` when it has ended.
fn used(pid: u32) -> Option<Duration> {
    usage(pid).ok().map(|usage| usage.cpu)
}
