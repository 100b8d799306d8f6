//! The tiers in memory that a process has open, by name and types.
//!
//! One thread owns them; its coordinators have a channel to it. So a tier is made once, one of other types under the same name is
//! refused, and all are closed with their registry. The thread also drops values whose time is over from tiers that stand alone.

use core::any::{Any, TypeId};
use core::fmt;
use core::time::Duration;
use std::collections::HashMap;
use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use crate::recycled::{Lease, Recycler};

/// The most tiers in memory that a registry has open at a time.
pub const MEMORY_TIERS_MAX: usize = 1_024;

/// Requests that can wait for the registry.
const QUEUE_CAPACITY: usize = 256;

/// How long a request waits for its answer. The registry does no I/O.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the registry waits for a request before it drops values whose time is over.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A tier of any types, as the registry has it.
pub(super) trait MemoryTier: Any + Send + Sync {
    /// Drops values whose time is over.
    fn sweep(&self);
}

pub(super) type ErasedTier = Box<dyn MemoryTier>;

static MEMORY_TIERS: Recycler<ErasedTier> = Recycler::new();

/// The kind of a tier in memory. Those of a cache are kinds of their own: a coordinator does not reach them by their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum MemoryTierKind {
    Hot,
    Warm,
    HotOfCache,
    WarmOfCache,
}

/// Names a tier: two with one name are of one pair of types.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TierName {
    kind: MemoryTierKind,
    name: Box<str>,
}

struct RegisteredTier {
    types: (TypeId, TypeId),
    lease: Lease<ErasedTier>,
}

enum RegistryRequest {
    Register {
        name: TierName,
        types: (TypeId, TypeId),
        make: Box<dyn FnOnce() -> ErasedTier + Send>,
        reply: Sender<Result<Lease<ErasedTier>, RegisterError>>,
    },
    Unregister {
        name: TierName,
        reply: Sender<bool>,
    },
    Stop,
}

/// Why a tier was not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// A tier of this name is there, of other types for keys and values.
    OtherTypes,
    /// The registry has [`MEMORY_TIERS_MAX`] tiers open; close one first.
    TooMany,
    /// The queue of the registry is full, or it did not answer within 10 s.
    Busy,
    /// The registry is gone.
    Disconnected,
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherTypes => f.write_str("a tier of this name has other types for keys and values"),
            Self::TooMany => write!(f, "the registry has {MEMORY_TIERS_MAX} tiers open: close one first"),
            Self::Busy => f.write_str("the registry did not answer in time"),
            Self::Disconnected => f.write_str("the registry is gone"),
        }
    }
}

impl core::error::Error for RegisterError {}

/// Owns the thread that owns the tiers in memory. A drop closes all of them.
#[derive(Debug)]
#[must_use = "the tiers are closed when their registry is dropped"]
pub struct MemoryTierRegistry {
    requests: Sender<RegistryRequest>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for RegistryRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Register { .. } => "Register",
            Self::Unregister { .. } => "Unregister",
            Self::Stop => "Stop",
        })
    }
}

/// The channel to a registry.
#[derive(Debug, Clone)]
pub(super) struct RegistryLine(Sender<RegistryRequest>);

impl MemoryTierRegistry {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<(Self, RegistryLine)> {
        let (requests, inbox) = bounded(QUEUE_CAPACITY);
        let thread = Builder::new().name("coldpress-tiers".into()).spawn(move || serve(&inbox))?;
        Ok((Self { requests: requests.clone(), thread: Some(thread) }, RegistryLine(requests)))
    }
}

impl Drop for MemoryTierRegistry {
    fn drop(&mut self) {
        // The registry does no I/O, so its queue moves. One that is gone needs no stop.
        let _ = self.requests.send(RegistryRequest::Stop);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the registry of tiers in memory panicked");
        }
    }
}

impl RegistryLine {
    /// Finds the tier of this name and these types, or has it made.
    pub(super) fn register<K: 'static, V: 'static>(
        &self,
        kind: MemoryTierKind,
        name: &str,
        make: impl FnOnce() -> ErasedTier + Send + 'static,
    ) -> Result<Lease<ErasedTier>, RegisterError> {
        let name = TierName { kind, name: name.into() };
        let types = (TypeId::of::<K>(), TypeId::of::<V>());
        self.ask(|reply| RegistryRequest::Register { name, types, make: Box::new(make), reply })?
    }

    /// Closes a tier; tells whether it was there.
    pub(super) fn unregister(&self, kind: MemoryTierKind, name: &str) -> Result<bool, RegisterError> {
        let name = TierName { kind, name: name.into() };
        self.ask(|reply| RegistryRequest::Unregister { name, reply })
    }

    fn ask<R>(&self, request: impl FnOnce(Sender<R>) -> RegistryRequest) -> Result<R, RegisterError> {
        let (reply, receiver) = bounded(1);
        self.0.try_send(request(reply)).map_err(|error| match error {
            TrySendError::Full(_) => RegisterError::Busy,
            TrySendError::Disconnected(_) => RegisterError::Disconnected,
        })?;
        receiver.recv_timeout(ANSWER_TIMEOUT).map_err(|error| match error {
            RecvTimeoutError::Timeout => RegisterError::Busy,
            RecvTimeoutError::Disconnected => RegisterError::Disconnected,
        })
    }
}

/// The thread: it owns the tiers, and ends on request, or when the last coordinator is dropped.
fn serve(inbox: &Receiver<RegistryRequest>) {
    let mut tiers: HashMap<TierName, RegisteredTier> = HashMap::new();
    let mut next_sweep = Instant::now() + SWEEP_EVERY;
    loop {
        if Instant::now() >= next_sweep {
            for tier in tiers.values() {
                // A tier that was closed needs no sweep.
                let _ = tier.lease.enter(|tier| tier.sweep());
            }
            next_sweep = Instant::now() + SWEEP_EVERY;
        }
        match inbox.recv_deadline(next_sweep) {
            Ok(RegistryRequest::Register { name, types, make, reply }) => {
                let found = tiers.get(&name).map(|tier| (tier.types == types, tier.lease));
                let lease = match found {
                    Some((true, lease)) => Ok(lease),
                    Some((false, _)) => Err(RegisterError::OtherTypes),
                    None if tiers.len() >= MEMORY_TIERS_MAX => Err(RegisterError::TooMany),
                    None => {
                        let lease = MEMORY_TIERS.lend(make());
                        tiers.insert(name, RegisteredTier { types, lease });
                        Ok(lease)
                    }
                };
                // The client may have given up; the tier stays for the next one.
                let _ = reply.try_send(lease);
            }
            Ok(RegistryRequest::Unregister { name, reply }) => {
                let tier = tiers.remove(&name);
                let _ = reply.try_send(tier.is_some());
                // An operation that is under way drops the tier at its end.
                tier.into_iter().for_each(|tier| tier.lease.give_back());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Ok(RegistryRequest::Stop) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    tiers.into_values().for_each(|tier| tier.lease.give_back());
}
