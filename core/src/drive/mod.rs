//! Inputs and outputs of a machine: time, actions, completions, the names of tasks, and the medium on which actions are carried out.
//!
//! A machine does no I/O. It asks for an [`Action`] and takes an [`Input`] once that is done; the
//! [machine](crate::machine) states the rule by which it is driven.

mod action;
mod backoff;
mod medium;
mod task_id;

pub use action::{Action, Input, MediumError, Now, Poll, StaleTicket};
pub(crate) use backoff::Backoff;
pub use medium::{Medium, Started};
pub use task_id::TaskId;
