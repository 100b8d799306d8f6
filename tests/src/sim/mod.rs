//! A simulation of a tier down to its medium, for suites that try every order, every failure and every power cut.
//!
//! From the bottom: [`Medium`] is the storage, with [fates](Fate) at a cut and [faults](Faults); [`ModelHost`] the index;
//! [`Oracle`] the knowledge of the clients; [`World`] drives the machine over them in virtual time; [`cut_everywhere`] and its
//! like enumerate.

mod arena;
mod audit;
mod budget;
mod check;
mod choice;
mod clients;
mod cut;
mod exhaust;
mod failures;
mod fault;
mod host;
mod lives;
mod medium;
mod oracle;
mod rescue;
mod rng;
mod rot;
mod runs;
mod script;
mod shape;
mod time;
mod world;

pub use arena::{Arena, LentMemory, Sizes};
pub use budget::{Asked, Budget, ENTRIES_MAX, LOOKS_MAX, Largest, SAMPLES_MAX};
pub use check::Seen;
pub use choice::{Chooser, Schedules};
pub use cut::{Fate, SECTOR_BYTES};
pub use exhaust::{STRIDE, Tried, cut_everywhere, cut_twice, in_case, offset, order_everywhere};
pub use failures::{fail_everywhere, fail_in_pairs, fail_mount_everywhere};
pub use fault::{Effect, Faults, Outage};
pub use host::{Entry, IndexEvent, ModelHost, Newest, hash_of};
pub use lives::{Event, Lived};
pub use medium::{Change, Counts, Medium, Op, SyncPoint};
pub use oracle::{Key, Oracle, What, key_bytes};
pub use rescue::Versions;
pub use rng::{Rng, mixed};
pub use rot::Rot;
pub use script::{Do, Setup};
pub use shape::{Shape, live_all, live_faulty};
pub use world::{Delays, Lasting, Pools, World};
