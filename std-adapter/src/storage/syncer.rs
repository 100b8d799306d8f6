//! The syncer: a thread that does nothing but sync, so that appends go on meanwhile.

use core::time::Duration;
use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use coldpress_core::cleanup::Ticket;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never};

use super::medium_failure::MediumFailure;
use super::service_medium::ServiceMedium;

/// A sync that is over.
#[derive(Debug)]
pub(crate) struct Synced {
    pub(crate) ticket: Ticket,
    pub(crate) result: Result<(), MediumFailure>,
    pub(crate) took: Duration,
}

/// Syncs that wait: the machine asks for one at a time.
const WAITING_MAX: usize = 4;

/// The syncer of one partition; dropping it ends and joins the thread.
#[derive(Debug)]
pub(crate) struct Syncer {
    requests: Option<Sender<Ticket>>,
    pub(crate) results: Receiver<Synced>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread; none where there is no medium, for a tier that is only read.
    pub(crate) fn start(medium: Option<Box<dyn ServiceMedium>>, partition: u16) -> io::Result<Self> {
        let Some(mut medium) = medium else {
            return Ok(Self { requests: None, results: never(), thread: None });
        };
        let (requests, inbox) = bounded(WAITING_MAX);
        let (outbox, results) = bounded(WAITING_MAX);
        let run = move || {
            for ticket in inbox {
                let begun = Instant::now();
                let result = tracing::debug_span!("sync", partition).in_scope(|| {
                    let started = medium.sync()?;
                    medium.wait_for(started)
                });
                if outbox.send(Synced { ticket, result, took: begun.elapsed() }).is_err() {
                    return;
                }
            }
        };
        let thread = Builder::new().name(format!("coldpress-sync-{partition}")).spawn(run)?;
        Ok(Self { requests: Some(requests), results, thread: Some(thread) })
    }

    /// Asks for a sync; `false` when the syncer can't take it.
    pub(crate) fn request(&self, ticket: Ticket) -> bool {
        let Some(requests) = &self.requests else { return false };
        !matches!(requests.try_send(ticket), Err(TrySendError::Full(_) | TrySendError::Disconnected(_)))
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the syncer panicked");
        }
    }
}
