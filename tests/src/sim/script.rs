//! Small worlds and histories for them.

use coldpress_core::compaction::CompactionTask;
use coldpress_core::config::{Streams, TierConfig};
use coldpress_core::format::{Geometry, GeometryError, Identity, Store};
use coldpress_core::writer::AppendError;

use super::arena::{Arena, Sizes};
use super::oracle::Key;
use super::world::{Lasting, World};

/// One step of a client or an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Do {
    /// Puts a value of this many bytes.
    Put(Key, u32),
    /// Puts one that expires after so many seconds.
    PutFor(Key, u32, u32),
    /// Removes.
    Remove(Key),
    /// Asks for everything to be written.
    Flush,
    /// Makes everything durable, and waits for it.
    Sync,
    /// Asks for everything to be made durable, and goes on.
    AskSync,
    /// Runs a task to its end.
    Run(CompactionTask),
    /// Queues a task.
    Queue(CompactionTask),
    /// Cancels the running task.
    Cancel,
    /// Asks for so many bytes to be evicted.
    Evict(u64),
    /// Lets so many milliseconds pass.
    Tick(u64),
    /// Waits until the machine has nothing to do.
    Settle,
}

impl Do {
    /// The key that it writes.
    #[must_use]
    pub const fn key(&self) -> Option<Key> {
        match self {
            Self::Put(key, _) | Self::PutFor(key, ..) | Self::Remove(key) => Some(*key),
            _ => None,
        }
    }
}

/// The parameters of a small world.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// The machine's configuration.
    pub config: TierConfig,
    /// The memory that it is lent.
    pub sizes: Sizes,
    /// Segments for which the disk has no blocks.
    pub missing: u32,
}

impl Setup {
    /// Segments of `segment_bytes` on a medium with this write unit.
    ///
    /// # Errors
    /// Where the geometry is none.
    pub fn new(
        segment_bytes: u32,
        segments: u32,
        write_unit: u32,
        erase_value: u8,
    ) -> Result<Self, GeometryError> {
        let geometry = Geometry::new(segment_bytes, segments, write_unit, erase_value, Identity::KeyedHash)?;
        let store = Store { id: 0xC01D, hash_key: *b"a key of 16 byte", partition: 0, partitions: 1 };
        let mut config = TierConfig::new(geometry, store);
        config.streams = Streams::Two;
        config.low_watermark_segments = 1;
        config.high_watermark_segments = 2;
        config.stale_permille_min = 1;
        Ok(Self { config, sizes: Sizes::default(), missing: 0 })
    }

    /// A small file: the write unit is a byte, blank is zero.
    ///
    /// # Panics
    /// Never: the shape is within the limits.
    #[must_use]
    pub fn file() -> Self {
        Self::new(512, 14, 1, 0x00).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A small flash: units of four bytes, blank is all ones.
    ///
    /// # Panics
    /// Never: the shape is within the limits.
    #[must_use]
    pub fn flash() -> Self {
        Self::new(512, 14, 4, 0xFF).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The small flash of a device: keys as they are, one stream, no footers.
    ///
    /// # Panics
    /// Never: the shape is within the limits.
    #[must_use]
    pub fn device() -> Self {
        let mut setup = Self::flash();
        let geometry = Geometry::new(512, 14, 4, 0xFF, Identity::KeyBytes);
        setup.config = TierConfig {
            geometry: geometry.unwrap_or_else(|error| panic!("{error}")),
            streams: Streams::One,
            has_footers: false,
            record_bytes_max: 96,
            high_watermark_segments: 1,
            ..setup.config
        };
        // As a device lends it: without footers one slot will do.
        setup.sizes = Sizes { footer: 0, placed: 2, spare_slots: 0, ..setup.sizes };
        setup
    }

    /// The memory for it.
    #[must_use]
    pub fn arena(&self) -> Arena {
        Arena::new(&self.config, self.sizes)
    }

    /// A medium that was never written.
    #[must_use]
    pub fn blank(&self) -> Lasting {
        let mut lasting = Lasting::blank(&self.config);
        lasting.medium.missing = self.missing;
        lasting
    }

    /// Mounts a lasting state.
    ///
    /// # Panics
    /// Where the mount fails.
    #[must_use]
    pub fn mount<'m>(&self, arena: &'m mut Arena, lasting: Lasting) -> World<'m> {
        match World::mounted(self.config, arena.lend(), lasting) {
            Ok(world) => world,
            Err(error) => panic!("I-LOG-2: the mount failed: {error}"),
        }
    }

    /// Runs a history on a medium that was never written; returns every moment at which a cut finds something new.
    #[must_use]
    pub fn moments(&self, script: &[Do]) -> Vec<Lasting> {
        let mut arena = self.arena();
        let mut world = World::new(self.config, arena.lend(), self.blank());
        world.moments = Some(Vec::new());
        if let Err(error) = world.mount() {
            panic!("a blank medium is refused: {error}");
        }
        world.follow(script);
        world.settle();
        world.check();
        let mut moments = world.moments.take().unwrap_or_default();
        moments.push(world.end());
        moments
    }
}

impl World<'_> {
    /// Carries out the steps of a history; each must succeed.
    ///
    /// # Panics
    /// Where a write is refused.
    pub fn follow(&mut self, script: &[Do]) {
        for (at, what) in script.iter().enumerate() {
            if let Err(error) = self.act(*what) {
                panic!("step {at}, {what:?}: {error}\n{}", self.sketch());
            }
        }
    }

    /// Carries out one step.
    ///
    /// # Errors
    /// The error of a refused write.
    pub fn act(&mut self, what: Do) -> Result<(), AppendError> {
        match what {
            Do::Put(key, len) => self.put(key, len, None).map(drop),
            Do::PutFor(key, len, ttl_s) => self.put(key, len, Some(ttl_s)).map(drop),
            Do::Remove(key) => self.remove(key).map(drop),
            Do::Flush => {
                self.tier.flush();
                Ok(())
            }
            Do::Sync => {
                self.sync();
                Ok(())
            }
            Do::AskSync => {
                self.tier.sync();
                Ok(())
            }
            Do::Run(task) => {
                self.run(task);
                Ok(())
            }
            Do::Queue(task) => {
                // A full queue gives the task back; nothing else happens.
                self.schedule(task);
                Ok(())
            }
            Do::Cancel => {
                self.cancel();
                Ok(())
            }
            Do::Evict(bytes) => {
                self.host.evicts = true;
                self.tier.evict(bytes);
                Ok(())
            }
            Do::Tick(ms) => {
                self.tick(ms);
                Ok(())
            }
            Do::Settle => {
                self.settle();
                Ok(())
            }
        }
    }
}
