//! A model of a log, which tells what each part of its cost bounds: records of one length, and nothing but counts.
//!
//! It has the overwrites of the measured runs, and chooses victims as the machine does. By it a figure can be taken apart:
//! a segment less in the reserve, fewer bytes of headers, or the most frequent keys known in advance.

use serde::Serialize;

use crate::measure::{RECORD_BYTES, Run, SECTORS, amplification};
use crate::overwrites::{Draws, Law};

/// A log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// Records that fit into a segment.
    records: usize,
    /// Bytes of headers, markers and erase intents for each segment.
    own_bytes: u64,
    /// Free segments that fresh records leave.
    free_segments: usize,
    /// Whether the victim has the least live records, or the most gain for its age.
    is_greedy: bool,
    /// Whether fresh records wait until cleaning has given back a segment for them alone.
    is_parted: bool,
    /// The most frequent keys, so many, have open segments of their own. They are known in advance.
    known_keys: usize,
}

const OURS: Shape = Shape {
    name: "as ours: 51 records and 140 bytes of headers a segment, 2 segments free",
    records: 51,
    own_bytes: 140,
    free_segments: 2,
    is_greedy: true,
    is_parted: false,
    known_keys: 0,
};

/// Uniform overwrites: ours, and one part of the cost less in each row.
pub(crate) const UNIFORM: [Shape; 4] = [
    OURS,
    Shape { name: "no space for a trailer: 52 records", records: 52, ..OURS },
    Shape {
        name: "nor for headers and erase intents: 53 records and 8 bytes",
        records: 53,
        own_bytes: 8,
        ..OURS
    },
    Shape { name: "and 1 segment free instead of 2", records: 53, own_bytes: 8, free_segments: 1, ..OURS },
];

/// Skewed overwrites: ours, then fresh records between relocated ones, and the most frequent keys in a segment of their own.
pub(crate) const SKEWED: [Shape; 4] = [
    Shape { is_greedy: false, is_parted: true, ..OURS },
    Shape { name: "the same with fresh records between relocated ones", is_greedy: false, ..OURS },
    Shape {
        name: "the 100 most frequent keys apart, known in advance",
        is_greedy: false,
        known_keys: 100,
        ..OURS
    },
    Shape { name: "the same with 52 records", is_greedy: false, known_keys: 100, records: 52, ..OURS },
];

/// The cost of a run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Cost {
    law: Law,
    pub(crate) name: &'static str,
    pub(crate) write_amplification: f64,
    pub(crate) erases_per_1000_puts: f64,
}

#[derive(Debug, Clone, Default)]
struct Segment {
    keys: Vec<u32>,
    live: usize,
    sealed_at: u64,
    is_open: bool,
}

struct Log {
    shape: Shape,
    segments: Vec<Segment>,
    /// Where the record of each key lies.
    places: Vec<Option<(usize, usize)>>,
    is_known: Vec<bool>,
    open: [Option<usize>; 2],
    written: u64,
    puts: u64,
    erases: u64,
}

/// Runs it.
pub(crate) fn cost(shape: Shape, run: Run) -> Cost {
    let mut draws = Draws::new(run.law, run.keys);
    let keys = run.keys as usize;
    let mut is_known = vec![false; keys];
    draws.most_frequent(shape.known_keys).for_each(|key| is_known[key as usize] = true);
    let mut log = Log {
        shape,
        segments: vec![Segment::default(); SECTORS],
        places: vec![None; keys],
        is_known,
        open: [None; 2],
        written: 0,
        puts: 0,
        erases: 0,
    };
    (0..run.keys).for_each(|key| log.put(key));
    let (written, erases) = (log.written, log.erases);
    (0..run.overwrites).for_each(|_| log.put(draws.overwritten()));
    let (written, erases) = (log.written - written, log.erases - erases);
    Cost {
        law: run.law,
        name: shape.name,
        write_amplification: amplification(written * RECORD_BYTES + erases * shape.own_bytes, run.overwrites),
        erases_per_1000_puts: erases as f64 * 1000.0 / run.overwrites as f64,
    }
}

impl Log {
    fn put(&mut self, key: u32) {
        let class = usize::from(self.is_known[key as usize]);
        let mut is_parted = false;
        while !self.fits(class) || self.free() < self.shape.free_segments + usize::from(is_parted) {
            if !self.fits(class) {
                self.seal(class);
            }
            if self.free() > self.shape.free_segments && !self.fits(class) {
                self.take(class);
            } else {
                is_parted = self.clean() && self.shape.is_parted;
            }
        }
        self.puts += 1;
        self.write(class, key);
    }

    fn fits(&self, class: usize) -> bool {
        self.open[class].is_some_and(|at| self.segments[at].keys.len() < self.shape.records)
    }

    fn is_free(segment: &Segment) -> bool {
        segment.keys.is_empty() && !segment.is_open
    }

    fn free(&self) -> usize {
        self.segments.iter().filter(|segment| Self::is_free(segment)).count()
    }

    fn seal(&mut self, class: usize) {
        if let Some(at) = self.open[class].take() {
            self.segments[at].is_open = false;
            self.segments[at].sealed_at = self.puts;
        }
    }

    fn take(&mut self, class: usize) {
        self.seal(class);
        self.open[class] = self.segments.iter().position(Self::is_free);
        if let Some(at) = self.open[class] {
            self.segments[at].is_open = true;
        }
    }

    fn write(&mut self, class: usize, key: u32) {
        if !self.fits(class) {
            self.take(class);
        }
        let Some(at) = self.open[class] else { return };
        if let Some((old, _)) = self.places[key as usize] {
            self.segments[old].live -= 1;
        }
        let segment = &mut self.segments[at];
        self.places[key as usize] = Some((at, segment.keys.len()));
        segment.keys.push(key);
        segment.live += 1;
        self.written += 1;
    }

    /// Cleans a victim; tells whether at most seven eighths of it were live.
    fn clean(&mut self) -> bool {
        let sealed = self.segments.iter().enumerate().filter(|(_, s)| !s.is_open && !s.keys.is_empty());
        let rank = |segment: &Segment| {
            let gain = (self.shape.records - segment.live) as f64;
            let age = (self.puts - segment.sealed_at + 1) as f64;
            if self.shape.is_greedy { gain } else { gain * age / (segment.live as f64 + 1e-9) }
        };
        let Some((victim, _)) = sealed.max_by(|(_, a), (_, b)| rank(a).total_cmp(&rank(b))) else {
            return false;
        };
        let is_worth_waiting = self.segments[victim].live * 8 <= self.shape.records * 7;
        let keys = self.segments[victim].keys.clone();
        for (record, key) in keys.into_iter().enumerate() {
            if self.places[key as usize] == Some((victim, record)) {
                self.write(usize::from(self.is_known[key as usize]), key);
            }
        }
        self.segments[victim] = Segment::default();
        self.erases += 1;
        is_worth_waiting
    }
}
