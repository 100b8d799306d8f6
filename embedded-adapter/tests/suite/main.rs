//! The suites of the embedded adapter, against the public API: one program, so that they share what they compile.

// The examples in the documentation include it from there.
#[path = "../ram/mod.rs"]
mod ram;
#[macro_use]
#[path = "../shape/mod.rs"]
mod shape;

mod contention;
mod driver;
mod flash_after_failure;
mod flash_awaited;
mod flash_batch;
mod flash_busy;
mod flash_changes;
mod flash_clock;
mod flash_emptied;
mod flash_end;
mod flash_failures;
mod flash_faults;
mod flash_format;
mod flash_grown;
mod flash_keys;
mod flash_lowered;
mod flash_model;
mod flash_one_free;
mod flash_parted;
mod flash_pieces;
mod flash_places;
mod flash_queue;
mod flash_queue_strays;
mod flash_range;
mod flash_reads;
mod flash_small;
mod flash_strangers;
mod flash_tasks;
mod flash_tier;
#[cfg(feature = "postcard")]
mod flash_typed;
mod flash_unchanged;
mod flash_unread;
mod medium;
mod pool;
mod shared;
mod slow;
