//! Values that are costly to make, each lent to one user at a time.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many threads don't wait for each other.
const SHELVES: usize = 16;

/// There are hardly more values than were lent at one time, whichever threads come and go. (The pool of `regex-automata` keeps
/// values for threads that are gone.)
#[derive(Debug)]
pub(crate) struct Pool<T> {
    shelves: [Shelf<T>; SHELVES],
}

/// Values that nobody has. Alone on its cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Shelf<T>(Mutex<Vec<Box<T>>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { shelves: std::array::from_fn(|_| Shelf(Mutex::default())) }
    }
}

impl<T: Default> Pool<T> {
    /// What this thread put back last, else what another one did, else something new.
    pub(crate) fn get(&self) -> Lent<'_, T> {
        let own = number_of_thread() % SHELVES;
        let mut shelves = self.shelves[own..].iter().chain(&self.shelves[..own]);
        let value = shelves.find_map(Shelf::take).unwrap_or_default();
        Lent { home: &self.shelves[own], value: Some(value) }
    }
}

impl<T> Shelf<T> {
    fn take(&self) -> Option<Box<T>> {
        self.0.lock().expect("nothing panics here").pop()
    }

    fn put(&self, value: Box<T>) {
        self.0.lock().expect("nothing panics here").push(value);
    }
}

fn number_of_thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

/// A value of a pool, which it goes back to.
pub(crate) struct Lent<'a, T> {
    home: &'a Shelf<T>,
    /// There until it goes back.
    value: Option<Box<T>>,
}

impl<T> Deref for Lent<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_deref().expect("not back yet")
    }
}

impl<T> DerefMut for Lent<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_deref_mut().expect("not back yet")
    }
}

impl<T> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.home.put(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn threads_that_follow_each_other_have_the_same_value() {
        let pool = Pool::<u32>::default();
        for _ in 0..3 * SHELVES {
            thread::scope(|scope| {
                scope.spawn(|| *pool.get() += 1);
            });
        }
        assert_eq!(*pool.get(), 3 * SHELVES as u32);
    }

    #[test]
    fn no_two_have_a_value_at_once() {
        let pool = Pool::<u32>::default();
        let (one, mut other) = (pool.get(), pool.get());
        *other = 1;
        assert_eq!((*one, *other), (0, 1));
        drop((one, other));
        let (one, other) = (pool.get(), pool.get());
        let mut both = [*one, *other];
        both.sort_unstable();
        assert_eq!(both, [0, 1]);
    }
}
