//! Coldpress for microcontrollers: all memory is there when the firmware is linked, and work is done in bounded steps from the
//! main loop or from interrupts.
//!
//! - [`TryCell`]: shares a value with interrupts; a caller takes it or goes on, and never waits.
//! - [`StaticPages`]: the pages of a pool, in a `static`.
//! - [`Mailbox`] and [`CleanupWorker`]: ask the pool's owner for a cleanup from any context, get a ticket at once, poll
//!   the outcome.
//! - [`flash::FlashTier`]: a crash-safe cold tier on NOR flash, with recipes for a super-loop, a timer, a flash-done
//!   interrupt and an async executor.
//! - [`IoMedium`]: reads and writes at positions of anything that reads, writes and seeks.
//!
//! No allocator, no unsafe code, no `static mut`. A pool whose memory is all static, cleaned up by a step that runs in
//! the main loop or in a timer interrupt:
//!
//! ```
//! use coldpress_embedded::pool::{ArrayTables, Limits, Pool, SizeClasses, Terms};
//! use coldpress_embedded::{CleanupWorker, Contended, Mailbox, Progress, StaticPages, TryCell};
//!
//! type Pages = &'static mut StaticPages<256, 8>;
//! /// 32 objects, each tagged with a number of the firmware's; 8 pages of 4 slots; one size class.
//! type Tables = ArrayTables<u16, 32, 8, 32, 1>;
//!
//! static PAGES: TryCell<StaticPages<256, 8>> = TryCell::new(StaticPages::new());
//! static POOL: TryCell<Option<Pool<Pages, Tables>>> = TryCell::new(None);
//! static MAILBOX: Mailbox<4> = Mailbox::new();
//! static WORKER: TryCell<CleanupWorker> = TryCell::new(CleanupWorker::new());
//!
//! /// One bounded step, from whatever context: it copies at most 64 bytes.
//! fn step(now_s: u32) -> Result<Progress, Contended> {
//!     POOL.try_with(|pool| match pool {
//!         Some(pool) => WORKER.try_with(|worker| worker.poll_pool(&MAILBOX, pool, now_s, 64, |_| {}))?,
//!         None => Ok(Progress::Idle),
//!     })?
//! }
//!
//! // Once, at start.
//! let limits = Limits { spare_pages_max: 0, ..Limits::default() };
//! let pool = Pool::new(PAGES.take()?, Tables::new(), SizeClasses::new(&[64])?, limits)?;
//! POOL.try_with(|place| *place = Some(pool))?;
//!
//! // The firmware uses the pool: two pages of four objects, then all but one of each page are freed.
//! let mut objects = [None; 8];
//! for (number, object) in objects.iter_mut().enumerate() {
//!     *object = POOL.try_with(|pool| pool.as_mut()?.allocate(60, Terms::default(), number as u16).ok())?;
//! }
//! for (number, object) in objects.into_iter().flatten().enumerate() {
//!     if number % 4 != 0 {
//!         POOL.try_with(|pool| pool.as_mut()?.free(object).ok())?;
//!     }
//! }
//!
//! // Any context asks, and has its ticket at once. The outcome is there some steps later: one page of the two.
//! let ticket = MAILBOX.trigger_defragmentation(1_000)?;
//! while step(1)? != Progress::Replied(ticket) {}
//! let outcome = MAILBOX.poll(ticket, 1_001)?;
//! assert_eq!(outcome.and_then(Result::ok).map(|reclaimed| reclaimed.bytes), Some(256));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! On a target without compare-and-swap (Cortex-M0, riscv32imc) enable `portable-atomic` and link an implementation of
//! `critical-section`, as `cortex-m` has with its feature `critical-section-single-core`, and `riscv` with
//! `critical-section-single-hart`. The feature `defmt` formats every public type, and `postcard` stores values of `serde` types.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::cast_possible_truncation))]

pub mod flash;
mod mailbox;
mod medium;
mod pages;
mod try_cell;

pub use coldpress_core::{cleanup, pool};
pub use mailbox::{CleanupWorker, Mailbox, Outcome, Progress, RequestError, TicketError};
pub use medium::{AccessError, IoMedium};
pub use pages::StaticPages;
pub use try_cell::{Contended, TryCell};
