//! A cold tier on flash: crash-safe, compacted in bounded steps, with an index of four bytes an entry.
//!
//! [`FlashTier`] drives the same machine as the std adapter ([`coldpress_core::machine`]) over a [`Medium`], or over an
//! [`AsyncNorMedium`]. Its memory is one
//! [`FlashMemory`], lent from a `static`.
//!
//! # The promise
//!
//! A put that returned is there after any power cut; one that did not leaves the old value or the new one. A removed key stays
//! removed. A mount succeeds after any cut, and goes on. This requires of the medium:
//!
//! - A write that returned is on the medium. A write that was cut short changes nothing but its own units.
//! - An erase that was cut short may leave anything in its segment, and changes no other.
//! - Units written once read back as they were, or as damage that the checksum shows.
//!
//! # The bounds
//!
//! No call programs more than a segment or erases more than one. Compaction beyond that is left to [`poll`](FlashTier::poll),
//! whose budget bounds it further, and to [`reserve`](FlashTier::reserve), which frees space ahead of a put. A [`Medium`] that returns
//! [`Started::UnderWay`] makes no call wait. Over a [`NorMedium`] a call lasts as long as its operations; over an [`AsyncNorMedium`] the
//! future waits.
//!
//! # Calls that are put off
//!
//! Over a [`Medium`] whose operations are done when they return, such as [`NorMedium`], calls are put off only for compaction
//! and after failures. Over a medium that reports the end later, a call ends while its operation is under way, and is made
//! again after that:
//!
//! | call | answer meanwhile | made again |
//! |---|---|---|
//! | [`put`](FlashTier::put), [`put_with_ttl`](FlashTier::put_with_ttl), [`remove`](FlashTier::remove), [`put_piece`](FlashTier::put_piece), [`commit`](FlashTier::commit), [`commit_batch`](FlashTier::commit_batch) | [`PutError::Busy`] | with the same arguments: it goes on, writes its records once, and is answered |
//! | [`sync`](FlashTier::sync), [`begin`](FlashTier::begin), [`reserve`](FlashTier::reserve), [`sweep`](FlashTier::sweep) | [`PutError::Busy`] | it goes on |
//! | [`mount`](FlashTier::mount) | [`FlashMountError::Busy`] | it goes on; [`poll`](FlashTier::poll) does the same |
//! | [`get`](FlashTier::get), [`contains`](FlashTier::contains), [`next_key`](FlashTier::next_key), [`get_in_pieces`](FlashTier::get_in_pieces) | [`GetError::Busy`] | nothing was read before |
//! | [`poll`](FlashTier::poll) | [`Work::is_waiting`] | it goes on |
//! | all others | never: they ask nothing of the medium | |
//!
//! Any of these calls takes the end of the operation, so an interrupt may poll between. One answer is kept. A caller that got
//! `Busy` makes the call again before others write. Else its record may be written without an answer. Under an async executor an
//! [async flash](#an-async-flash) needs none of this.
//!
//! # A super-loop
//!
//! The loop owns the tier. Between other work it polls, with a budget that fits; before a put that must not be late it
//! reserves.
//!
//! ```
//! # mod ram { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ram/mod.rs")); }
//! use coldpress_embedded::TryCell;
//! use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, Now, Reserved, buckets_for};
//!
//! /// 16 segments, 100 keys, records of up to 128 bytes.
//! type Memory = FlashMemory<16, { buckets_for(100) }, 128>;
//! static MEMORY: TryCell<Memory> = TryCell::new(Memory::new());
//!
//! # let flash = ram::Ram::<4, 4096>::new(16);
//! # let clock = |ms: u64| Now { monotonic_ms: ms, wall_s: (ms / 1000) as u32 };
//! let mut tier = FlashTier::new(FlashConfig::new(4096, 1), MEMORY.take()?, NorMedium::new(flash))?;
//! tier.mount(clock(0))?;
//!
//! let mut ms = 1;
//! for reading in 0u32..500 {
//!     // Something else is to be done anyway: space is freed in small steps meanwhile.
//!     while let Reserved::Compacting(work) = tier.reserve(clock(ms), 4, 64, 4)? {
//!         assert!(work.erases <= 1 && work.operations <= 4);
//!         ms += 1;
//!     }
//!     tier.put(clock(ms), &(reading % 50).to_le_bytes(), &[reading as u8; 64])?;
//! }
//! let mut value = [0; 64];
//! assert_eq!(tier.get(clock(ms), &7u32.to_le_bytes(), &mut value)?, Some([201; 64].as_slice()));
//! # assert_eq!(457 % 256, 201);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # A timer interrupt
//!
//! The tier lies in a [`TryCell`](crate::TryCell). The interrupt takes one step of it. Where the main loop holds it, the
//! interrupt takes none: that is counted, and the next tick makes up for it. Any context asks for a task and has its ticket at
//! once. An interrupt that programs or erases lasts as long as the operation. Where it must be short, let it only note that a
//! tick is due, or use a medium of the next kind.
//!
//! ```
//! # mod ram { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ram/mod.rs")); }
//! use coldpress_embedded::flash::{
//!     CompactionTask, FlashConfig, FlashMemory, FlashTier, NorMedium, Now, TaskMailbox, TaskWorker, buckets_for,
//! };
//! use coldpress_embedded::TryCell;
//! # use ram::Ram;
//!
//! type Flash = Ram<4, 4096>;
//! type Memory = FlashMemory<16, { buckets_for(100) }, 128>;
//! static MEMORY: TryCell<Memory> = TryCell::new(Memory::new());
//! static TIER: TryCell<Option<FlashTier<'static, NorMedium<Flash>>>> = TryCell::new(None);
//! static WORKER: TryCell<TaskWorker> = TryCell::new(TaskWorker::new());
//! static TASKS: TaskMailbox<2> = TaskMailbox::new();
//!
//! /// The handler: at most one operation of the flash.
//! fn on_timer(now: Now) {
//!     // Either may be held by the main loop, at this moment: then nothing is done, and counted.
//!     let _ = TIER.try_with(|tier| {
//!         let Some(tier) = tier else { return };
//!         let _ = WORKER.try_with(|worker| worker.poll(&TASKS, tier, now, 1));
//!     });
//! }
//!
//! # let now = Now { monotonic_ms: 1, wall_s: 0 };
//! # let flash = Flash::new(16);
//! // Once, at start.
//! let mut tier = FlashTier::new(FlashConfig::new(4096, 1), MEMORY.take()?, NorMedium::new(flash))?;
//! tier.mount(now)?;
//! // Flash that was never used is erased first, a segment a poll.
//! while !tier.poll(now, 64).is_idle {}
//! for key in 0u32..200 {
//!     tier.put(now, &(key % 5).to_le_bytes(), b"overwritten")?;
//! }
//! TIER.try_with(|place| *place = Some(tier))?;
//!
//! // From any context; the outcome is there some ticks later.
//! let ticket = TASKS.schedule(CompactionTask::CleanupExpired)?;
//! let report = loop {
//!     on_timer(now);
//!     if let Some(report) = TASKS.poll(ticket)? {
//!         break report;
//!     }
//! };
//! assert_eq!(report.task, CompactionTask::CleanupExpired);
//!
//! // The main loop was in the middle of something: the tick is skipped, and seen.
//! TIER.try_with(|_| on_timer(now))?;
//! assert_eq!(TIER.contended(), 1);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # A flash-done interrupt
//!
//! A [`Medium`] that starts an operation and returns [`Started::UnderWay`] never holds up a step. The interrupt at the end of
//! an operation starts the next one: one poll takes the end of the last and begins the next, until there is nothing to do.
//! While an operation is under way, reads and puts return [`Busy`](GetError::Busy). So does a put that begins an operation:
//! made again, it is answered.
//!
//! ```
//! # mod ram { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ram/mod.rs")); }
//! use coldpress_embedded::TryCell;
//! use coldpress_embedded::flash::{
//!     DeviceMedium, FlashConfig, FlashMemory, FlashTier, Medium, MediumError, NorMedium, Now, PutError, Started, Wait, buckets_for,
//! };
//! # use ram::Ram;
//!
//! /// A controller with a register that says when it has ended.
//! struct Controller {
//!     array: NorMedium<Ram<4, 4096>>,
//!     is_busy: bool,
//! }
//!
//! impl Medium for Controller {
//!     type Error = MediumError;
//!     fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
//!         self.array.read(at, bytes)
//!     }
//!     fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
//!         self.is_busy = true;
//!         self.array.write(at, bytes).map(|_| Started::UnderWay)
//!     }
//!     fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
//!         self.is_busy = true;
//!         self.array.erase(at, bytes).map(|_| Started::UnderWay)
//!     }
//!     fn sync(&mut self) -> Result<Started, MediumError> {
//!         Ok(Started::Done)
//!     }
//!     fn is_done(&mut self) -> Option<Result<(), MediumError>> {
//!         // The register; here each look finds that it has just ended.
//!         core::mem::take(&mut self.is_busy).then_some(Ok(()))
//!     }
//! }
//!
//! impl DeviceMedium for Controller {
//!     fn write_unit_bytes(&self) -> u32 {
//!         4
//!     }
//!     fn erase_unit_bytes(&self) -> u32 {
//!         4096
//!     }
//!     fn medium_bytes(&self) -> u64 {
//!         self.array.medium_bytes()
//!     }
//! }
//!
//! type Memory = FlashMemory<16, { buckets_for(100) }, 128>;
//! static MEMORY: TryCell<Memory> = TryCell::new(Memory::new());
//! static TIER: TryCell<Option<FlashTier<'static, Controller>>> = TryCell::new(None);
//!
//! /// The handler: takes the end of the operation and starts the next one. Returns whether there is more to do.
//! fn on_flash_done(now: Now) -> bool {
//!     TIER.try_with(|tier| tier.as_mut().is_some_and(|tier| !tier.poll(now, 8).is_idle)).unwrap_or(true)
//! }
//!
//! # let now = Now { monotonic_ms: 1, wall_s: 0 };
//! let controller = Controller { array: NorMedium::new(Ram::new(16)), is_busy: false };
//! let tier = FlashTier::new(FlashConfig::new(4096, 1), MEMORY.take()?, controller)?;
//! TIER.try_with(|place| *place = Some(tier))?;
//!
//! // The first call begins the mount; the interrupts do the rest.
//! while on_flash_done(now) {}
//! let put = || TIER.try_with(|tier| tier.as_mut().map(|tier| tier.put(now, b"key", b"cold")));
//! while put()? == Some(Err(PutError::Busy(Wait::Operation))) {
//!     // The main loop sleeps until the interrupt of the flash, which may poll.
//! }
//! let mut value = [0; 8];
//! let found = TIER.try_with(|tier| tier.as_mut().map(|tier| tier.get(now, b"key", &mut value).is_ok_and(|v| v.is_some())))?;
//! assert_eq!(found, Some(true));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # An async flash
//!
//! Over an [`AsyncNorMedium`] the same calls are futures, of any flash of `embedded_storage_async`. The task that owns the tier
//! awaits each operation, and other tasks run meanwhile. None of the futures needs a timer or an allocator.
//!
//! A future may be dropped at any await, as a time limit does. Such a drop counts as a power loss of the operation under way: it may have
//! happened, in part or not at all. Nothing acknowledged is lost, and nothing is mounted anew. The next call of the tier, whichever
//! it is, first makes a read or an erase again, on top of its own bound. Of a write it compares the flash with the bytes, and so decides
//! whether a dropped put happened. There are two exceptions: the flash can't be read for that, or it programs a write out of order. The
//! put then counts as one that failed with [`PutError::Medium`]. If its bytes are not all there, the rest of its segment stays unused
//! until that is compacted. The same put, made next, is answered without a second record where it has happened.
//!
//! Under a radio stack, as with Nordic's SoftDevice, several tasks share one flash, each with a range of its own. The flash lies
//! behind an async mutex, and each operation locks it:
//!
//! ```
//! # mod ram { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ram/mod.rs")); }
//! use coldpress_embedded::TryCell;
//! use coldpress_embedded::flash::{AsyncNorMedium, FlashConfig, FlashMemory, FlashTier, Now, PutError, buckets_for};
//! use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
//! use embassy_sync::mutex::Mutex;
//! use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
//!
//! /// The flash as one of the tasks has it.
//! struct SharedFlash<'f, F>(&'f Mutex<CriticalSectionRawMutex, F>);
//!
//! impl<F: NorFlash> ErrorType for SharedFlash<'_, F> {
//!     type Error = F::Error;
//! }
//!
//! impl<F: NorFlash> ReadNorFlash for SharedFlash<'_, F> {
//!     const READ_SIZE: usize = F::READ_SIZE;
//!     async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
//!         self.0.lock().await.read(at, bytes).await
//!     }
//!     fn capacity(&self) -> usize {
//!         16 * 4096
//!     }
//! }
//!
//! impl<F: NorFlash> NorFlash for SharedFlash<'_, F> {
//!     const WRITE_SIZE: usize = F::WRITE_SIZE;
//!     const ERASE_SIZE: usize = F::ERASE_SIZE;
//!     async fn erase(&mut self, from: u32, to: u32) -> Result<(), F::Error> {
//!         self.0.lock().await.erase(from, to).await
//!     }
//!     async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), F::Error> {
//!         self.0.lock().await.write(at, bytes).await
//!     }
//! }
//!
//! /// The task that owns the tier.
//! async fn store<F: NorFlash>(
//!     tier: &mut FlashTier<'_, AsyncNorMedium<SharedFlash<'_, F>>>,
//!     now: fn() -> Now,
//! ) -> Result<(), Box<dyn core::error::Error>> {
//!     tier.mount(now()).await?;
//!     for reading in 0u32..500 {
//!         while let Err(error) = tier.put(now(), &(reading % 50).to_le_bytes(), &[reading as u8; 64]).await {
//!             // As much of the work before it was done as one call may do.
//!             if error != PutError::NeedsCompaction {
//!                 return Err(error.into());
//!             }
//!             tier.poll(now(), 8).await;
//!         }
//!     }
//!     let mut value = [0; 64];
//!     assert_eq!(tier.get(now(), &7u32.to_le_bytes(), &mut value).await?, Some([201; 64].as_slice()));
//!     Ok(())
//! }
//!
//! type Memory = FlashMemory<16, { buckets_for(100) }, 128>;
//! static MEMORY: TryCell<Memory> = TryCell::new(Memory::new());
//!
//! # struct Radio(ram::Ram<4, 4096>);
//! # impl ErrorType for Radio { type Error = ram::Refused; }
//! # impl ReadNorFlash for Radio {
//! #     const READ_SIZE: usize = 1;
//! #     async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), ram::Refused> {
//! #         embedded_storage::nor_flash::ReadNorFlash::read(&mut self.0, at, bytes)
//! #     }
//! #     fn capacity(&self) -> usize { 16 * 4096 }
//! # }
//! # impl NorFlash for Radio {
//! #     const WRITE_SIZE: usize = 4;
//! #     const ERASE_SIZE: usize = 4096;
//! #     async fn erase(&mut self, from: u32, to: u32) -> Result<(), ram::Refused> {
//! #         embedded_storage::nor_flash::NorFlash::erase(&mut self.0, from, to)
//! #     }
//! #     async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), ram::Refused> {
//! #         embedded_storage::nor_flash::NorFlash::write(&mut self.0, at, bytes)
//! #     }
//! # }
//! # fn now() -> Now { Now { monotonic_ms: 1, wall_s: 0 } }
//! # let flash = Radio(ram::Ram::new(16));
//! let flash = Mutex::new(flash);
//! let medium = AsyncNorMedium::new(SharedFlash(&flash)).within(0..16 * 4096)?;
//! let mut tier = FlashTier::new(FlashConfig::new(4096, 1), MEMORY.take()?, medium)?;
//! # let mut task = core::pin::pin!(store(&mut tier, now));
//! # let mut context = core::task::Context::from_waker(core::task::Waker::noop());
//! # assert!(matches!(task.as_mut().poll(&mut context), core::task::Poll::Ready(Ok(()))));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! The mutex is not fair: a busy store may keep other tasks from the flash. So await a timer tick after some puts, as the example
//! `firmware-embassy` of the repository does. It also drops the futures of many puts.

mod access;
mod awaited;
mod batch;
mod blocking;
mod commit;
mod config;
mod driving;
mod due;
mod error;
mod format;
mod get;
mod ghosts;
mod index;
mod io;
mod known;
mod lacks;
mod large;
mod medium;
mod memory;
mod nor;
mod nor_async;
mod nor_part;
mod pending;
mod places;
mod prepared;
mod put;
mod queue;
mod reader;
mod stats;
mod table;
mod tasks;
mod tier;
#[cfg(feature = "postcard")]
mod typed;

pub use batch::{Batch, BatchFull};
pub use coldpress_core::codec::CodecId;
pub use coldpress_core::compaction::{
    CompactionTask, Outcome, PoolOutcome, Report, RunningTask, TaskId, TasksFull, Victims,
};
pub use coldpress_core::config::ConfigError;
pub use coldpress_core::drive::{MediumError, Now};
pub use coldpress_core::format::{
    Geometry, GeometryError, HeaderError, KEY_BYTES_EXACT, SEGMENTS_MIN, Secret,
};
pub use coldpress_core::invariant::Invariant;
pub use coldpress_core::machine::Status;
pub use coldpress_core::recovery::{MountError, MountReport};
pub use coldpress_core::writer::Counters;
pub use config::FlashConfig;
pub use driving::Work;
pub use error::{BuildError, FlashMountError, GetError, PutError, Wait};
pub use get::{Cursor, KeyFound};
pub use large::LARGE_KEY_BYTES_MAX;
pub use medium::{DeviceMedium, Medium, Started};
pub use memory::{FlashMemory, buckets_for};
pub use nor::NorMedium;
pub use nor_async::AsyncNorMedium;
pub use nor_part::RangeError;
pub use put::Reserved;
pub use queue::{FlashQueue, QUEUE_ID_BYTES, QUEUE_LEN_MAX, QueueError};
pub use stats::{FlashStats, Worst};
pub use tasks::{TaskMailbox, TaskWorker};
pub use tier::FlashTier;
#[cfg(feature = "postcard")]
pub use typed::{Schema, TYPED_HEAD_BYTES, TypedGetError, TypedPutError};
