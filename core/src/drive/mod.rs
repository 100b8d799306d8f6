//! What goes in and out of a machine: time, actions, completions and the errors of a medium.
//!
//! A machine does no I/O. It asks for an [`Action`] and takes an [`Input`] once that is done; the
//! [machine](crate::machine) states the rule by which it is driven.

mod action;
mod backoff;

pub use action::{Action, Input, MediumError, Now, Poll, StaleTicket};
pub(crate) use backoff::Backoff;
