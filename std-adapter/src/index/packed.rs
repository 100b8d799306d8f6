//! Entries packed into words, as the tables hold them.
//!
//! Most keys have one live record on the medium, with few other copies and no end: seven words. A key that expires, or has a place in
//! the queue of what does, takes three words more. All that fits neither form is rare, and is kept unpacked. Each form holds all
//! facts of its entries exactly; only the time of the last read is rounded down in the short one.
//!
//! The sequence of the segment is not in a packed entry: a live record lies in the present life of its segment, as it is
//! relocated before the segment is erased (I-GC-1). So one number a segment serves all its entries, and stays while there is one
//! (I-IDX-3). An entry of another life than that is kept unpacked, with its sequence.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use coldpress_core::format::{Geometry, Location, SegmentIndex, Sequence, Version};

use super::entry::{Entry, Stored};
use super::table::Body;

/// Words of the entry of a key that does not expire.
pub(super) const PLAIN: usize = 7;
/// Words of the entry of a key that expires.
pub(super) const TIMED: usize = 10;

// The third word: the rest of the identity, the time of the last read, copies.
const TOUCHED_SHIFT: u32 = 16;
const TOUCHED_MASK: u32 = 0xFFF;
const COPIES_SHIFT: u32 = 28;
const COPIES_MAX: u32 = 15;
// The seventh word: bytes of the record, flags, the rest of the places.
const RECORD_BITS: u32 = 20;
const FLAGS_SHIFT: u32 = RECORD_BITS;
const FLAGS_MASK: u32 = 0x3F;
const PLACES_SHIFT: u32 = 26;
/// Bits for the place of the record and the offset of its version.
const PLACES_BITS: u32 = 64 + 32 - PLACES_SHIFT;

/// The life of a segment.
#[derive(Debug, Default)]
struct SegmentLife {
    /// The sequence under which its packed entries were written.
    sequence: AtomicU32,
    /// How many packed entries there are.
    entries: AtomicU32,
}

/// The lives of the segments of a partition.
#[derive(Debug)]
pub(super) struct Lives {
    segments: Box<[SegmentLife]>,
    /// Bits of an offset in a segment.
    offset_bits: u32,
}

impl Lives {
    pub(super) fn new(geometry: &Geometry) -> Self {
        Self {
            segments: (0..geometry.segment_count()).map(|_| SegmentLife::default()).collect(),
            offset_bits: u32::BITS - (geometry.segment_bytes() - 1).leading_zeros(),
        }
    }

    fn life(&self, segment: u32) -> Option<&SegmentLife> {
        self.segments.get(segment as usize)
    }

    fn sequence(&self, segment: SegmentIndex) -> Sequence {
        let life = self.life(segment.get());
        debug_assert!(life.is_some(), "only segments of the table are packed");
        Sequence::new(life.map_or(0, |life| life.sequence.load(Relaxed)))
    }

    /// Notes the life of a segment that a live record lies in. `false` where the segment is unknown, or packed entries are of
    /// another life.
    fn note(&self, at: Location) -> bool {
        let Some(life) = self.life(at.segment.get()) else { return false };
        let (known, sequence) = (life.sequence.load(Relaxed), at.sequence.get());
        if known < sequence && life.entries.load(Relaxed) == 0 {
            life.sequence.store(sequence, Relaxed);
            return true;
        }
        known == sequence
    }

    /// An entry was packed in the place of another, or of none.
    pub(super) fn moved<const N: usize>(&self, from: Option<&Body<N>>, to: &[u32; N]) {
        let of_words = |words: [u32; N]| {
            let word = |at: usize| words.get(at).copied().unwrap_or(0);
            self.segment(places_of([4, 5, 6].map(word)))
        };
        let to = of_words(*to);
        let from = from.map(|body| of_words(body.each_ref().map(|word| word.load(Relaxed))));
        if from == Some(to) {
            return;
        }
        if let Some(life) = self.life(to) {
            life.entries.fetch_add(1, Relaxed);
        }
        if let Some(life) = from.and_then(|from| self.life(from)) {
            life.entries.fetch_sub(1, Relaxed);
        }
    }

    /// A packed entry goes.
    pub(super) fn left<const N: usize>(&self, body: Option<&Body<N>>) {
        let word = |at: usize| body.and_then(|body| body.get(at)).map_or(0, |word| word.load(Relaxed));
        let segment = self.segment(places_of([4, 5, 6].map(word)));
        if let Some(life) = self.life(segment).filter(|_| body.is_some()) {
            life.entries.fetch_sub(1, Relaxed);
        }
    }

    fn segment(&self, joined: u128) -> u32 {
        u32::try_from(joined >> (2 * self.offset_bits)).unwrap_or(u32::MAX)
    }

    /// Packs the places: the record's, and the offset of its version. `None` where they take more bits than there are.
    fn pack(&self, at: Location, version: Version) -> Option<u128> {
        let fits = |offset: u32| u64::from(offset) >> self.offset_bits == 0;
        if !fits(at.offset) || !fits(version.offset) {
            return None;
        }
        let joined = (u128::from(at.segment.get()) << self.offset_bits | u128::from(at.offset))
            << self.offset_bits
            | u128::from(version.offset);
        (joined >> PLACES_BITS == 0).then_some(joined)
    }

    fn unpack(&self, joined: u128, sequence: u32) -> (Location, Version) {
        let mask = (1u128 << self.offset_bits) - 1;
        let part = |shift: u32| u32::try_from(joined >> shift & mask).unwrap_or(0);
        let segment = SegmentIndex::new(self.segment(joined));
        let at = Location { segment, offset: part(self.offset_bits), sequence: self.sequence(segment) };
        (at, Version { sequence: Sequence::new(sequence), offset: part(0) })
    }
}

/// An entry as it is, without a pending write.
#[derive(Debug)]
pub(super) struct RareEntry {
    stored: Option<Stored>,
    copies: u32,
    touched: AtomicU32,
    queued_s: u32,
}

impl RareEntry {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            stored: entry.stored().copied(),
            copies: entry.copies,
            touched: AtomicU32::new(entry.touched_bits()),
            queued_s: entry.queued_s,
        }
    }

    pub(super) fn entry(&self) -> Entry {
        Entry::from_parts(self.stored, self.copies, self.touched.load(Relaxed), self.queued_s)
    }

    /// Brings a read into it, as [`touch`] does.
    pub(super) fn touch(&self, entry: &Entry, before: u32) {
        let touched = entry.touched_bits();
        if touched != before {
            let _ = self.touched.compare_exchange(before, touched, Relaxed, Relaxed);
        }
    }
}

/// The form that an entry fits. The words of its identity are left for the table to fill.
#[derive(Debug)]
pub(super) enum Form {
    Plain([u32; PLAIN]),
    Timed([u32; TIMED]),
    Rare,
}

/// Packs an entry without a pending write.
pub(super) fn pack(entry: &Entry, lives: &Lives) -> Form {
    let Some(stored) = entry.stored().filter(|stored| stored.is_live()) else { return Form::Rare };
    let (at, version, flags) = (stored.location(), stored.version(), stored.flags());
    let fits = (1..=COPIES_MAX).contains(&entry.copies)
        && stored.record_bytes >> RECORD_BITS == 0
        && flags & !FLAGS_MASK == 0;
    let Some(places) = lives.pack(at, version).filter(|_| fits && lives.note(at)) else { return Form::Rare };
    let [low, middle, high] =
        [0, 32, 64].map(|shift| u32::try_from(places >> shift & u128::from(u32::MAX)).unwrap_or(0));
    let touched = entry.touched_bits();
    let third = shorten(touched) << TOUCHED_SHIFT | entry.copies << COPIES_SHIFT;
    let seventh = stored.record_bytes | flags << FLAGS_SHIFT | high << PLACES_SHIFT;
    let [first, second] = [0; 2];
    match stored.expires_s() {
        None if entry.queued_s == 0 => {
            Form::Plain([first, second, third, version.sequence.get(), low, middle, seventh])
        }
        expires_s => Form::Timed([
            first,
            second,
            third,
            version.sequence.get(),
            low,
            middle,
            seventh,
            expires_s.unwrap_or(0),
            touched,
            entry.queued_s,
        ]),
    }
}

/// The places that the fifth to the seventh word hold.
fn places_of([low, middle, seventh]: [u32; 3]) -> u128 {
    u128::from(low) | u128::from(middle) << 32 | u128::from(seventh >> PLACES_SHIFT) << 64
}

/// Unpacks an entry of either form.
pub(super) fn unpack<const N: usize>(body: &Body<N>, lives: &Lives) -> Entry {
    let word = |at: usize| body.get(at).map_or(0, |word| word.load(Relaxed));
    let [third, sequence, low, middle, seventh] = [2, 3, 4, 5, 6].map(word);
    let (at, version) = lives.unpack(places_of([low, middle, seventh]), sequence);
    let flags = seventh >> FLAGS_SHIFT & FLAGS_MASK;
    let record_bytes = seventh & ((1 << RECORD_BITS) - 1);
    let copies = third >> COPIES_SHIFT;
    if N == TIMED {
        let stored = Stored::from_parts(at, version, record_bytes, word(7), flags);
        return Entry::from_parts(Some(stored), copies, word(8), word(9));
    }
    let stored = Stored::from_parts(at, version, record_bytes, 0, flags);
    Entry::from_parts(Some(stored), copies, lengthen(third >> TOUCHED_SHIFT & TOUCHED_MASK), 0)
}

/// Brings a read into the packed entry, `entry` being the unpacked one as it was when it was looked at. Where another reader came first,
/// its time is as good.
pub(super) fn touch<const N: usize>(body: &Body<N>, entry: &Entry, before: u32) {
    let touched = entry.touched_bits();
    if touched == before {
        return;
    }
    let Some(word) = body.get(if N == TIMED { 8 } else { 2 }) else { return };
    let old = word.load(Relaxed);
    let (expected, new) = if N == TIMED {
        (before, touched)
    } else {
        let rest = old & !(TOUCHED_MASK << TOUCHED_SHIFT);
        (rest | shorten(before) << TOUCHED_SHIFT, rest | shorten(touched) << TOUCHED_SHIFT)
    };
    if old == expected && new != old {
        let _ = word.compare_exchange(old, new, Relaxed, Relaxed);
    }
}

/// Bits of the fraction of a shortened time: it is rounded down by less than one part in 64.
const FRACTION_BITS: u32 = 6;
const REFERENCED_SHORT: u32 = 1 << 11;

/// Shortens a time and its mark to 12 bits.
const fn shorten(touched: u32) -> u32 {
    let (mark, seconds) = (touched >> 31, touched & (u32::MAX >> 1));
    let length = u32::BITS - seconds.leading_zeros();
    let exponent = length.saturating_sub(FRACTION_BITS + 1);
    // Below 128 the code is the number itself.
    let code = (exponent << FRACTION_BITS) + (seconds >> exponent);
    (mark * REFERENCED_SHORT) | code
}

/// The time that a shortened one stands for.
const fn lengthen(short: u32) -> u32 {
    let code = short & (REFERENCED_SHORT - 1);
    let step = code >> FRACTION_BITS;
    let exponent = step.saturating_sub(1);
    let seconds = (code - (exponent << FRACTION_BITS)) << exponent;
    (short / REFERENCED_SHORT) << 31 | seconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldpress_core::format::{Identity, Kind};
    use coldpress_core::index::Placed;

    fn geometry(segment_bytes: u32, segments: u32) -> Geometry {
        Geometry::new(segment_bytes, segments, 1, 0, Identity::KeyedHash).unwrap()
    }

    fn entry(
        segment: u32,
        offset: u32,
        version: Version,
        record_bytes: u32,
        expires_s: Option<u32>,
    ) -> Entry {
        let location =
            Location { segment: SegmentIndex::new(segment), offset, sequence: Sequence::new(segment + 7) };
        let (kind, relocated_from, relocated_bytes) = (Kind::Value, None, 0);
        let placed =
            Placed { location, version, record_bytes, kind, expires_s, relocated_from, relocated_bytes };
        let mut entry = Entry::default();
        entry.copies = 1;
        let _ = entry.replace(Stored::live(&placed, false));
        entry
    }

    /// Packs and unpacks; the words of the form, or none where it is rare.
    fn round_trip(entry: &Entry, lives: &Lives) -> (usize, Option<Entry>) {
        match pack(entry, lives) {
            Form::Plain(words) => (PLAIN, Some(unpack(&words.map(AtomicU32::new), lives))),
            Form::Timed(words) => (TIMED, Some(unpack(&words.map(AtomicU32::new), lives))),
            Form::Rare => (0, None),
        }
    }

    fn facts(entry: &Entry) -> impl PartialEq + core::fmt::Debug + use<> {
        let stored = *entry.stored().unwrap();
        (
            (stored.location(), stored.version(), stored.flags(), stored.record_bytes, stored.expires_s()),
            (entry.copies, entry.queued_s, entry.touched_bits()),
        )
    }

    #[test]
    fn packed_entry_unpacks_to_every_fact_of_it() {
        for (segment_bytes, segments) in [(1 << 16, 64), (4 << 20, 1 << 18), (1 << 28, 1 << 10), (65_535, 40)]
        {
            let geometry = geometry(segment_bytes, segments);
            let lives = Lives::new(&geometry);
            let mut packed = 0;
            for segment in [0, 1, segments - 1] {
                for offset in [0, 1, segment_bytes / 2, segment_bytes - 1] {
                    for sequence in [0, 1, u32::MAX] {
                        for record_bytes in [0, 1, (1 << 20) - 1] {
                            let version = Version { sequence: Sequence::new(sequence), offset: offset / 3 };
                            for expires_s in [None, Some(0), Some(5), Some(u32::MAX)] {
                                let mut entry = entry(segment, offset, version, record_bytes, expires_s);
                                entry.copies = 1 + (segment + offset) % COPIES_MAX;
                                entry.queued_s = expires_s.unwrap_or(0);
                                entry.touch(127);
                                for damaged in [false, true] {
                                    if damaged {
                                        entry.stored_mut().unwrap().set_damaged();
                                    } else if sequence == 1 {
                                        entry.stored_mut().unwrap().set_stand_in();
                                    }
                                    let (words, unpacked) = round_trip(&entry, &lives);
                                    assert_eq!(words, if expires_s.is_some() { TIMED } else { PLAIN });
                                    assert_eq!(facts(&unpacked.unwrap()), facts(&entry));
                                    packed += 1;
                                }
                            }
                        }
                    }
                }
            }
            assert!(packed > 500);
        }
    }

    #[test]
    fn entry_that_fits_no_form_is_rare() {
        let lives = Lives::new(&geometry(1 << 16, 64));
        let version = Version { sequence: Sequence::new(3), offset: 9 };
        let plain = || entry(5, 100, version, 500, None);
        assert_eq!(round_trip(&plain(), &lives).0, PLAIN);
        let changed = |change: fn(&mut Entry)| {
            let mut entry = plain();
            change(&mut entry);
            round_trip(&entry, &lives).0
        };
        assert_eq!(changed(|entry| entry.queued_s = 9), TIMED);
        assert_eq!(changed(|entry| entry.copies = 15), PLAIN);
        assert_eq!(changed(|entry| entry.copies = 16), 0);
        assert_eq!(changed(|entry| entry.copies = 0), 0, "its copies are counted anew");
        assert_eq!(changed(|entry| assert!(entry.stored_mut().unwrap().release().is_some())), 0);
        assert_eq!(changed(|entry| entry.forget()), 0);
        assert_eq!(round_trip(&entry(5, 100, version, 1 << 20, None), &lives).0, 0);
        assert_eq!(round_trip(&entry(64, 100, version, 500, None), &lives).0, 0, "of no known segment");
        let far = Version { offset: 1 << 16, ..version };
        assert_eq!(round_trip(&entry(5, 100, far, 500, None), &lives).0, 0);
        // 2^28 bytes a segment leave 14 bits for the number of the segment.
        let lives = Lives::new(&geometry(1 << 28, 1 << 15));
        let in_segment = |segment| round_trip(&entry(segment, 100, version, 500, None), &lives).0;
        assert_eq!((in_segment((1 << 14) - 1), in_segment(1 << 14)), (PLAIN, 0));
    }

    #[test]
    fn entry_of_another_life_is_rare_while_one_is_packed() {
        let lives = Lives::new(&geometry(1 << 16, 64));
        let version = Version { sequence: Sequence::new(3), offset: 9 };
        let of_life = |sequence: u32| {
            let mut entry = entry(5, 100, version, 500, None);
            let placed =
                Location { segment: SegmentIndex::new(5), offset: 100, sequence: Sequence::new(sequence) };
            let stored = Stored::from_parts(placed, version, 500, 0, entry.stored().unwrap().flags());
            let _ = entry.replace(stored);
            entry
        };
        let packed = |sequence| match pack(&of_life(sequence), &lives) {
            Form::Plain(words) => Some(words),
            _ => None,
        };
        let first = packed(10).unwrap();
        lives.moved(None, &first);
        assert!(packed(11).is_none() && packed(9).is_none());
        assert_eq!(
            unpack(&first.map(AtomicU32::new), &lives).stored().unwrap().location().sequence.get(),
            10
        );
        lives.left(Some(&first.map(AtomicU32::new)));
        assert!(packed(9).is_none(), "lives go on, not back");
        let second = packed(11).unwrap();
        lives.moved(None, &second);
        assert!(packed(10).is_none());
        assert_eq!(
            unpack(&second.map(AtomicU32::new), &lives).stored().unwrap().location().sequence.get(),
            11
        );
    }

    #[test]
    fn shortened_time_is_rounded_down_by_less_than_a_64th() {
        let times = (0..31).flat_map(|bit| [(1u32 << bit) - 1, 1 << bit, (1 << bit) + (1 << bit) / 3]);
        for seconds in times.chain(0..300).chain([u32::MAX >> 1]) {
            for mark in [0, 1 << 31] {
                let short = shorten(mark | seconds);
                assert!(short <= TOUCHED_MASK);
                let long = lengthen(short);
                assert_eq!((long & 1 << 31, shorten(long)), (mark, short));
                let rounded = long & !(1 << 31);
                assert!(
                    rounded <= seconds && (seconds - rounded) * 64 <= seconds.max(64) - 64.min(seconds),
                    "{seconds}: {rounded}"
                );
            }
        }
    }

    #[test]
    fn read_of_a_packed_entry_is_noted_in_it() {
        let lives = Lives::new(&geometry(1 << 16, 64));
        let version = Version { sequence: Sequence::new(3), offset: 9 };
        for expires_s in [None, Some(77)] {
            let entry = entry(5, 100, version, 500, expires_s);
            let seen = |body: &dyn Fn() -> Entry| (body().touched_s(), body().take_reference());
            match pack(&entry, &lives) {
                Form::Plain(words) => {
                    let body = words.map(AtomicU32::new);
                    note(&body, &lives, |entry| entry.touch(100));
                    assert_eq!(seen(&|| unpack(&body, &lives)), (100, true));
                    note(&body, &lives, |entry| assert!(entry.take_reference()));
                    assert_eq!(seen(&|| unpack(&body, &lives)), (100, false));
                    assert_eq!(facts(&unpack(&body, &lives)), {
                        entry.written(100);
                        facts(&entry)
                    });
                }
                Form::Timed(words) => {
                    let body = words.map(AtomicU32::new);
                    note(&body, &lives, |entry| entry.touch(1_000_001));
                    assert_eq!(seen(&|| unpack(&body, &lives)), (1_000_001, true));
                }
                Form::Rare => unreachable!("it fits a form"),
            }
        }
    }

    fn note<const N: usize>(body: &Body<N>, lives: &Lives, look: impl FnOnce(&Entry)) {
        let entry = unpack(body, lives);
        let before = entry.touched_bits();
        look(&entry);
        touch(body, &entry, before);
    }
}
