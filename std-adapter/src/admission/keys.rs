//! The clients that want the same key for themselves: one holds it, the others get it in the order of their age.
//!
//! Without threads and without time, as [the lines](super::lines). Bounds: each call looks at one key.

use std::collections::{BTreeMap, BTreeSet};

use coldpress_core::format::KeyHash;

/// The clients of one key.
#[derive(Debug)]
struct KeyLine {
    holder: u64,
    standing: BTreeSet<u64>,
}

/// The keys that a client holds.
#[derive(Debug, Default)]
pub(super) struct KeyLines {
    lines: BTreeMap<KeyHash, KeyLine>,
    /// How many clients hold a key or wait for one.
    clients: usize,
}

impl KeyLines {
    /// Lets a client wait for a key. It gets the key at once where no other client holds it.
    pub(super) fn stand(&mut self, number: u64, key: KeyHash) {
        match self.lines.get_mut(&key) {
            None => {
                self.lines.insert(key, KeyLine { holder: number, standing: BTreeSet::new() });
                self.clients += 1;
            }
            Some(line) if line.holder != number => {
                self.clients += usize::from(line.standing.insert(number));
            }
            Some(_) => {}
        }
    }

    /// Tells whether a client has the key.
    pub(super) fn is_holder(&self, number: u64, key: &KeyHash) -> bool {
        self.lines.get(key).is_some_and(|line| line.holder == number)
    }

    /// A client gives up its place, or the key. Returns the client that holds the key from now on, if another one got it.
    pub(super) fn leave(&mut self, number: u64, key: &KeyHash) -> Option<u64> {
        let line = self.lines.get_mut(key)?;
        if line.holder != number {
            self.clients -= usize::from(line.standing.remove(&number));
            return None;
        }
        self.clients -= 1;
        let next = line.standing.pop_first();
        match next {
            Some(next) => line.holder = next,
            None => {
                self.lines.remove(key);
            }
        }
        next
    }

    /// Keys that a client holds.
    pub(super) fn held(&self) -> usize {
        self.lines.len()
    }

    /// Clients that hold a key or wait for one.
    pub(super) const fn clients(&self) -> usize {
        self.clients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_goes_to_the_oldest_who_still_stands() {
        let (mut keys, key, other) = (KeyLines::default(), KeyHash([1; 12]), KeyHash([2; 12]));
        [3, 5, 4, 7].into_iter().for_each(|number| keys.stand(number, key));
        keys.stand(6, other);
        assert!(keys.is_holder(3, &key) && keys.is_holder(6, &other));
        assert_eq!((keys.held(), keys.clients()), (2, 5));
        assert_eq!(keys.leave(4, &key), None, "it only stood");
        assert_eq!(keys.leave(3, &key), Some(5));
        assert_eq!(keys.leave(3, &key), None, "once");
        assert_eq!(keys.leave(5, &key), Some(7));
        assert_eq!((keys.leave(7, &key), keys.leave(6, &other)), (None, None));
        assert_eq!((keys.held(), keys.clients()), (0, 0));
    }
}
