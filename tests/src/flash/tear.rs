//! The part of a program or an erase that a power cut leaves.

use super::Flash;
use crate::image::Image;
use crate::sim::mixed;

/// A program or the erase of one sector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A program.
    Program {
        /// Where it begins.
        at: usize,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// An erase.
    Erase {
        /// Where the sector begins.
        at: usize,
        /// Bytes of the sector.
        len: usize,
    },
}

/// How much of a change a power cut let happen.
///
/// Of a program, the unit under way is the one that holds the first byte that was not written; of an erase, all the bytes
/// after those erased are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// So many bytes from its beginning; all of them is a cut just after it.
    First(usize),
    /// So many bytes from its end: pages of serial flash are programmed in no order, sectors are erased in none.
    Last(usize),
    /// So many bytes from its beginning. The part under way reads blank though it is not: it must not be programmed.
    Faint(usize),
    /// So many bytes from its beginning. The part under way can't be read: its ECC does not fit.
    Unreadable(usize),
    /// Each bit of it has its old or its new value, by a seed.
    Mixed(u64),
}

impl Change {
    /// Bytes that it changes.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Program { bytes, .. } => bytes.len(),
            Self::Erase { len, .. } => *len,
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ways to tear it: a program at every byte, and in every unit. An erase near both ends of a sector, where a log keeps
    /// short markers and headers, and half way.
    #[must_use]
    pub fn tears(&self, unit: usize) -> Vec<Tear> {
        let len = self.len();
        let mut tears = Vec::new();
        match self {
            Self::Program { .. } => {
                tears.extend((0..=len).map(Tear::First));
                let starts = (0..len).step_by(unit);
                tears.extend(starts.clone().skip(1).map(Tear::Last));
                // With units of a byte, a faint byte equals one not written, except for the second program.
                let inside = starts.step_by(8usize.div_ceil(unit));
                tears.extend(inside.clone().map(Tear::Faint));
                tears.extend(inside.map(Tear::Unreadable));
            }
            Self::Erase { .. } => {
                let places = [0, 1, 4, 8, 15, 16, 17, 32, 48, 64, len / 4, len / 2];
                let places = places.into_iter().filter(|at| *at <= len / 2);
                tears.extend(places.clone().flat_map(|at| [Tear::First(at), Tear::First(len - at)]));
                tears.extend(places.flat_map(|at| [Tear::Last(at), Tear::Last(len - at)]).skip(2));
                tears.extend([0, 16, len / 2].map(Tear::Faint));
                tears.extend([0, 16, len / 2].map(Tear::Unreadable));
            }
        }
        tears.extend([1, 2, 3].map(Tear::Mixed));
        tears
    }
}

impl<const UNIT: usize, const SECTOR: usize, const READ: usize> Flash<UNIT, SECTOR, READ> {
    /// Tears a change in the way that a seed chooses; returns how many ways there are. The power stays.
    pub(super) fn tear_by(&mut self, change: &Change, seed: u64) -> usize {
        let tears = change.tears(UNIT);
        let tear = tears[usize::try_from(seed % tears.len() as u64).unwrap_or(0)];
        if self.has_power {
            self.tear(change, tear);
        }
        tears.len()
    }

    /// Makes as much of a change as a tear lets happen.
    pub(super) fn tear(&mut self, change: &Change, tear: Tear) {
        match change {
            Change::Program { at, bytes } => self.tear_program(*at, bytes, tear),
            Change::Erase { at, len } => self.tear_erase(*at, *len, tear),
        }
    }

    fn tear_program(&mut self, at: usize, bytes: &[u8], tear: Tear) {
        let len = bytes.len();
        match tear {
            Tear::First(count) => self.image.program(UNIT, at, bytes, |place| place < count),
            Tear::Last(count) => self.image.program(UNIT, at, bytes, |place| place + count >= len),
            Tear::Faint(count) | Tear::Unreadable(count) => {
                self.image.program(UNIT, at, bytes, |place| place < count);
                if count < len {
                    let under_way = (at + count) / UNIT;
                    self.image.programmed[under_way] = true;
                    if let Tear::Unreadable(_) = tear {
                        self.unreadable.insert(under_way);
                    }
                }
            }
            Tear::Mixed(seed) => {
                let blank = self.erase_value;
                let mix = |(place, byte): (usize, &u8)| some_bits(seed, place, blank, *byte);
                let mixed: Vec<u8> = bytes.iter().enumerate().map(mix).collect();
                self.image.program(UNIT, at, &mixed, |_| true);
            }
        }
    }

    fn tear_erase(&mut self, at: usize, len: usize, tear: Tear) {
        let range = at..at + len;
        let blank = self.erase_value;
        let units = Image::units(UNIT, &range);
        match tear {
            Tear::First(count) => self.image.erase(UNIT, range, blank, |place| place < count),
            Tear::Last(count) => self.image.erase(UNIT, range, blank, |place| place + count >= len),
            Tear::Faint(count) => {
                self.image.erase(UNIT, range, blank, |_| true);
                self.image.programmed[units.start + count / UNIT..units.end].fill(true);
            }
            Tear::Unreadable(count) => {
                self.image.erase(UNIT, range, blank, |place| place < count);
                self.unreadable.extend(units.start + count / UNIT..units.end);
                self.image.programmed[units].fill(true);
                return;
            }
            Tear::Mixed(seed) => {
                for place in 0..len {
                    let byte = &mut self.image.bytes[at + place];
                    *byte = some_bits(seed, place, *byte, blank);
                }
                self.image.programmed[units.clone()].fill(true);
            }
        }
        // After an erase all bytes can be read, even where the erase was torn.
        if tear != Tear::First(0) && tear != Tear::Last(0) {
            self.unreadable.retain(|unit| !units.contains(unit));
        }
    }
}

/// A byte of which some bits have gone from their old to their new value.
const fn some_bits(seed: u64, place: usize, old: u8, new: u8) -> u8 {
    let gone = mixed(seed.wrapping_mul(0x9E37_79B9).wrapping_add(place as u64)).to_le_bytes()[0];
    old & !gone | new & gone
}
