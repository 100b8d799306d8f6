//! When keys expire: a queue by the second, verified only when a key comes up.
//!
//! Each entry knows its place, so a key is in the queue once at most. It leaves the queue when it is overwritten with a shorter
//! lifetime, removed or gone. So the queue is never longer than the index, whatever the lifetimes. It is a tree, which grows
//! without pauses.

use std::collections::BTreeSet;

use coldpress_core::format::KeyHash;

/// Hashes by the second in which they are to be looked at; owned by the log worker.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    places: BTreeSet<(u32, KeyHash)>,
}

/// How a key moves in the queue, from second to second; 0 is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) from_s: u32,
    pub(crate) to_s: u32,
}

impl Queue {
    /// Moves a hash.
    pub(crate) fn follow(&mut self, hash: &KeyHash, step: Move) {
        if step.from_s == step.to_s {
            return;
        }
        if step.from_s != 0 {
            self.places.remove(&(step.from_s, *hash));
        }
        if step.to_s != 0 {
            self.places.insert((step.to_s, *hash));
        }
    }

    /// Takes the first hash if its second is not after `now_s`.
    pub(crate) fn pop(&mut self, now_s: u32) -> Option<KeyHash> {
        self.places.first().filter(|(second, _)| *second <= now_s)?;
        self.places.pop_first().map(|(_, hash)| hash)
    }

    /// The first second in which a hash is to be looked at.
    pub(crate) fn first_s(&self) -> Option<u32> {
        self.places.first().map(|(second, _)| *second)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_come_up_in_their_second_and_not_before() {
        let (one, two) = (KeyHash([1; 12]), KeyHash([2; 12]));
        let mut queue = Queue::default();
        queue.follow(&one, Move { from_s: 0, to_s: 10 });
        queue.follow(&two, Move { from_s: 0, to_s: 20 });
        queue.follow(&two, Move { from_s: 20, to_s: 5 });
        assert_eq!(queue.pop(4), None);
        assert_eq!(queue.pop(9), Some(two));
        assert_eq!((queue.pop(9), queue.len()), (None, 1));
        assert_eq!(queue.pop(10), Some(one));
        assert_eq!(queue.len(), 0);
    }
}
