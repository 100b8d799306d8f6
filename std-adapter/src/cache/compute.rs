//! Values that are computed where they are missing: one caller computes, the others wait.

use std::time::Instant;

use crossbeam_channel::{RecvTimeoutError, Sender};

use super::error::ComputeError;
use super::flights::{Computed, FlightPart};
use super::handle::UnifiedCacheHandle;
use super::options::CachePutOptions;
use super::tiers::{CacheKey, CacheValue};

/// The computation of a key. A drop ends it, also by a panic, and wakes those who wait.
struct Flight<'a, K: CacheKey, V: CacheValue> {
    handle: UnifiedCacheHandle<K, V>,
    /// Taken by the end: the next computation of the key is another caller's.
    key: Option<&'a K>,
}

impl<K: CacheKey, V: CacheValue> Flight<'_, K, V> {
    fn end(&mut self) -> Vec<Sender<Computed<V>>> {
        let Some(key) = self.key.take() else { return Vec::new() };
        // A cache that was closed has dropped the channels.
        self.handle.enter(|tiers| Ok(tiers.flights.end(key))).unwrap_or_default()
    }
}

impl<K: CacheKey, V: CacheValue> Drop for Flight<'_, K, V> {
    fn drop(&mut self) {
        drop(self.end());
    }
}

impl<K: CacheKey, V: CacheValue> UnifiedCacheHandle<K, V> {
    /// Returns the value of a key, or computes and puts it where there is none. Of several callers one computes; the others wait for it.
    ///
    /// As [`try_get_or_insert_with`](Self::try_get_or_insert_with), with a closure that can't fail.
    ///
    /// # Errors
    /// [`ComputeError::Cache`]; [`ComputeError::Panicked`] where the closure of the caller that computed panicked.
    pub fn get_or_insert_with(
        &self,
        key: &K,
        compute: impl FnOnce() -> V,
    ) -> Result<V, ComputeError<core::convert::Infallible>> {
        self.try_get_or_insert_with(key, || Ok(compute()))
    }

    /// Returns the value of a key, or computes and puts it where there is none. Of several callers one computes; the others wait for it,
    /// and get its value or its error.
    ///
    /// Where another client puts the key meanwhile, that value stays and is returned. A value that can't be put is returned all the same:
    /// the next caller computes again, and [`CacheStats::refused`](super::CacheStats::refused) counts it. The closure runs without any
    /// lock. It may use the cache, but not ask for the same key by this call: that is refused as [`ComputeError::Recursive`].
    ///
    /// ```
    /// use coldpress_std::cache::{UnifiedCacheConfig, UnifiedCacheManager};
    /// use coldpress_std::ColdTierConfig;
    ///
    /// # let base_dir = tempfile::tempdir()?;
    /// let cold = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(16 << 20).build()?;
    /// let cache = UnifiedCacheManager::<u32, String>::new(UnifiedCacheConfig::builder(cold).build()?)?;
    /// let load = |key: u32| if key == 0 { Err("no page") } else { Ok(format!("page {key}")) };
    /// assert_eq!(cache.try_get_or_insert_with(&7, || load(7)), Ok("page 7".to_owned()));
    /// assert!(cache.try_get_or_insert_with(&0, || load(0)).is_err());
    /// assert_eq!(cache.get(&7)?.as_deref(), Some("page 7"));
    /// # cache.close()?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ComputeError`]. [`ComputeError::TimedOut`] where another caller computes for longer than the configured `compute_timeout`;
    /// [`ComputeError::Recursive`] where the closure of this thread asks for its own key.
    pub fn try_get_or_insert_with<E: Clone + Send + 'static>(
        &self,
        key: &K,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, ComputeError<E>> {
        self.try_get_or_insert_with_options(key, CachePutOptions::default(), compute)
    }

    /// As [`try_get_or_insert_with`](Self::try_get_or_insert_with), with options for the put.
    ///
    /// # Errors
    /// As [`try_get_or_insert_with`](Self::try_get_or_insert_with).
    pub fn try_get_or_insert_with_options<E: Clone + Send + 'static>(
        &self,
        key: &K,
        options: CachePutOptions,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, ComputeError<E>> {
        let deadline = Instant::now() + self.enter(|tiers| Ok(tiers.terms.compute_timeout))?;
        loop {
            if let Some(value) = self.get(key)? {
                return Ok(value);
            }
            let receiver = match self.enter(|tiers| Ok(tiers.flights.join(key)))? {
                FlightPart::Computes => return self.compute(key, options, compute),
                FlightPart::Waits(receiver) => receiver,
                FlightPart::Recursive => return Err(ComputeError::Recursive),
            };
            match receiver.recv_deadline(deadline) {
                Ok(Computed::Value(value)) => return Ok(value),
                Ok(Computed::Failed(error)) => {
                    if let Ok(error) = error.downcast::<E>() {
                        return Err(ComputeError::Failed(*error));
                    }
                    // The other caller's closure has another type of error, so this one computes.
                }
                Err(RecvTimeoutError::Disconnected) => {
                    // A closed cache dropped the channels, too.
                    self.enter(|_| Ok(()))?;
                    return Err(ComputeError::Panicked);
                }
                Err(RecvTimeoutError::Timeout) => return Err(ComputeError::TimedOut),
            }
        }
    }

    fn compute<E: Clone + Send + 'static>(
        &self,
        key: &K,
        options: CachePutOptions,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, ComputeError<E>> {
        let mut flight = Flight { handle: *self, key: Some(key) };
        // Another one may have ended between the get and the join. The get counted this read.
        let found = self.enter(|tiers| tiers.look(key))?;
        let outcome = match found {
            Some(value) => Ok(value),
            None => compute().map(|value| self.keep_computed(key, value, options)),
        };
        for waiter in flight.end() {
            let computed = match &outcome {
                Ok(value) => Computed::Value(value.clone()),
                Err(error) => Computed::Failed(Box::new(error.clone())),
            };
            // One that gave up is gone.
            let _ = waiter.try_send(computed);
        }
        outcome.map_err(ComputeError::Failed)
    }

    /// Puts a computed value, unless the key got another one; returns the one that is there.
    fn keep_computed(&self, key: &K, value: V, options: CachePutOptions) -> V {
        // Only to count it.
        let _ = self.enter(|tiers| {
            tiers.counts.computed.add(1);
            Ok(())
        });
        match self.put_if_absent(key, &value, options) {
            Ok(false) => self.enter(|tiers| tiers.look(key)).ok().flatten().unwrap_or(value),
            Ok(true) | Err(_) => value,
        }
    }
}
