//! The search for a place for one more entry.
//!
//! A search breadth first over the buckets near those of the key finds the shortest way. Where it finds none, the entry goes to
//! the stash. Where that is full, too, a search depth first goes on over all buckets, for the key and then for each entry of
//! the stash. By the theorem on augmenting paths (Berge, PNAS 1957) it finds a place whenever any arrangement of all entries
//! has one. So whether a table takes its entries depends on them alone, not on their order: a mount finds places for all
//! entries that a running store held.
//!
//! The second search takes no memory of its own, as that of Schorr and Waite ("An Efficient Machine-Independent Procedure for
//! Garbage Collection", CACM 1967). It carries the entries along the way that it tries: each displaces the next one. Where it
//! comes to an end the last one goes back to its other bucket, and the one that displaced it is carried on. The order of the
//! entries of a bucket tells whether the search was there, and which entry it carried there:
//!
//! ```text
//! fresh   a < b < c < d                         not looked at
//! path    the one that came, then the others falling
//! spent   b, a, c, d                            looked at, and no place beyond
//! ```

use coldpress_core::format::KeyHash;
use heapless::Vec;

use super::{At, Entry, STASH, State, Table};

/// Buckets looked at to free space nearby.
const SEARCH_MAX: usize = 96;
/// Stands in for the entry that is to come. No record lies at place 0, so there is none like it.
const STAND_IN: Entry = Entry { place: 0, state: State::Dead, copies: 1 };

impl Table<'_> {
    /// Finds an empty place for the key, and moves other entries where needed. There is none only where no arrangement of the
    /// entries has one.
    ///
    /// Bounds: looks at [`SEARCH_MAX`] buckets, and moves at most as many entries as the way is long. Where these are full and
    /// the stash is: sorts the entries of each bucket, and looks once at each.
    pub(in crate::flash) fn free_place(&mut self, hash: &KeyHash) -> Option<At> {
        let (fingerprint, home) = self.home(hash);
        let buckets = [home, self.other(fingerprint, home)];
        if let Some(at) = buckets.into_iter().flat_map(Self::ways).find(|at| self.word(*at) == 0) {
            return Some(at);
        }
        self.moves = self.moves.wrapping_add(1);
        if let Some(at) = self.place_nearby(buckets) {
            return Some(at);
        }
        let way = match self.stash.iter().position(|(word, _)| *word == 0) {
            Some(way) => way,
            None => {
                self.forget_marks();
                let stand_in = self.encode(fingerprint, &STAND_IN);
                if let Some(bucket) = buckets.into_iter().find(|bucket| self.carry(stand_in, *bucket)) {
                    let at = Self::ways(bucket).find(|at| self.word(*at) == stand_in)?;
                    self.store(at, 0);
                    return Some(at);
                }
                self.unstash()?
            }
        };
        Some(At { bucket: self.buckets.len(), way })
    }

    /// Finds a place in these buckets, or the shortest way to one from them.
    fn place_nearby(&mut self, buckets: [usize; 2]) -> Option<At> {
        let mut steps: Vec<Step, SEARCH_MAX> = Vec::new();
        for bucket in buckets {
            let _ = steps.push(Step::new(bucket, None));
        }
        let mut next = 0;
        while let Some(step) = steps.get(next).copied() {
            let bucket = step.bucket as usize;
            if let Some(free) = Self::ways(bucket).find(|at| self.word(*at) == 0) {
                return self.shift(&steps, next, free);
            }
            for at in Self::ways(bucket) {
                let other = self.other(self.fingerprint_of_word(self.word(at)), bucket);
                // A full queue takes no more, and its entries are still looked at.
                let _ = steps.push(Step::new(other, Some((next, at.way))));
            }
            next += 1;
        }
        None
    }

    /// Moves entries along the way found, from its end to its start.
    fn shift(&mut self, steps: &[Step], last: usize, mut free: At) -> Option<At> {
        let mut step = steps.get(last)?;
        while let Some((before, way)) = step.from() {
            step = steps.get(before)?;
            let from = At { bucket: step.bucket as usize, way };
            let word = self.word(from);
            // The shortest way does not meet itself; if it did, another entry would be here by now.
            if self.other(self.fingerprint_of_word(word), from.bucket) != free.bucket {
                return None;
            }
            self.store(free, word);
            self.store(from, 0);
            free = from;
        }
        Some(free)
    }

    /// Moves an entry of the stash into a bucket; returns its place. The marks of the search before still hold: there is no
    /// space beyond the buckets that it visited.
    fn unstash(&mut self) -> Option<usize> {
        for way in 0..STASH {
            let (word, bucket) = *self.stash.get(way)?;
            let other = self.other(self.fingerprint_of_word(word), bucket);
            if [bucket, other].into_iter().any(|bucket| self.carry(word, bucket)) {
                self.stash.get_mut(way)?.0 = 0;
                return Some(way);
            }
        }
        None
    }

    /// Marks full buckets as fresh.
    fn forget_marks(&mut self) {
        for bucket in self.buckets.iter_mut().filter(|bucket| !bucket.contains(&0)) {
            bucket.sort_unstable();
        }
    }

    /// Carries a word into a bucket, then the one that it displaces, and so on until one finds space. Where none does, every
    /// entry is back in its bucket, and all buckets that could be reached are spent.
    ///
    /// It ends, for no bucket is entered twice, and each is left by four entries at most.
    fn carry(&mut self, first: u32, start: usize) -> bool {
        let (mut word, mut bucket) = (first, start);
        while !self.put_into(bucket, word) {
            let mut displaced = self.enter(bucket, word);
            word = loop {
                if let Some(next) = displaced {
                    break next;
                }
                if word == first {
                    return false;
                }
                bucket = self.other(self.fingerprint_of_word(word), bucket);
                (word, displaced) = self.come_back(bucket, word);
            };
            bucket = self.other(self.fingerprint_of_word(word), bucket);
        }
        true
    }

    /// Puts a word into an empty place of a bucket, if it has one.
    fn put_into(&mut self, bucket: usize, word: u32) -> bool {
        let free = Self::ways(bucket).find(|at| self.word(*at) == 0);
        free.inspect(|at| self.store(*at, word)).is_some()
    }

    /// Enters a fresh bucket: the word takes the place of the least one there, which is returned.
    fn enter(&mut self, bucket: usize, word: u32) -> Option<u32> {
        let words = self.buckets.get_mut(bucket)?;
        // Equal words would have no order. There are none: they would be records at the same place.
        let is_fresh = words.is_sorted_by(|a, b| a < b) && !words.contains(&word);
        if !is_fresh {
            return None;
        }
        let [least, b, c, d] = *words;
        *words = [word, d, c, b];
        Some(least)
    }

    /// Comes back to a bucket with a word that was displaced there, and finds no space beyond it. The next greater one is displaced
    /// in its turn. Where there is none the bucket is spent, and the word that came goes back to where it came from.
    fn come_back(&mut self, bucket: usize, word: u32) -> (u32, Option<u32>) {
        let Some(words) = self.buckets.get_mut(bucket) else { return (word, None) };
        let [came, c, b, a] = *words;
        let next = [a, b, c].into_iter().find(|other| *other > word);
        *words = match next {
            Some(next) => words.map(|other| if other == next { word } else { other }),
            None => [b, a, c, word],
        };
        (came, next)
    }
}

/// A bucket in the search for space, and the entry that would move here: its step and its way.
#[derive(Debug, Clone, Copy)]
struct Step {
    bucket: u32,
    before: u8,
    way: u8,
}

/// No step comes before the two buckets of the key itself.
const FIRST: u8 = u8::MAX;
const _: () = assert!(SEARCH_MAX < FIRST as usize);

impl Step {
    #[expect(clippy::cast_possible_truncation, reason = "there are under 2^30 buckets, 255 steps and 4 ways")]
    const fn new(bucket: usize, from: Option<(usize, usize)>) -> Self {
        let (before, way) = match from {
            Some((before, way)) => (before as u8, way as u8),
            None => (FIRST, 0),
        };
        Self { bucket: bucket as u32, before, way }
    }

    const fn from(&self) -> Option<(usize, usize)> {
        if self.before == FIRST { None } else { Some((self.before as usize, self.way as usize)) }
    }
}

#[cfg(test)]
mod tests;
