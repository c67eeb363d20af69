//! A sign of life on standard error.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// What takes less needs no progress.
const QUIET: Duration = Duration::from_secs(1);

/// Shows a spinner until dropped, when standard error is a terminal and the work takes over a second.
pub struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// Starts the clock.
    pub fn start(message: &'static str) -> Self {
        if !console::user_attended_stderr() {
            return Self(None);
        }
        let (done, ended) = mpsc::channel();
        let thread = thread::spawn(move || {
            // The sender only hangs up.
            if ended.recv_timeout(QUIET) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}").expect("a valid template");
            let bar = ProgressBar::new_spinner().with_style(style).with_message(message).with_elapsed(QUIET);
            bar.enable_steady_tick(Duration::from_millis(100));
            let _ = ended.recv();
            bar.finish_and_clear();
        });
        Self(Some((done, thread)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.0.take() {
            drop(done);
            thread.join().expect("the spinner does not panic");
        }
    }
}
