//! When keys expire: buckets of hashes by the second, verified only when they come up.

use std::collections::{BTreeMap, HashSet};

use coldpress_core::log::KeyHash;

/// Duplicates that are not worth looking for.
const SLACK: usize = 1 << 16;

/// Hashes by the second in which they are to be looked at; owned by the log worker.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    by_second: BTreeMap<u32, Vec<KeyHash>>,
    len: usize,
    dedupe_at: usize,
}

impl Buckets {
    /// Adds a hash. A key overwritten with shorter and shorter lifetimes is in more than one bucket; where that makes
    /// more than twice the hashes there were, later ones are dropped.
    pub(crate) fn push(&mut self, second: u32, hash: KeyHash) {
        self.by_second.entry(second).or_default().push(hash);
        self.len += 1;
        if self.len > self.dedupe_at.max(SLACK) {
            self.dedupe();
            self.dedupe_at = self.len * 2;
        }
    }

    /// Takes a hash whose second is not after `now_s`.
    pub(crate) fn pop(&mut self, now_s: u32) -> Option<KeyHash> {
        let mut first = self.by_second.first_entry().filter(|first| *first.key() <= now_s)?;
        let hash = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        self.len -= usize::from(hash.is_some());
        hash
    }

    fn dedupe(&mut self) {
        let mut seen = HashSet::new();
        self.len = 0;
        self.by_second.retain(|_, hashes| {
            hashes.retain(|hash| seen.insert(*hash));
            self.len += hashes.len();
            !hashes.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u32) -> KeyHash {
        let mut hash = KeyHash::default();
        hash.0[..4].copy_from_slice(&n.to_le_bytes());
        hash
    }

    #[test]
    fn hashes_come_up_in_their_second_and_not_before() {
        let mut buckets = Buckets::default();
        buckets.push(10, hash(1));
        buckets.push(5, hash(2));
        assert_eq!(buckets.pop(4), None);
        assert_eq!(buckets.pop(9), Some(hash(2)));
        assert_eq!((buckets.pop(9), buckets.len), (None, 1));
        assert_eq!(buckets.pop(10), Some(hash(1)));
        assert_eq!(buckets.len, 0);
    }

    #[test]
    fn key_pushed_over_and_over_takes_bounded_memory() {
        let mut buckets = Buckets::default();
        for second in (0..5 * SLACK as u32).rev() {
            buckets.push(second, hash(second % 3));
        }
        assert!(buckets.len <= SLACK + 3, "{}", buckets.len);
        assert_eq!(buckets.pop(u32::MAX), Some(hash(0)));
    }
}
