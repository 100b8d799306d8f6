//! Histories of one key that several threads change at the same time: whether an order of all operations explains them.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// An operation between two moments, and its outcome.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<T> {
    pub(crate) outcome: T,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl<T> Step<T> {
    /// Runs an operation between two moments of a clock.
    pub(crate) fn run(clock: &AtomicU64, operation: impl FnOnce() -> T) -> Self {
        let from = clock.fetch_add(1, SeqCst);
        let outcome = operation();
        Self { outcome, from, to: clock.fetch_add(1, SeqCst) }
    }
}

/// Runs the operations that some threads chose: each thread its own one after the other, and all threads at the same time.
pub(crate) fn at_once<T: Send>(
    clock: &AtomicU64,
    choices: impl IntoIterator<Item = Vec<u8>>,
    operation: impl Fn(u32) -> T + Sync,
) -> Vec<Step<T>> {
    std::thread::scope(|scope| {
        let run = |choices: Vec<u8>| {
            let operation = &operation;
            let run = move |choice: u8| Step::run(clock, || operation(choice.into()));
            scope.spawn(move || choices.into_iter().map(run).collect::<Vec<_>>())
        };
        let threads: Vec<_> = choices.into_iter().map(run).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// The value that is there behind an operation, if that may be next.
pub(crate) type After<T> = fn(Option<u32>, T) -> Option<Option<u32>>;

/// Tells whether an order of all operations explains their outcomes, where `there` is the value before them: none goes before another
/// that ended before it began.
pub(crate) fn is_explained<T: Copy>(steps: &[Step<T>], there: Option<u32>, after: After<T>) -> bool {
    explains(steps, 0, there, after)
}

fn explains<T: Copy>(steps: &[Step<T>], done: u32, there: Option<u32>, after: After<T>) -> bool {
    let left = || (0..steps.len()).filter(|index| done & 1 << index == 0);
    let first_end = left().map(|index| steps[index].to).min();
    let may_be_next = |index: &usize| first_end.is_some_and(|end| steps[*index].from <= end);
    first_end.is_none()
        || left().filter(may_be_next).any(|index| {
            after(there, steps[index].outcome)
                .is_some_and(|there| explains(steps, done | 1 << index, there, after))
        })
}
