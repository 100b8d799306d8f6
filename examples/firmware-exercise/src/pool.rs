//! A pool in static memory that a timer interrupt defragments while the main loop goes on.
//!
//! ```text
//!  main loop: fill ─► ask ─► ended? … ended? ─► check       interrupt: step, step, step …
//!                      └──────────────► MAILBOX ◄──────────────────────────┘
//! ```

use coldpress_core::cleanup::{CleanupKind, REPLY_TIMEOUT_MS_DEFAULT, Reclaimed, Ticket};
use coldpress_core::pool::{ArrayTables, Handle, Limits, Pool, SizeClasses, Terms};
use coldpress_embedded::{CleanupWorker, Mailbox, Outcome, Progress, StaticPages, TicketError, TryCell};

/// Bytes of a page.
const PAGE_BYTES: usize = 128;
const PAGES: usize = 8;
/// Of 32 bytes, so that all pages are full.
const OBJECTS: usize = 32;
const SLOT_BYTES: u32 = 32;
/// One object of so many is left.
const KEPT_EVERY: usize = 4;
/// Bytes that one step in the interrupt may copy.
const STEP_BYTES: u32 = 64;

type Region = StaticPages<PAGE_BYTES, PAGES>;
type Tables = ArrayTables<u8, OBJECTS, PAGES, OBJECTS, 1>;
type StaticPool = Pool<&'static mut Region, &'static mut Tables>;

static REGION: TryCell<Region> = TryCell::new(Region::new());
static TABLES: TryCell<Tables> = TryCell::new(Tables::new());
static POOL: TryCell<Option<StaticPool>> = TryCell::new(None);
static MAILBOX: Mailbox<2> = Mailbox::new();
static WORKER: TryCell<CleanupWorker> = TryCell::new(CleanupWorker::new());

/// Bytes of RAM that the statics of this module take.
pub const RAM_BYTES: usize = size_of::<TryCell<Region>>()
    + size_of::<TryCell<Tables>>()
    + size_of::<TryCell<Option<StaticPool>>>()
    + size_of::<Mailbox<2>>()
    + size_of::<TryCell<CleanupWorker>>();

/// Tells what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PoolFault {
    /// A cell that only one context uses was held, or the pool was not filled.
    Held,
    /// The pool refused to be made, or to take or free an object.
    Refused,
    /// The mailbox took no request, or lost it.
    Mailbox,
    /// The request was answered by an error.
    Failed,
    /// An object does not hold what was written to it.
    Changed {
        /// Which one.
        object: u8,
    },
    /// The pool's books contradict each other.
    Books,
}

/// The objects that were left in the pool, and the byte that each must hold.
pub(crate) struct Kept([Option<(Handle, u8)>; OBJECTS / KEPT_EVERY]);

/// One bounded step of the requested work, to be called from the timer interrupt. It copies at most 64 bytes and waits for
/// nothing: where the main loop holds the pool, the step is skipped and counted.
pub fn step(now_s: u32) -> Progress {
    let stepped = POOL.try_with(|pool| {
        let pool = pool.as_mut()?;
        let step = |worker: &mut CleanupWorker| {
            worker.poll_pool(&MAILBOX, pool, now_s, STEP_BYTES, |_| {}).unwrap_or(Progress::Idle)
        };
        WORKER.try_with(step).ok()
    });
    stepped.ok().flatten().unwrap_or(Progress::Idle)
}

/// Fills every page, then frees all but one object of four in each.
pub(crate) fn fill() -> Result<Kept, PoolFault> {
    let classes = [SLOT_BYTES];
    let classes = SizeClasses::new(&classes).map_err(|_| PoolFault::Refused)?;
    let limits = Limits { spare_pages_max: 0, ..Limits::default() };
    let region = REGION.take().map_err(|_| PoolFault::Held)?;
    let tables = TABLES.take().map_err(|_| PoolFault::Held)?;
    let mut pool = Pool::new(region, tables, classes, limits).map_err(|_| PoolFault::Refused)?;

    let mut objects = [None; OBJECTS];
    for (mark, place) in (0..).zip(&mut objects) {
        let handle = pool.allocate(SLOT_BYTES, Terms::default(), mark).map_err(|_| PoolFault::Refused)?;
        pool.bytes_mut(handle).map_err(|_| PoolFault::Refused)?.fill(mark);
        *place = Some((handle, mark));
    }
    let mut kept = [None; OBJECTS / KEPT_EVERY];
    for (at, (handle, mark)) in objects.into_iter().flatten().enumerate() {
        if at.is_multiple_of(KEPT_EVERY) {
            kept[at / KEPT_EVERY] = Some((handle, mark));
        } else {
            pool.free(handle).map_err(|_| PoolFault::Refused)?;
        }
    }
    POOL.try_with(|place| *place = Some(pool)).map_err(|_| PoolFault::Held)?;
    Ok(Kept(kept))
}

/// Asks the pool for a cleanup; `None` when the mailbox takes no more.
pub(crate) fn request(kind: CleanupKind, now_ms: u64) -> Option<Ticket> {
    MAILBOX.request(kind, now_ms, REPLY_TIMEOUT_MS_DEFAULT).ok()
}

/// Returns the outcome of a request, once it has ended.
pub(crate) fn outcome(ticket: Ticket, now_ms: u64) -> Option<Outcome> {
    MAILBOX.poll(ticket, now_ms).ok().flatten()
}

/// The result of the defragmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolReport {
    /// Pages given back, and their bytes.
    pub reclaimed: Reclaimed,
    /// Steps that found the pool held and were skipped.
    pub contended: u32,
    /// Milliseconds from asking to the outcome.
    pub took_ms: u32,
}

#[cfg(feature = "defmt")]
impl defmt::Format for PoolReport {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(
            f,
            "pool_pages={=u32} pool_bytes={=u64} pool_contended={=u32} pool_ms={=u32} pool_ram_bytes={=usize}",
            self.reclaimed.pages,
            self.reclaimed.bytes,
            self.contended,
            self.took_ms,
            RAM_BYTES,
        );
    }
}

/// Fills the pool, has it defragmented by the calls of [`step`] meanwhile, and checks every object that was left.
///
/// `now_ms` reads a clock; `wait` returns a little later, after at least one call of [`step`]. The first time it is called
/// while the pool is held, as by a main loop that works with an object: that step must be skipped and counted.
///
/// # Errors
/// [`PoolFault`]. Works once: the region has one owner for good.
pub fn run(now_ms: impl Fn() -> u32, wait: impl Fn()) -> Result<PoolReport, PoolFault> {
    let kept = fill()?;
    let began_ms = now_ms();
    let ticket = MAILBOX.trigger_defragmentation(u64::from(began_ms)).map_err(|_| PoolFault::Mailbox)?;
    POOL.try_with(|_| wait()).map_err(|_| PoolFault::Held)?;
    let reclaimed = loop {
        wait();
        match MAILBOX.poll(ticket, u64::from(now_ms())) {
            Ok(None) | Err(TicketError::Contended) => {}
            Ok(Some(Ok(reclaimed))) => break reclaimed,
            Ok(Some(Err(_))) => return Err(PoolFault::Failed),
            Err(_) => return Err(PoolFault::Mailbox),
        }
    };
    check(&kept)?;
    Ok(PoolReport { reclaimed, contended: POOL.contended(), took_ms: now_ms().wrapping_sub(began_ms) })
}

/// Checks every object that was left (I-POOL-1) and the pool's books.
pub(crate) fn check(kept: &Kept) -> Result<(), PoolFault> {
    let checked = POOL.try_with(|pool| {
        let pool = pool.as_ref().ok_or(PoolFault::Held)?;
        for &(handle, mark) in kept.0.iter().flatten() {
            let same = pool.bytes(handle).is_ok_and(|bytes| bytes.iter().all(|byte| *byte == mark));
            if !same {
                return Err(PoolFault::Changed { object: mark });
            }
        }
        pool.audit().map_err(|_| PoolFault::Books)
    });
    checked.unwrap_or(Err(PoolFault::Held))
}
