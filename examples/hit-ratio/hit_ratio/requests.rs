//! The requests that each cache gets.

use std::collections::HashMap;
use std::path::Path;

use coldpress_examples::rng::Rng;
use coldpress_examples::trace::{TraceError, TraceOp, TraceReader};
use coldpress_examples::zipf::Zipf;

use super::caches::{Cache, weight};

const KEYS: u64 = 100_000;
const READS: u64 = 1_000_000;
const VALUE_BYTES: u32 = 1_024;
/// Values of a trace are cut to this part.
const TRACE_DIVISOR: u32 = 16;

#[derive(Debug, Clone, Copy)]
enum Op {
    Read,
    /// A read of a scan: it is made, and does not count.
    Scan,
    Write,
}

/// Requests and their name.
pub(crate) struct Requests {
    pub(crate) name: String,
    all: Vec<(Op, u64, u32)>,
}

impl Requests {
    /// The weight of all keys, each with its longest value, that are not of a scan.
    pub(crate) fn bytes(&self) -> u64 {
        let mut lens: HashMap<u64, u32> = HashMap::new();
        for (_, key, len) in self.all.iter().filter(|(op, ..)| !matches!(op, Op::Scan)) {
            let longest = lens.entry(*key).or_default();
            *longest = (*longest).max(*len);
        }
        lens.into_values().map(|len| u64::from(weight(len as usize))).sum()
    }

    /// Sends all requests; returns the percentage of reads that hit.
    pub(crate) fn hits(&self, cache: &impl Cache) -> f64 {
        let (mut reads, mut hits) = (0_u64, 0_u64);
        for (op, key, len) in &self.all {
            match op {
                Op::Write => cache.put(*key, *len),
                Op::Read | Op::Scan => {
                    let is_hit = cache.hits(*key);
                    if !is_hit {
                        cache.load(*key, *len);
                    }
                    let counts = u64::from(matches!(op, Op::Read));
                    reads += counts;
                    hits += counts * u64::from(is_hit);
                }
            }
        }
        hits as f64 * 100.0 / reads.max(1) as f64
    }
}

fn zipf_reads(alpha: f64, seed: u64, count: u64) -> impl Iterator<Item = (Op, u64, u32)> {
    let (law, mut rng) = (Zipf::new(KEYS, alpha), Rng::new(seed, 0));
    (0..count).map(move |_| (Op::Read, law.draw(&mut rng), VALUE_BYTES))
}

/// Reads by Zipf's law.
pub(crate) fn zipf(alpha: f64) -> Requests {
    Requests { name: format!("zipf {alpha}, 1 KiB"), all: zipf_reads(alpha, 1, READS).collect() }
}

/// The same, with a scan over as many other keys in the middle.
pub(crate) fn scanned(alpha: f64) -> Requests {
    let mut all: Vec<_> = zipf_reads(alpha, 1, READS / 2).collect();
    all.extend((KEYS..2 * KEYS).map(|key| (Op::Scan, key, VALUE_BYTES)));
    all.extend(zipf_reads(alpha, 2, READS / 2));
    Requests { name: format!("zipf {alpha}, 1 KiB, with a scan"), all }
}

/// The requests of a trace.
pub(crate) fn traced(path: &Path) -> Result<Requests, TraceError> {
    let mut all = Vec::new();
    for request in TraceReader::open(path)? {
        let request = request?;
        let op = match request.op {
            TraceOp::Read => Op::Read,
            TraceOp::Write => Op::Write,
            TraceOp::Other(_) => continue,
        };
        all.push((op, request.lbn, request.size / TRACE_DIVISOR));
    }
    Ok(Requests { name: "trace, values cut to a sixteenth".into(), all })
}
