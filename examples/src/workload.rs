//! Generated workloads: requests that follow from a seed and their own number.
//!
//! A [`Workload`] mixes [`Shape`]s, each with its own keys. Request number n draws from a generator of its own. So any thread
//! can make any part of the sequence, and the sequence is the same for any number of threads.

use crate::published::{Cluster, Verb};
use crate::request::{KEY_BYTES_MAX, Op, Request};
use crate::rng::{Rng, mix};
use crate::zipf::Zipf;

/// The lengths of the values of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// All the same.
    Fixed(u32),
    /// Three quarters of them between a quarter of the mean and the mean, the others up to 3.25 times the mean:
    /// where only a mean is published, this keeps it and has the skew that sizes have.
    Around(u32),
}

impl Sizes {
    /// Gives the mean.
    #[must_use]
    pub const fn mean(self) -> u32 {
        match self {
            Self::Fixed(len) | Self::Around(len) => len,
        }
    }

    /// Gives the largest that is drawn.
    #[must_use]
    pub const fn peak(self) -> u32 {
        match self {
            Self::Fixed(len) => len,
            Self::Around(mean) => mean.saturating_mul(13) / 4 + 1,
        }
    }

    fn draw(self, rng: &mut Rng) -> u32 {
        match self {
            Self::Fixed(len) => len,
            Self::Around(mean) => {
                let mean = u64::from(mean);
                let (low, high) = if rng.below(4) < 3 { (mean / 4, mean) } else { (mean, mean * 13 / 4) };
                u32::try_from(low + rng.below(high - low + 1)).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

/// One kind of traffic with keys of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Its name in the report.
    pub name: String,
    /// Keys that are drawn by popularity.
    pub keys: u64,
    /// Keys that stand for ones never seen before: used in turn, each again only after all others.
    pub fresh_keys: u64,
    /// Requests for the next of the fresh keys, in thousandths.
    pub fresh_permille: u32,
    /// Bytes of a key.
    pub key_len: u16,
    /// Lengths of the values.
    pub sizes: Sizes,
    /// Seconds to live, with weights; `None` lives for ever.
    pub ttls: Vec<(Option<u32>, u32)>,
    /// Operations, with weights.
    pub verbs: Vec<(Verb, u32)>,
    /// The exponent of the popularity.
    pub alpha: f64,
    /// Whether every key is stored once before the requests start.
    pub is_preloaded: bool,
}

impl Shape {
    /// Makes the shape of a published cluster whose values, were all alive at once, would take `live_bytes`.
    ///
    /// The published times to live are days and the run takes seconds, so time is scaled: the commonest time to
    /// live becomes `ttl_s`, the others keep their proportion and are at least one second. The scale is
    /// part of the name.
    #[must_use]
    pub fn of_cluster(cluster: &Cluster, live_bytes: u64, ttl_s: u32) -> Self {
        let each = u64::from(cluster.key_bytes + cluster.value_bytes).max(1);
        let keys = (live_bytes / each).clamp(1000, 500_000);
        let fresh_keys = keys * u64::from(cluster.fresh_permille) / 1000;
        let commonest =
            cluster.ttl_mix.iter().max_by_key(|(_, weight)| *weight).map_or(1, |(ttl, _)| *ttl).max(1);
        let scale = |ttl: u32| {
            let scaled =
                (u64::from(ttl) * u64::from(ttl_s) + u64::from(commonest) / 2) / u64::from(commonest);
            u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
        };
        let speed = commonest / ttl_s.max(1);
        Self {
            name: format!("cluster {}, time runs 1:{speed}", cluster.number),
            keys: (keys - fresh_keys).max(1),
            fresh_keys: fresh_keys.max(1),
            fresh_permille: cluster.fresh_permille,
            key_len: u16::try_from(cluster.key_bytes).unwrap_or(u16::MAX).clamp(8, KEY_BYTES_MAX as u16),
            sizes: Sizes::Around(cluster.value_bytes.max(4)),
            ttls: cluster.ttl_mix.iter().map(|(ttl, weight)| (Some(scale(*ttl)), *weight)).collect(),
            verbs: cluster.op_mix.clone(),
            alpha: cluster.alpha,
            is_preloaded: false,
        }
    }

    /// Makes overwrites by popularity: every key stored first, then nine puts to one get.
    #[must_use]
    pub fn overwrites(name: String, keys: u64, value_len: u32, alpha: f64) -> Self {
        Self {
            name,
            keys,
            fresh_keys: 0,
            fresh_permille: 0,
            key_len: 16,
            sizes: Sizes::Fixed(value_len),
            ttls: vec![(None, 1)],
            verbs: vec![(Verb::Set, 9), (Verb::Get, 1)],
            alpha,
            is_preloaded: true,
        }
    }

    /// Makes pages of mixed sizes without a time to live: every key stored first, then as many puts as gets.
    #[must_use]
    pub fn pages(keys: u64, value_len: u32) -> Self {
        let name = format!("pages of {value_len} bytes, zipf 0.99");
        let verbs = vec![(Verb::Set, 48), (Verb::Get, 48), (Verb::Delete, 4)];
        Self { sizes: Sizes::Around(value_len), verbs, ..Self::overwrites(name, keys, value_len, 0.99) }
    }

    /// Gives the keys of all kinds.
    #[must_use]
    pub const fn keys_all(&self) -> u64 {
        self.keys + self.fresh_keys
    }

    fn put_of(&self, rng: &mut Rng) -> (u32, Option<u32>) {
        (self.sizes.draw(rng), rng.pick(&self.ttls).copied().flatten())
    }
}

/// Shapes side by side, so many requests of them.
#[derive(Debug, Clone)]
pub struct Workload {
    shapes: Vec<(Shape, u32)>,
    laws: Vec<Zipf>,
    seed: u64,
    requests: u64,
}

impl Workload {
    /// Mixes shapes by weight; at most 255 of them, the others are left out.
    #[must_use]
    pub fn new(mut shapes: Vec<(Shape, u32)>, seed: u64, requests: u64) -> Self {
        shapes.truncate(255);
        let laws = shapes.iter().map(|(shape, _)| Zipf::new(shape.keys, shape.alpha)).collect();
        Self { shapes, laws, seed, requests }
    }

    /// Gives the shapes with their weights.
    #[must_use]
    pub fn shapes(&self) -> &[(Shape, u32)] {
        &self.shapes
    }

    /// Gives the number of requests, those that store every key first among them.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.preloads() + self.requests
    }

    /// Says whether there is no request at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives the requests that store every key of the preloaded shapes.
    #[must_use]
    pub fn preloads(&self) -> u64 {
        self.shapes.iter().filter(|(shape, _)| shape.is_preloaded).map(|(shape, _)| shape.keys).sum()
    }

    /// Makes all requests in turn.
    pub fn requests(&self) -> impl Iterator<Item = Request> + '_ {
        let preloads = self.shapes.iter().zip(0..).filter(|((shape, _), _)| shape.is_preloaded);
        let preloads = preloads.flat_map(move |((shape, _), at)| {
            (0..shape.keys).map(move |index| {
                let mut rng = Rng::new(self.seed, mix(key_of(at, index)));
                let (len, ttl_s) = shape.put_of(&mut rng);
                Request { key: key_of(at, index), key_len: shape.key_len, op: Op::Put { len, ttl_s } }
            })
        });
        preloads.chain((0..self.requests).filter_map(|number| self.request(number)))
    }

    fn request(&self, number: u64) -> Option<Request> {
        let mut rng = Rng::new(self.seed, number);
        let at = rng.pick_at(&self.shapes)?;
        let ((shape, _), law) = self.shapes.get(at).zip(self.laws.get(at))?;
        let is_fresh = rng.below(1000) < u64::from(shape.fresh_permille);
        let index = if is_fresh {
            let turn = number * u64::from(shape.fresh_permille) / 1000;
            shape.keys + turn % shape.fresh_keys.max(1)
        } else {
            scattered(law.draw(&mut rng), shape.keys)
        };
        let (len, ttl_s) = shape.put_of(&mut rng);
        let op = match rng.pick(&shape.verbs)? {
            Verb::Get => Op::Get,
            Verb::Set => Op::Put { len, ttl_s },
            Verb::Add => Op::Add { len, ttl_s },
            Verb::Delete => Op::Remove,
        };
        Some(Request { key: key_of(at as u64, index), key_len: shape.key_len, op })
    }
}

const fn key_of(shape: u64, index: u64) -> u64 {
    (shape << 56) | index
}

/// Spreads ranks over the keys, so that popular keys were not all stored one after the other.
fn scattered(rank: u64, keys: u64) -> u64 {
    // A prime above any count of keys used here, so the map is one to one.
    const PRIME: u128 = 4_294_967_291;
    let index = (u128::from(rank) * PRIME + 12_345) % u128::from(keys.max(1));
    u64::try_from(index).unwrap_or(rank)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::published::{BUILT_IN, clusters};

    fn cluster(number: u32) -> Cluster {
        clusters(BUILT_IN).unwrap().into_iter().find(|cluster| cluster.number == number).unwrap()
    }

    #[test]
    fn overwrites_start_with_every_key_once() {
        let shape = Shape::overwrites("zipf".into(), 100, 1024, 0.99);
        let workload = Workload::new(vec![(shape, 1)], 5, 400);
        let requests: Vec<Request> = workload.requests().collect();
        assert_eq!(requests.len() as u64, workload.len());
        let keys: HashSet<u64> = requests.iter().take(100).map(|request| request.key).collect();
        assert_eq!(keys.len(), 100);
        assert!(requests.iter().all(|r| keys.contains(&r.key)));
        assert!(requests.iter().take(100).all(|r| r.op == Op::Put { len: 1024, ttl_s: None }));
        assert_eq!(requests, workload.requests().collect::<Vec<_>>());
    }

    #[test]
    fn cluster_scaled_keeps_the_proportions_of_its_times() {
        let shape = Shape::of_cluster(&cluster(52), 1 << 24, 4);
        assert_eq!(shape.ttls, [(Some(4), 65), (Some(56), 27), (Some(2), 7)]);
        assert_eq!(shape.name, "cluster 52, time runs 1:21600");
        let shape = Shape::of_cluster(&cluster(4), 1 << 24, 4);
        assert_eq!(shape.ttls.iter().filter_map(|(ttl, _)| *ttl).min(), Some(4));
    }

    #[test]
    fn cluster_drawn_has_the_published_mix() {
        let shape = Shape::of_cluster(&cluster(12), 1 << 24, 4);
        let mean = f64::from(shape.sizes.mean());
        let keys_all = shape.keys_all();
        let workload = Workload::new(vec![(shape, 1)], 5, 50_000);
        let (mut puts, mut bytes, mut keys) = (0.0, 0.0, HashSet::new());
        for request in workload.requests() {
            keys.insert(request.key);
            if let Op::Put { len, ttl_s } = request.op {
                assert!(ttl_s.is_some());
                puts += 1.0;
                bytes += f64::from(len);
            }
        }
        assert!((0.79..0.81).contains(&(puts / 50_000.0)));
        assert!((0.97..1.03).contains(&(bytes / puts / mean)), "{}", bytes / puts);
        assert!(keys.len() as u64 <= keys_all);
    }

    #[test]
    fn shapes_mixed_keep_keys_apart_and_come_by_weight() {
        let shapes = vec![(Shape::pages(50, 4096), 1), (Shape::of_cluster(&cluster(29), 1 << 20, 4), 3)];
        let workload = Workload::new(shapes, 9, 8000);
        let pages = workload.requests().skip(50).filter(|request| request.key >> 56 == 0).count();
        assert!((1800..2200).contains(&pages), "{pages}");
    }

    #[test]
    fn ranks_scattered_reach_every_key_once() {
        let indices: HashSet<u64> = (0..1000).map(|rank| scattered(rank, 1000)).collect();
        assert_eq!(indices.len(), 1000);
        assert!(indices.iter().all(|index| *index < 1000));
    }
}
