//! The layout of the medium and the store on it, which is fixed for a machine's life once the mount has read the headers.

use crate::config::TierConfig;
use crate::format::{Geometry, Seed, Store};

/// The configuration, and the facts that a mount adds to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    config: TierConfig,
    store: Store,
    /// The start of record checksums: a secret of the store.
    seed: Seed,
    /// The longest record that there can be.
    longest_bytes: u32,
    /// The number of segments that headers state.
    stated_segments: u32,
}

impl Layout {
    /// The layout as configured, before a mount has read anything.
    pub(super) fn new(config: TierConfig) -> Self {
        Self {
            config,
            store: config.store,
            seed: config.store.seed(&config.geometry),
            longest_bytes: config.record_bytes_max,
            stated_segments: config.geometry.segment_count(),
        }
    }

    pub(crate) const fn config(&self) -> &TierConfig {
        &self.config
    }

    pub(crate) const fn geometry(&self) -> &Geometry {
        &self.config.geometry
    }

    /// The store on the medium.
    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// The start of record checksums.
    pub(crate) const fn seed(&self) -> Seed {
        self.seed
    }

    /// The longest record that there can be, in bytes: during a mount by what the headers say, then by the configuration.
    pub(crate) const fn longest_bytes(&self) -> u32 {
        self.longest_bytes
    }

    /// The number of segments that headers state. While the new segments of a grown medium are being erased, it is the old
    /// number.
    pub(crate) const fn stated_segments(&self) -> u32 {
        self.stated_segments
    }

    /// The mount has read the headers: their store, and the longest record that they allow, 0 where there is no header.
    pub(crate) fn found(&mut self, store: Option<Store>, longest_bytes: u32) {
        self.store = store.unwrap_or(self.store);
        self.seed = self.store.seed(&self.config.geometry);
        if longest_bytes > 0 {
            self.longest_bytes = longest_bytes;
        }
    }

    /// The mount has read all records: from now on they are as long as configured.
    pub(crate) const fn end_mount(&mut self) {
        self.longest_bytes = self.config.record_bytes_max;
    }

    /// Headers state so many segments from now on.
    pub(crate) const fn state_segments(&mut self, segments: u32) {
        self.stated_segments = segments;
    }
}
