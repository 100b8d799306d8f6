//! The way back to a client that waits for an answer.

use core::fmt;
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use crossbeam_channel::Sender;

/// Where an answer goes: to a thread that waits for it, or to a future.
///
/// Dropped without an answer it shows the client that none will come.
pub(crate) enum Reply<R> {
    Thread(Sender<R>),
    Future(oneshot::Sender<R>),
}

impl<R> Reply<R> {
    /// Sends the answer. A client that no longer waits needs none.
    pub(crate) fn send(self, answer: R) {
        match self {
            Self::Thread(sender) => {
                let _ = sender.try_send(answer);
            }
            Self::Future(sender) => {
                // A waker of a runtime that panics must not end the worker.
                let _ = catch_unwind(AssertUnwindSafe(|| sender.send(answer).is_ok()));
            }
        }
    }

    /// Tells whether the client is a future that was dropped. A thread shows its end by its deadline alone.
    pub(crate) fn is_dropped(&self) -> bool {
        matches!(self, Self::Future(sender) if sender.is_closed())
    }
}

impl<R> From<Sender<R>> for Reply<R> {
    fn from(sender: Sender<R>) -> Self {
        Self::Thread(sender)
    }
}

impl<R> From<oneshot::Sender<R>> for Reply<R> {
    fn from(sender: oneshot::Sender<R>) -> Self {
        Self::Future(sender)
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread(_) => "Reply::Thread",
            Self::Future(_) => "Reply::Future",
        })
    }
}
