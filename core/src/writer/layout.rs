//! The layout of the medium and the store on it, which is fixed for a machine's life once the mount has read the headers.

use crate::config::{Reserve, TierConfig, several_segments_min};
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
    /// The reserve as configured. The one that the log keeps is in `config`.
    configured: Reserve,
    /// Whether a record was found that is too long for an origin.
    has_too_long: bool,
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
            configured: config.reserve,
            has_too_long: false,
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

    /// The configuration as it was before any mount.
    pub(super) const fn configured(&self) -> TierConfig {
        TierConfig { reserve: self.configured, ..self.config }
    }

    /// A mount found a record without an origin. It may be too long to get one.
    pub(crate) const fn note_plain(&mut self, record_bytes: u32) {
        let growth = self.config.growth_apart().plain;
        self.has_too_long |= record_bytes.saturating_add(growth) > self.config.record_bytes_max;
    }

    /// Chooses the reserve that the log keeps, by the bytes of its live records: as they are, and with an origin for each that
    /// has none. It is the configured one unless only the other one has space for them.
    ///
    /// A store may have been written under the other rule, by an earlier build or with fewer segments.
    pub(super) fn choose_reserve(&mut self, live_bytes: u64, with_origins_bytes: u64) {
        let under = |reserve| TierConfig { reserve, ..self.config };
        let fits_one = !self.has_too_long && with_origins_bytes <= under(Reserve::One).charge_bytes_max();
        let least = several_segments_min(self.config.streams, self.config.low_watermark_segments);
        let fits_several = self.config.geometry.segment_count() >= least
            && live_bytes <= under(Reserve::Several).charge_bytes_max();
        self.config.reserve = match self.configured {
            Reserve::One if !fits_one && fits_several => Reserve::Several,
            Reserve::Several if !fits_several && fits_one => Reserve::One,
            configured => configured,
        };
    }

    /// Headers state so many segments from now on.
    pub(crate) const fn state_segments(&mut self, segments: u32) {
        self.stated_segments = segments;
    }
}
