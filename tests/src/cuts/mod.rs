//! Power cuts on a flash tier, all RAM rebuilt after each.
//!
//! A [`Setup`] is a small flash and its tier. A [`Device`] is that tier while it has power: it follows a script and checks each
//! answer against the knowledge of its clients. A [`Lasting`] is the state that lasts from one power-up to the next. Histories
//! that are run with a tape leave a [`Moment`] before each change of the flash. [`cut_everywhere`] and [`cut_twice`] tear each
//! of them in every way; [`cut_often`] draws long lives with many cuts from a seed. [`flip_everywhere`] turns single bits over.

mod damage;
mod device;
mod dropped;
mod everywhere;
mod often;

pub use crate::driver::Driver;
pub use damage::{Answers, Past, flip_everywhere};
pub use device::{Cut, Device, Lasting, Moment, SEGMENTS, Setup, Store};
pub use dropped::{Dropped, drop_everywhere, drop_twice};
pub use everywhere::{cut_everywhere, cut_twice};
pub use often::{Lives, cut_often};
