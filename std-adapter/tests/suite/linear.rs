//! Histories of one key that several threads change at the same time: whether an order of all operations explains them.

/// An operation between two moments, and its outcome.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<T> {
    pub(crate) outcome: T,
    pub(crate) from: u64,
    pub(crate) to: u64,
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
