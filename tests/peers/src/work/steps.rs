//! The calls of every step but a replay and gets beside a compaction, and the single calls of the latter.

use core::time::Duration;
use std::time::Instant;

use coldpress_examples::rng::Rng;
use coldpress_examples::zipf::Zipf;

use super::clients;
use crate::job::{Job, Law, Step};
use crate::measure::Tally;
use crate::stores::{Fault, Store};
use crate::versions::{Answer, KEY_BYTES, Versions, key};

/// Makes the calls of a step that has none of its own.
pub(super) fn run(
    job: &Job,
    step: &Step,
    store: &dyn Store,
    versions: &Versions,
    begun: Instant,
) -> Result<Tally, Fault> {
    let part = Part { job, store, versions, begun };
    match *step {
        Step::Load { clients } | Step::LoadAndDie { clients } => part.load(clients),
        Step::Open => part.sample(SAMPLES),
        Step::Get { clients, seconds, law, .. } => part.mix(clients, seconds, law, 1000),
        Step::Mix { clients, seconds, law, read_permille } => part.mix(clients, seconds, law, read_permille),
        Step::Overwrite { clients, law, times_live } => part.overwrite(clients, law, times_live),
        Step::Commit { clients, seconds } => part.mix(clients, seconds, Law::Uniform, 0),
        Step::Remove { clients } => part.remove(clients),
        Step::Beside { .. } | Step::Replay(_) => Err("it has calls of its own".into()),
    }
}

/// Reads every key once, without a count of the calls.
pub(super) fn read_all(
    job: &Job,
    store: &dyn Store,
    versions: &Versions,
    tally: &mut Tally,
) -> Result<(), Fault> {
    let part = Part { job, store, versions, begun: Instant::now() };
    let mut scratch = Vec::new();
    (0..versions.len()).try_for_each(|id| part.get(id, &mut scratch, tally))
}

/// Reads some keys that lie evenly over all, without a count of the calls.
pub(super) fn read_sample(
    job: &Job,
    store: &dyn Store,
    versions: &Versions,
    tally: &mut Tally,
) -> Result<(), Fault> {
    let part = Part { job, store, versions, begun: Instant::now() };
    tally.add(&part.sample(SAMPLES)?)
}

/// Keys whose lookup shows that a store has its values.
const SAMPLES: u64 = 2_000;

#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) job: &'a Job,
    pub(super) store: &'a dyn Store,
    pub(super) versions: &'a Versions,
    pub(super) begun: Instant,
}

impl Part<'_> {
    fn load(self, clients: u32) -> Result<Tally, Fault> {
        clients::run(clients, self.begun, |client, tally| {
            let mut value = vec![0; self.job.value_bytes as usize];
            let ids = (u64::from(client)..self.versions.len()).step_by(clients as usize);
            ids.into_iter().try_for_each(|id| self.put(id, &mut value, tally))
        })
    }

    /// Looks up keys that lie evenly over all.
    fn sample(self, samples: u64) -> Result<Tally, Fault> {
        clients::run(1, self.begun, |_, tally| {
            let mut scratch = Vec::new();
            let step = (self.versions.len() / samples.max(1)).max(1);
            let ids = (0..self.versions.len()).step_by(usize::try_from(step)?);
            ids.into_iter().try_for_each(|id| self.get(id, &mut scratch, tally))
        })
    }

    fn mix(self, clients: u32, seconds: f64, law: Law, read_permille: u32) -> Result<Tally, Fault> {
        let until = Duration::from_secs_f64(seconds);
        clients::run(clients, self.begun, |client, tally| {
            let (mut value, mut scratch) = (vec![0; self.job.value_bytes as usize], Vec::new());
            let mut choice = self.choice(client, law);
            while self.begun.elapsed() < until {
                if choice.rng.below(1000) < u64::from(read_permille) {
                    self.get(choice.any(), &mut scratch, tally)?;
                } else {
                    self.put(choice.own(clients), &mut value, tally)?;
                }
            }
            Ok(())
        })
    }

    fn overwrite(self, clients: u32, law: Law, times_live: u32) -> Result<Tally, Fault> {
        let writes = self.versions.len() * u64::from(times_live) / u64::from(clients.max(1));
        clients::run(clients, self.begun, |client, tally| {
            let mut value = vec![0; self.job.value_bytes as usize];
            let mut choice = self.choice(client, law);
            (0..writes).try_for_each(|_| self.put(choice.own(clients), &mut value, tally))
        })
    }

    fn remove(self, clients: u32) -> Result<Tally, Fault> {
        clients::run(clients, self.begun, |client, tally| {
            let ids = (u64::from(client)..self.versions.len()).step_by(clients as usize);
            for id in ids.filter(|id| id / u64::from(clients) % 2 == 1) {
                let key = key(id);
                tally.time(|| self.store.remove(&key))?;
                self.versions.remove(id);
                tally.user_bytes += KEY_BYTES as u64;
            }
            Ok(())
        })
    }

    pub(super) fn choice(self, client: u32, law: Law) -> Choice {
        let keys = self.versions.len().max(1);
        let alpha = match law {
            Law::Uniform => 0.0,
            Law::Zipf(alpha) => alpha,
        };
        let rng = Rng::new(self.job.seed ^ 0x5EED, u64::from(client));
        Choice { client: client.into(), keys, zipf: Zipf::new(keys, alpha), rng }
    }

    pub(super) fn put(self, id: u64, value: &mut [u8], tally: &mut Tally) -> Result<(), Fault> {
        let key = key(id);
        self.versions.begin_put(id, value);
        tally.time(|| self.store.put(&key, value))?;
        self.versions.end_put(id);
        tally.user_bytes += (KEY_BYTES + value.len()) as u64;
        Ok(())
    }

    pub(super) fn get(self, id: u64, scratch: &mut Vec<u8>, tally: &mut Tally) -> Result<(), Fault> {
        let key = key(id);
        let least = self.versions.least(id);
        let mut answer = None;
        let mut see = |value: &[u8]| {
            let is_whole = value.len() == self.job.value_bytes as usize;
            answer = Some(if is_whole { self.versions.check(id, least, value) } else { Answer::Wrong });
        };
        let is_found = tally.time(|| self.store.get(&key, scratch, &mut see))?;
        match (is_found, answer, least) {
            (true, Some(Answer::Right), Some(_)) => tally.checked += 1,
            (true, Some(Answer::Stale), Some(_)) => tally.stale += 1,
            (true, Some(_), None) if self.job.variant.may_forget() => tally.stale += 1,
            (true, Some(_), None) => return Err(format!("key {id} is back: it had been removed").into()),
            (true, _, _) => return Err(format!("key {id} has bytes that were never put").into()),
            (false, _, Some(_)) => tally.missing += 1,
            (false, _, None) => {}
        }
        Ok(())
    }
}

/// The keys that a client takes.
pub(super) struct Choice {
    client: u64,
    keys: u64,
    zipf: Zipf,
    rng: Rng,
}

impl Choice {
    pub(super) fn any(&mut self) -> u64 {
        // A prime above any count of keys here scatters the ranks, one to one.
        const PRIME: u128 = 4_294_967_291;
        let rank = self.zipf.draw(&mut self.rng);
        ((u128::from(rank) * PRIME + 12_345) % u128::from(self.keys)) as u64
    }

    /// A key that no other client writes.
    pub(super) fn own(&mut self, clients: u32) -> u64 {
        let clients = u64::from(clients);
        let id = self.any();
        let own = id - id % clients + self.client;
        if own < self.keys { own } else { self.client.min(self.keys - 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_write_keys_of_their_own() {
        for client in 0..3 {
            let zipf = Zipf::new(100, 0.99);
            let mut choice = Choice { client, keys: 100, zipf, rng: Rng::new(1, client) };
            assert!((0..1000).all(|_| {
                let id = choice.own(3);
                id % 3 == client && id < 100
            }));
        }
    }
}
