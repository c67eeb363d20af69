//! Work that leaves the processor to what is more urgent.

use std::panic;
use std::thread;

use tracing::Span;

/// Does work on a thread of its own that is nicer than this one by so much, as nice(1) says it; and so are the threads and
/// processes that the work starts. On Linux; elsewhere the niceness is of the whole process, and nothing is changed.
///
/// A panic of the work goes on here.
pub fn nicely<T: Send>(by: i32, work: impl FnOnce() -> T + Send) -> T {
    if by == 0 || !cfg!(target_os = "linux") {
        return work();
    }
    let span = Span::current();
    thread::scope(|scope| {
        let nicer = scope.spawn(move || {
            be_nicer(by);
            span.in_scope(work)
        });
        nicer.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    })
}

/// Makes this thread nicer. Where that is not allowed, it is as urgent as before.
fn be_nicer(by: i32) {
    use rustix::process::{getpriority_process, setpriority_process};
    if let Err(error) = getpriority_process(None).and_then(|now| setpriority_process(None, now + by)) {
        tracing::debug!(%error, "a thread could not be made nicer");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use rustix::process::getpriority_process;

    use super::nicely;

    fn now() -> i32 {
        getpriority_process(None).expect("a thread may ask for its own")
    }

    #[test]
    fn the_work_its_threads_and_its_children_are_nicer_and_nobody_else_is() {
        let before = now();
        let (work, thread, child) = nicely(3, || {
            let thread = std::thread::spawn(now).join().unwrap();
            let child = Command::new("nice").output().unwrap();
            (now(), thread, String::from_utf8(child.stdout).unwrap().trim().parse::<i32>().unwrap())
        });
        assert_eq!((work, thread, child), (before + 3, before + 3, before + 3));
        assert_eq!(now(), before);
        assert_eq!(nicely(0, now), before);
    }

    #[test]
    #[should_panic = "of the work"]
    fn a_panic_goes_on() {
        nicely(1, || panic!("of the work"));
    }
}
