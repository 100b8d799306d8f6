//! The part of the pools that several threads reach, and how it outlives none of them.
//!
//! A shell is leaked once and used again: `open` takes one from a process-wide free list or makes one, `close` empties it
//! and puts it back. What is in it lies behind locks and bears the generation of its opening, so a handle kept beyond the
//! close is refused, and no count of handles is needed.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_channel::Sender;
use parking_lot::{Mutex, MutexGuard};

use super::config::{PARTITIONS_MAX, PoolConfig};
use super::error::PoolError;
use super::partition::Partition;

static FREE_SHELLS: Mutex<Vec<&'static Shell>> = Mutex::new(Vec::new());
/// Generations are issued once per process, so that they differ between shells too.
static GENERATIONS: AtomicU64 = AtomicU64::new(1);

/// A partition's lock on cache lines of its own: neighbours must not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Place(Mutex<Option<Box<Partition>>>);

#[derive(Debug)]
pub(super) struct Shell {
    places: [Place; PARTITIONS_MAX as usize],
    /// Wakes the worker; empty when there is none.
    wake: Mutex<Option<Sender<()>>>,
    tiers: AtomicU32,
    tickets: AtomicU32,
    /// The newest generation whose worker has ended, or is about to.
    ended: AtomicU64,
}

impl Shell {
    const fn new() -> Self {
        Self {
            places: [const { Place(Mutex::new(None)) }; PARTITIONS_MAX as usize],
            wake: Mutex::new(None),
            tiers: AtomicU32::new(0),
            tickets: AtomicU32::new(0),
            ended: AtomicU64::new(0),
        }
    }
}

/// Names one opening of a shell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    shell: &'static Shell,
    generation: u64,
    partitions: u16,
    pub(super) value_bytes_max: u32,
    pub(super) page_bytes: u32,
}

/// A locked partition, known to belong to the opening that asked for it.
pub(super) type Locked = parking_lot::MappedMutexGuard<'static, Partition>;

impl Opened {
    /// Takes a shell and fills it.
    pub(super) fn open(
        config: &PoolConfig,
        wake: Sender<()>,
    ) -> Result<Self, coldpress_core::pool::LimitsError> {
        let free = FREE_SHELLS.lock().pop();
        let shell = free.unwrap_or_else(|| Box::leak(Box::new(Shell::new())));
        // Issued once the shell is ours, so that it is newer than all that ended in it.
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        let partitions = (0..config.partitions)
            .map(|_| Partition::new(config, generation).map(Box::new))
            .collect::<Result<Vec<_>, _>>()
            .inspect_err(|_| FREE_SHELLS.lock().push(shell))?;
        for (place, partition) in shell.places.iter().zip(partitions) {
            *place.0.lock() = Some(partition);
        }
        *shell.wake.lock() = Some(wake);
        Ok(Self {
            shell,
            generation,
            partitions: config.partitions,
            value_bytes_max: config.value_bytes_max,
            page_bytes: config.page_bytes,
        })
    }

    /// Empties the shell, which returns all pages, and puts it back. Called once, by the manager.
    pub(super) fn close(self) {
        *self.shell.wake.lock() = None;
        for place in &self.shell.places {
            // Dropped outside the lock: unmapping takes a while.
            let partition = place.0.lock().take();
            drop(partition);
        }
        FREE_SHELLS.lock().push(self.shell);
    }

    /// Tells that the worker takes no more requests.
    pub(super) fn end(&self) {
        self.shell.ended.fetch_max(self.generation, Ordering::SeqCst);
    }

    /// Whether the worker takes no more requests.
    pub(super) fn has_ended(&self) -> bool {
        self.shell.ended.load(Ordering::SeqCst) >= self.generation
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn partitions(&self) -> u16 {
        self.partitions
    }

    /// Locks a partition.
    pub(super) fn lock(&self, partition: u16) -> Result<Locked, PoolError> {
        let place = self.shell.places.get(usize::from(partition)).ok_or(PoolError::Closed)?;
        let of_this_opening = |place: &mut Option<Box<Partition>>| {
            place.as_deref_mut().filter(|partition| partition.generation == self.generation).is_some()
        };
        let mut guard = place.0.lock();
        if !of_this_opening(&mut guard) {
            return Err(PoolError::Closed);
        }
        MutexGuard::try_map(guard, Option::as_deref_mut).map_err(|_| PoolError::Closed)
    }

    /// Tells the worker that a partition needs room; if it was told already, that is enough.
    pub(super) fn wake(&self) {
        if let Some(wake) = self.shell.wake.lock().as_ref() {
            let _ = wake.try_send(());
        }
    }

    pub(super) fn next_tier(&self) -> u32 {
        self.shell.tiers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn next_ticket(&self) -> u32 {
        self.shell.tickets.fetch_add(1, Ordering::Relaxed)
    }
}
