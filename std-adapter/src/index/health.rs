//! Whether a partition can take writes, as its worker posts it and its clients read it.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use coldpress_core::drive::MediumError;
use coldpress_core::invariant::Invariant;
use parking_lot::Mutex;

use crate::clock::monotonic_ms;
use crate::errors::TierError;
use crate::storage::MediumFailure;

/// The state of a partition. Each is worse than those before it, and hides them. Only `Failing` passes while the tier is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Sound,
    /// The last write or sync failed: writes are refused for a while.
    Failing(MediumError),
    /// The log takes no more records, ever.
    WornOut,
    /// Records of a failed sync can't be read back: writes are refused until the tier is opened again.
    NeedsReopen,
    /// The file is no longer under its name, or not whole: nothing is written any more. Reads go on.
    FileLost,
    /// The log found its own state broken: nothing is written any more. Reads go on.
    Broken(Invariant),
    /// The worker died: nothing goes on.
    Poisoned,
}

const WORN_OUT: u8 = 4;
/// The tag of the first invariant; those of the others follow.
const BROKEN: u8 = 7;
const POISONED: u8 = u8::MAX;

impl Health {
    fn tag(self) -> u8 {
        match self {
            Self::Sound => 0,
            Self::Failing(MediumError::NoSpace) => 1,
            Self::Failing(MediumError::Unreadable) => 2,
            Self::Failing(_) => 3,
            Self::WornOut => WORN_OUT,
            Self::NeedsReopen => 5,
            Self::FileLost => 6,
            Self::Broken(invariant) => {
                let place = (BROKEN..POISONED).zip(Invariant::ALL).find(|(_, known)| *known == invariant);
                place.map_or(BROKEN, |(tag, _)| tag)
            }
            Self::Poisoned => POISONED,
        }
    }

    fn of_tag(tag: u8) -> Self {
        match tag {
            0 => Self::Sound,
            1 => Self::Failing(MediumError::NoSpace),
            2 => Self::Failing(MediumError::Unreadable),
            3 => Self::Failing(MediumError::Io),
            WORN_OUT => Self::WornOut,
            5 => Self::NeedsReopen,
            6 => Self::FileLost,
            tag => {
                let broken = Invariant::ALL.get(usize::from(tag - BROKEN));
                broken.map_or(Self::Poisoned, |invariant| Self::Broken(*invariant))
            }
        }
    }
}

/// The posted state.
#[derive(Debug, Default)]
pub(crate) struct PostedHealth {
    tag: AtomicU8,
    /// Until when a failing medium is left alone, in milliseconds of the monotonic clock.
    until_ms: AtomicU64,
    /// The last failure, with its cause.
    failure: Mutex<Option<MediumFailure>>,
    /// How often a reason to refuse writes began.
    failures: AtomicU32,
}

impl PostedHealth {
    pub(crate) fn get(&self) -> Health {
        Health::of_tag(self.tag.load(Ordering::Acquire))
    }

    /// Posts a state that lasts, unless a worse one is posted.
    pub(crate) fn worsen(&self, health: Health) {
        let before = self.tag.fetch_max(health.tag(), Ordering::AcqRel);
        if before < health.tag() {
            self.failures.fetch_add(1, Ordering::Release);
        }
    }

    /// Posts a failure of the medium, which is left alone until this time.
    pub(crate) fn fail(&self, failure: &MediumFailure, until_ms: u64) {
        *self.failure.lock() = Some(failure.clone());
        self.until_ms.store(until_ms, Ordering::Relaxed);
        self.post_passing(Health::Failing(failure.kind()));
        self.failures.fetch_add(1, Ordering::Release);
    }

    /// Keeps the cause of a failure that refuses no write by itself, as when the medium has no space for another segment.
    pub(crate) fn note(&self, failure: &MediumFailure) {
        *self.failure.lock() = Some(failure.clone());
    }

    /// A failure of this kind, with the cause of the last failure if it was of the same kind.
    pub(crate) fn failure(&self, kind: MediumError) -> MediumFailure {
        self.failure.lock().clone().filter(|failure| failure.kind() == kind).unwrap_or_else(|| kind.into())
    }

    /// Posts that the medium works again.
    pub(crate) fn recover(&self) {
        self.post_passing(Health::Sound);
    }

    fn post_passing(&self, health: Health) {
        let passing = |tag| (tag < WORN_OUT).then_some(health.tag());
        // A state that lasts stays.
        let _ = self.tag.fetch_update(Ordering::AcqRel, Ordering::Acquire, passing);
    }

    /// How often a reason to refuse writes began: waiting clients are notified of each.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Acquire)
    }

    /// Refuses an operation that needs the worker once that has stopped writing.
    pub(crate) fn check_alive(&self) -> Result<(), TierError> {
        match self.get() {
            Health::FileLost => Err(TierError::FileLost),
            Health::Broken(invariant) => Err(TierError::Broken(invariant)),
            Health::Poisoned => Err(TierError::Poisoned),
            _ => Ok(()),
        }
    }

    /// Refuses reads where the worker died.
    pub(crate) fn check_readable(&self) -> Result<(), TierError> {
        if self.get() == Health::Poisoned { Err(TierError::Poisoned) } else { Ok(()) }
    }

    /// Refuses writes while there is a reason. A write after the pause that follows a failure is let through as a trial.
    pub(crate) fn check_writable(&self) -> Result<(), TierError> {
        match self.get() {
            Health::Failing(kind) if monotonic_ms() < self.until_ms.load(Ordering::Relaxed) => {
                Err(TierError::Medium(self.failure(kind)))
            }
            Health::Sound | Health::Failing(_) => Ok(()),
            Health::WornOut => Err(TierError::WornOut),
            Health::NeedsReopen => Err(TierError::NeedsReopen),
            Health::FileLost => Err(TierError::FileLost),
            Health::Broken(invariant) => Err(TierError::Broken(invariant)),
            Health::Poisoned => Err(TierError::Poisoned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states() -> Vec<Health> {
        let broken = Invariant::ALL.map(Health::Broken);
        [&STATES[..7], &broken, &STATES[7..]].concat()
    }

    const STATES: [Health; 8] = [
        Health::Sound,
        Health::Failing(MediumError::NoSpace),
        Health::Failing(MediumError::Unreadable),
        Health::Failing(MediumError::Io),
        Health::WornOut,
        Health::NeedsReopen,
        Health::FileLost,
        Health::Poisoned,
    ];

    #[test]
    fn every_state_keeps_its_number_and_its_place() {
        let tags: Vec<u8> = states().into_iter().map(Health::tag).collect();
        assert!(tags.is_sorted_by(|a, b| a < b));
        assert_eq!(tags.into_iter().map(Health::of_tag).collect::<Vec<_>>(), states());
    }

    #[test]
    fn worse_of_every_two_states_is_kept() {
        let lasting = &states()[4..];
        for (worse, worst) in lasting.iter().enumerate() {
            for other in &lasting[..=worse] {
                let health = PostedHealth::default();
                health.worsen(*worst);
                health.worsen(*other);
                health.fail(&MediumError::Io.into(), u64::MAX);
                health.recover();
                assert_eq!(health.get(), *worst, "after {other:?}");
            }
        }
    }

    #[test]
    fn failed_medium_refuses_until_it_recovers_or_the_pause_is_over() {
        let health = PostedHealth::default();
        assert_eq!(health.check_writable(), Ok(()));
        health.fail(&MediumError::NoSpace.into(), u64::MAX);
        assert_eq!(health.check_writable(), Err(TierError::Medium(MediumError::NoSpace.into())));
        assert_eq!((health.check_alive(), health.check_readable()), (Ok(()), Ok(())));
        health.recover();
        assert_eq!(health.check_writable(), Ok(()));
        health.fail(&MediumError::Io.into(), 0);
        assert_eq!((health.check_writable(), health.get()), (Ok(()), Health::Failing(MediumError::Io)));
    }

    #[test]
    fn each_reason_to_refuse_writes_counts_once() {
        let health = PostedHealth::default();
        health.worsen(Health::WornOut);
        health.worsen(Health::WornOut);
        assert_eq!(health.failures(), 1);
        health.fail(&MediumError::Io.into(), 0);
        health.worsen(Health::NeedsReopen);
        assert_eq!(health.failures(), 3);
    }
}
