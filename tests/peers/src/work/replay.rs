//! Replays requests in which values have lifetimes, or a recorded trace.
//!
//! One client makes the requests, and a map has the value that each key should have. A store without lifetimes gets them from the caller,
//! as a service would do it: four bytes in front of the value say when it ends, and a read that finds an ended value takes it for absent.
//! Such a store keeps ended values on its disk.

use std::collections::HashMap;
use std::fs;
use std::time::Instant;

use coldpress_examples::content::Content;
use coldpress_examples::published::clusters;
use coldpress_examples::request::{KEY_BYTES_MAX, Op, Request, Source, key_bytes};
use coldpress_examples::workload::{Shape, Workload};

use crate::job::{Job, Outcome, Replayed};
use crate::measure::Tally;
use crate::stores::{Fault, Store};

/// The commonest lifetime of a cluster becomes so many seconds; the others keep their proportion.
const TTL_SECONDS: u32 = 2;

/// A store may end a value so many seconds after its time, and no earlier.
const LATE_SECONDS: f64 = 2.5;

/// Bytes in front of a value where the caller keeps its lifetime.
const ENDS_BYTES: usize = 4;

/// Makes the requests of a replay; notes the live bytes at its end.
pub(super) fn run(
    job: &Job,
    store: &dyn Store,
    replayed: &Replayed,
    outcome: &mut Outcome,
) -> Result<Tally, Fault> {
    let (source, requests) = source(job.seed, replayed)?;
    let begun = Instant::now();
    let mut player = Player {
        job,
        store,
        content: Content::new(job.seed),
        begun,
        values: HashMap::new(),
        has_lifetimes: None,
        buffer: Vec::new(),
        scratch: Vec::new(),
        tally: Tally::new(begun)?,
    };
    for request in source.requests()?.take(usize::try_from(requests)?) {
        player.play(request?)?;
    }
    outcome.live_bytes = player.live_bytes();
    Ok(player.tally)
}

fn source(seed: u64, replayed: &Replayed) -> Result<(Source, u64), Fault> {
    match replayed {
        Replayed::Trace { path, requests } => {
            Ok((Source::Trace { path: path.clone(), rounds: 1, ttl_s: None }, *requests))
        }
        Replayed::Cluster { table, number, live_bytes, requests } => {
            let all = clusters(&fs::read_to_string(table)?)?;
            let cluster = all.iter().find(|cluster| cluster.number == *number);
            let cluster = cluster.ok_or_else(|| format!("the table has no cluster {number}"))?;
            let shape = Shape::of_cluster(cluster, *live_bytes, TTL_SECONDS);
            Ok((Source::Generated(Workload::new(vec![(shape, 1)], seed, *requests)), *requests))
        }
    }
}

/// The value that a key should have.
#[derive(Debug, Clone, Copy)]
struct Expected {
    version: u32,
    len: u32,
    key_len: u16,
    /// Seconds of this replay at whose end the value ends.
    ends: Option<f64>,
    is_removed: bool,
}

struct Player<'a> {
    job: &'a Job,
    store: &'a dyn Store,
    content: Content,
    begun: Instant,
    values: HashMap<u64, Expected>,
    /// Whether the store has lifetimes of its own; asked at the first value that has one.
    has_lifetimes: Option<bool>,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    tally: Tally,
}

impl Player<'_> {
    fn play(&mut self, request: Request) -> Result<(), Fault> {
        match request.op {
            Op::Get => self.get(request),
            Op::Put { len, ttl_s } => self.put(request, len, ttl_s),
            Op::Add { len, ttl_s } => {
                // A caller without a conditional put looks first, and so do all here.
                self.get(request)?;
                if self.is_alive(request.key) { Ok(()) } else { self.put(request, len, ttl_s) }
            }
            Op::Remove => self.remove(request),
        }
    }

    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn is_alive(&self, key: u64) -> bool {
        let now = self.now();
        self.values
            .get(&key)
            .is_some_and(|value| !value.is_removed && value.ends.is_none_or(|ends| ends > now))
    }

    fn put(&mut self, request: Request, len: u32, ttl_s: Option<u32>) -> Result<(), Fault> {
        let mut key = [0; KEY_BYTES_MAX];
        let key = key_bytes(request.key, request.key_len, &mut key);
        let version = self.values.get(&request.key).map_or(1, |value| value.version + 1);
        self.buffer.resize(ENDS_BYTES + len as usize, 0);
        self.content.fill(request.key, version, &mut self.buffer[ENDS_BYTES..]);
        let mut ends = None;
        match ttl_s {
            Some(seconds) if self.has_lifetimes != Some(false) => {
                let (store, value) = (self.store, &self.buffer[ENDS_BYTES..]);
                let before = self.begun.elapsed().as_secs_f64();
                let has = self.tally.time(|| store.put_for(key, value, seconds))?;
                self.has_lifetimes = Some(has);
                if !has {
                    return self.put(request, len, ttl_s);
                }
                ends = Some(before + f64::from(seconds));
            }
            Some(seconds) => {
                let end = self.now() + f64::from(seconds);
                // Whole hundredths of a second, so that both sides have the same end.
                let hundredths = (end * 100.0) as u32;
                self.buffer[..ENDS_BYTES].copy_from_slice(&hundredths.to_le_bytes());
                self.tally.time(|| self.store.put(key, &self.buffer))?;
                ends = Some(f64::from(hundredths) / 100.0);
            }
            None => self.tally.time(|| self.store.put(key, &self.buffer[ENDS_BYTES..]))?,
        }
        self.tally.user_bytes += key.len() as u64 + u64::from(len);
        let value = Expected { version, len, key_len: request.key_len, ends, is_removed: false };
        self.values.insert(request.key, value);
        Ok(())
    }

    fn get(&mut self, request: Request) -> Result<(), Fault> {
        let mut key = [0; KEY_BYTES_MAX];
        let key = key_bytes(request.key, request.key_len, &mut key);
        let expected = self.values.get(&request.key).copied().filter(|value| !value.is_removed);
        let before = self.begun.elapsed().as_secs_f64();
        let is_framed =
            expected.is_some_and(|value| value.ends.is_some()) && self.has_lifetimes == Some(false);
        let (mut has_ended, mut is_right) = (false, true);
        let content = self.content;
        let mut see = |bytes: &[u8]| {
            let Some(expected) = expected else { return };
            let mut value = bytes;
            if is_framed {
                let Some((front, rest)) = bytes.split_first_chunk::<ENDS_BYTES>() else {
                    is_right = false;
                    return;
                };
                has_ended = f64::from(u32::from_le_bytes(*front)) / 100.0 <= before;
                value = rest;
            }
            is_right =
                value.len() == expected.len as usize && content.matches(request.key, expected.version, value);
        };
        let (store, scratch) = (self.store, &mut self.scratch);
        let is_found = self.tally.time(|| store.get(key, scratch, &mut see))? && !has_ended;
        let after = self.now();
        let tally = &mut self.tally;
        match (is_found, expected) {
            (true, Some(_)) if !is_right && self.job.variant.may_forget() => tally.stale += 1,
            (true, Some(_)) if !is_right => return Err("a value has bytes that were not put last".into()),
            (true, Some(value)) if value.ends.is_some_and(|ends| before > ends + LATE_SECONDS) => {
                return Err("a value is there after its lifetime".into());
            }
            (true, Some(_)) => tally.checked += 1,
            (true, None) => return Err("a key has a value that was never put, or was removed".into()),
            (false, Some(value)) if value.ends.is_none_or(|ends| after < ends) => tally.missing += 1,
            (false, _) => {}
        }
        Ok(())
    }

    fn remove(&mut self, request: Request) -> Result<(), Fault> {
        let mut key = [0; KEY_BYTES_MAX];
        let key = key_bytes(request.key, request.key_len, &mut key);
        self.tally.time(|| self.store.remove(key))?;
        if let Some(value) = self.values.get_mut(&request.key) {
            value.is_removed = true;
        }
        Ok(())
    }

    /// Bytes of keys and values that have not ended.
    fn live_bytes(&self) -> u64 {
        let alive = self.values.iter().filter(|(key, _)| self.is_alive(**key));
        alive.map(|(_, value)| u64::from(value.key_len) + u64::from(value.len)).sum()
    }
}
