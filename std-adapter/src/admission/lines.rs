//! The lines of waiting clients, without threads and without time: they decide which client goes on next.
//!
//! A client has one number for all lines: its age. So a client that went on, and then lacks something else, is not behind those
//! that came after it. Bounds: each call works on the clients that it lets go on, and finds each in logarithmic time.

use std::collections::{BTreeMap, BTreeSet};

use coldpress_core::format::KeyHash;

use super::keys::KeyLines;

/// A line, by what its clients wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// A place in the worker's queue, and so many pending bytes.
    Permit(u64),
    /// Capacity; `needs` are the bytes of it for which no eviction was asked for.
    Capacity { needs: u64 },
    /// A place for a message that is no write.
    Message,
    /// A key for itself.
    Key(KeyHash),
}

/// A client, from its first wait to its end.
#[derive(Debug)]
struct Client<W> {
    waker: W,
    /// Pending bytes that were reserved for it, with a place in the queue.
    permit: Option<u64>,
    /// Whether it is to wake up and look at its tier.
    is_alerted: bool,
    /// The value of [`Lines::rings`] when it last tried.
    rings: u64,
    /// Whether it was called before and found too little: no client that arrives may pass it then.
    has_lost: bool,
    /// Bytes of capacity that it needs, and for which no eviction was asked for in this round.
    needs: u64,
    needs_in: u64,
    /// The key that it holds or waits for.
    key: Option<KeyHash>,
    /// Whether it learned that the key is its own: it may write under it from then on, whatever its deadline.
    is_served: bool,
}

/// The line for capacity, whatever its clients need.
const CAPACITY: Line = Line::Capacity { needs: 0 };

/// A line whose clients are called to try for themselves.
#[derive(Debug, Default)]
struct Calls {
    standing: BTreeSet<u64>,
    /// Clients that were called and have not tried, or have not left, since.
    called: BTreeSet<u64>,
    /// How many of those had been called before.
    again: usize,
}

impl Calls {
    /// The number of clients that one that arrives must not pass.
    fn in_front(&self) -> usize {
        self.standing.len() + self.again
    }
}

/// Why a client may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Go {
    /// These pending bytes, and a place in the queue, are reserved for it.
    Permit(u64),
    /// It is called: there may be what it waits for.
    Called,
}

/// Clients that are called for each one that got what it needs. Two let a line get shorter while there is enough; for how many
/// more there is enough is not known.
const CALLS_PER_SUCCESS: usize = 2;

/// Writes for which each client of a round has places. A context switch is paid once for them, not for each. More would let the
/// clients behind wait longer.
pub(super) const WRITES_PER_PERMIT: u32 = 32;

/// The free part of the queue and of the pending bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spare {
    pub(super) places: u32,
    pub(super) bytes: u64,
}

impl Spare {
    /// The part that is left after one more client, with writes of this many bytes; `None` where there is too little.
    fn without(self, bytes: u64) -> Option<Self> {
        let places = self.places.checked_sub(WRITES_PER_PERMIT)?;
        let bytes_left = self.bytes.checked_sub(bytes * u64::from(WRITES_PER_PERMIT))?;
        Some(Self { places, bytes: bytes_left })
    }
}

/// The waiters by line.
#[derive(Debug)]
pub(crate) struct Lines<W> {
    issued: u64,
    rings: u64,
    /// Whether a client came since the last call of [`ring`](Self::ring), which may have missed a resource that was given back.
    has_new: bool,
    /// Bytes that all clients need which wait for capacity and have not asked for an eviction; then how often that sum was
    /// taken.
    needs: u64,
    round: u64,
    clients: BTreeMap<u64, Client<W>>,
    /// Pending bytes that each waits for.
    permits: BTreeMap<u64, u64>,
    capacity: Calls,
    messages: Calls,
    keys: KeyLines,
}

impl<W> Default for Lines<W> {
    fn default() -> Self {
        Self {
            issued: 0,
            rings: 0,
            has_new: false,
            needs: 0,
            round: 0,
            clients: BTreeMap::new(),
            permits: BTreeMap::new(),
            capacity: Calls::default(),
            messages: Calls::default(),
            keys: KeyLines::default(),
        }
    }
}

impl<W: Clone> Lines<W> {
    /// Adds a client, which is in no line yet; returns its number.
    pub(super) fn enter(&mut self, waker: W) -> u64 {
        self.issued += 1;
        let client = Client {
            waker,
            permit: None,
            is_alerted: false,
            rings: self.rings,
            has_lost: false,
            needs: 0,
            needs_in: self.round,
            key: None,
            is_served: false,
        };
        self.clients.insert(self.issued, client);
        self.issued
    }

    /// Clients that the worker has to serve. Those that want a key wait for each other instead.
    pub(super) fn clients(&self) -> usize {
        self.clients.len() - self.keys.clients()
    }

    /// Keys that a client has for itself.
    pub(super) fn keys_held(&self) -> usize {
        self.keys.held()
    }

    /// Clients without a permit that wait for one.
    pub(super) fn waiting_for_permits(&self) -> usize {
        self.permits.len()
    }

    /// Clients that wait for capacity and are not to be passed.
    pub(super) fn waiting_for_capacity(&self) -> usize {
        self.capacity.in_front()
    }

    const fn calls(&mut self, line: Line) -> Option<&mut Calls> {
        match line {
            Line::Permit(_) | Line::Key(_) => None,
            Line::Capacity { .. } => Some(&mut self.capacity),
            Line::Message => Some(&mut self.messages),
        }
    }

    /// Clients that wait for a place for a message and are not to be passed.
    pub(super) fn waiting_for_messages(&self) -> usize {
        self.messages.in_front()
    }

    /// Lets a client stand in a line, at the place of its age. A line for permits is left for any other: what is not used goes to
    /// the next one in it.
    pub(super) fn stand(&mut self, number: u64, line: Line) {
        let rings = self.rings;
        let Some(client) = self.clients.get_mut(&number) else { return };
        // A resource that it lacked may have been given back since it tried.
        let has_missed = client.rings != rings;
        client.rings = rings;
        let had_lost = client.has_lost;
        let is_new = match line {
            Line::Permit(bytes) => self.permits.insert(number, bytes).is_none(),
            Line::Key(key) => {
                client.key = Some(key);
                self.keys.stand(number, key);
                false
            }
            Line::Capacity { .. } | Line::Message => {
                let Some(calls) = self.calls(line) else { return };
                let was_called = calls.called.remove(&number);
                calls.again -= usize::from(was_called && had_lost);
                let is_new = calls.standing.insert(number) && !was_called;
                if was_called && let Some(client) = self.clients.get_mut(&number) {
                    client.has_lost = true;
                }
                is_new
            }
        };
        self.has_new |= is_new || has_missed;
        if let Line::Capacity { needs } = line {
            self.forget_needs(number);
            if let Some(client) = self.clients.get_mut(&number) {
                (client.needs, client.needs_in) = (needs, self.round);
                self.needs += needs;
            }
        }
    }

    /// Takes the sum of the bytes that clients need which wait for capacity and have not asked for an eviction.
    pub(super) const fn take_needs(&mut self) -> u64 {
        self.round += 1;
        core::mem::replace(&mut self.needs, 0)
    }

    /// Subtracts the needs of a client that asks by itself, or leaves.
    fn forget_needs(&mut self, number: u64) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let needs = core::mem::take(&mut client.needs);
        self.needs -= if client.needs_in == self.round { needs } else { 0 };
    }

    /// Gives permits in the order of age, as long as `reserve` succeeds for the next client: to as many clients as there are
    /// places for several writes of each, and to one in any case. Tells whether it succeeded for all of these.
    pub(super) fn grant(
        &mut self,
        spare: Spare,
        mut reserve: impl FnMut(u64) -> bool,
        woken: &mut Vec<W>,
    ) -> bool {
        let mut left = Some(spare);
        while let (Some(spare), Some((&number, &bytes))) = (left, self.permits.first_key_value()) {
            if !reserve(bytes) {
                return false;
            }
            left = spare.without(bytes);
            self.permits.pop_first();
            if let Some(client) = self.clients.get_mut(&number) {
                client.permit = Some(bytes);
                woken.push(client.waker.clone());
            }
        }
        true
    }

    /// Where a resource was given back, calls the oldest clients: as many as there may be enough capacity for, at least one,
    /// and one that waits for a message place. A client that gets what it needs calls the next ones.
    pub(super) fn ring(&mut self, is_changed: bool, enough_for: usize, woken: &mut Vec<W>) {
        if is_changed || core::mem::take(&mut self.has_new) {
            self.rings += 1;
            let on_their_way = self.capacity.called.len();
            self.call(CAPACITY, enough_for.saturating_sub(on_their_way).max(1), woken);
            self.call(Line::Message, 1, woken);
        }
    }

    fn call(&mut self, line: Line, most: usize, woken: &mut Vec<W>) {
        for _ in 0..most {
            let Some(calls) = self.calls(line) else { return };
            // No client passes one that was called before in vain: those behind it would take what it needs.
            if matches!(line, Line::Capacity { .. }) && calls.again > 0 {
                return;
            }
            // A client that also waits for a permit tries when it has one.
            let Some(number) = calls.standing.pop_first() else { return };
            calls.called.insert(number);
            self.forget_needs(number);
            let Some(client) = self.clients.get(&number) else { continue };
            let (has_lost, waker) = (client.has_lost, client.waker.clone());
            if let Some(calls) = self.calls(line) {
                calls.again += usize::from(has_lost);
            }
            if !self.permits.contains_key(&number) {
                woken.push(waker);
            }
        }
    }

    /// Changes the way to wake a client, where it is known.
    pub(super) fn renew<R>(&mut self, number: u64, renew: impl FnOnce(&mut W) -> R) -> Option<R> {
        self.clients.get_mut(&number).map(|client| renew(&mut client.waker))
    }

    /// Whether a client has a reason to wake up: it may go on, was alerted, or is not known any more.
    pub(super) fn is_awake(&mut self, number: u64) -> bool {
        let is_called = self.is_called(number);
        let Some(client) = self.clients.get_mut(&number) else { return true };
        core::mem::take(&mut client.is_alerted) || client.permit.is_some() || is_called
    }

    fn is_called(&self, number: u64) -> bool {
        let is_called = self.capacity.called.contains(&number) || self.messages.called.contains(&number);
        is_called && !self.permits.contains_key(&number) || self.has_key(number)
    }

    fn has_key(&self, number: u64) -> bool {
        let key = self.clients.get(&number).and_then(|client| client.key);
        key.is_some_and(|key| self.keys.is_holder(number, &key))
    }

    /// Lets a client go on that has a permit, which is its own from then on, or was called.
    pub(super) fn take(&mut self, number: u64) -> Option<Go> {
        let (is_called, has_key, rings) = (self.is_called(number), self.has_key(number), self.rings);
        let client = self.clients.get_mut(&number)?;
        client.rings = rings;
        client.is_served |= has_key;
        client.permit.take().map(Go::Permit).or(is_called.then_some(Go::Called))
    }

    /// Removes a client. Returns pending bytes that were reserved for it and not taken: the caller gives them back, with the
    /// queue place. If the client had been called, the next ones are called: it left the resource, or there may be more. A key
    /// goes to the next one in its line.
    pub(super) fn leave(&mut self, number: u64, is_done: bool, woken: &mut Vec<W>) -> Option<u64> {
        self.forget_needs(number);
        let client = self.clients.remove(&number)?;
        self.permits.remove(&number);
        let next = client.key.and_then(|key| self.keys.leave(number, &key));
        woken.extend(next.and_then(|next| self.clients.get(&next)).map(|next| next.waker.clone()));
        let calls = if is_done { CALLS_PER_SUCCESS } else { 1 };
        for line in [CAPACITY, Line::Message] {
            let Some(left) = self.calls(line) else { continue };
            left.standing.remove(&number);
            if left.called.remove(&number) {
                left.again -= usize::from(client.has_lost);
                self.call(line, calls, woken);
            }
        }
        client.permit
    }

    /// Removes a client whose deadline has passed, as [`leave`](Self::leave) does. One that has a key keeps it: two writers of one key
    /// would each take the other's pieces for left over.
    pub(super) fn expire(&mut self, number: u64, woken: &mut Vec<W>) -> Option<u64> {
        let is_served = self.clients.get(&number).is_some_and(|client| client.is_served);
        if is_served { None } else { self.leave(number, false, woken) }
    }

    #[cfg(test)]
    pub(super) const fn key_clients(&self) -> usize {
        self.keys.clients()
    }

    #[cfg(test)]
    pub(super) fn oldest_for_permit(&self) -> Option<u64> {
        self.permits.first_key_value().map(|(number, _)| *number)
    }

    /// Wakes all clients to look at the tier.
    pub(super) fn alert(&mut self, woken: &mut Vec<W>) {
        for client in self.clients.values_mut() {
            client.is_alerted = true;
            woken.push(client.waker.clone());
        }
    }

    /// Whether others wait for capacity, and this one was not called among them.
    pub(super) fn is_behind_for_capacity(&self, number: u64) -> bool {
        !self.capacity.called.contains(&number) && self.capacity.in_front() > 0
    }
}
