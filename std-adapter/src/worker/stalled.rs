//! Keys whose write found no space in the log.

use std::collections::{HashSet, VecDeque};

use coldpress_core::format::KeyHash;

/// Keys in the order in which they are tried again, each once: what is tried is the newest write of a key, so a key that is
/// overwritten again and again takes one place.
#[derive(Debug, Default)]
pub(super) struct Stalled {
    line: VecDeque<KeyHash>,
    keys: HashSet<KeyHash>,
}

impl Stalled {
    /// Adds a key that is not there.
    pub(super) fn push_back(&mut self, hash: KeyHash) {
        if self.keys.insert(hash) {
            self.line.push_back(hash);
        }
    }

    /// Puts back what was taken.
    pub(super) fn push_front(&mut self, hash: KeyHash) {
        if self.keys.insert(hash) {
            self.line.push_front(hash);
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<KeyHash> {
        let hash = self.line.pop_front()?;
        self.keys.remove(&hash);
        Some(hash)
    }

    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_overwritten_again_and_again_takes_one_place() {
        let (first, second) = (KeyHash([1; 12]), KeyHash([2; 12]));
        let mut stalled = Stalled::default();
        for _ in 0..1_000 {
            stalled.push_back(first);
            stalled.push_back(second);
        }
        assert_eq!((stalled.len(), stalled.pop_front()), (2, Some(first)));
        stalled.push_front(first);
        stalled.push_back(first);
        assert_eq!((stalled.pop_front(), stalled.pop_front()), (Some(first), Some(second)));
        assert!(stalled.pop_front().is_none() && stalled.is_empty());
    }
}
