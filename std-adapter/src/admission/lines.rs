//! The lines of clients that wait, without threads and without time: who goes on, and in which order.
//!
//! A client has one number for all lines: its age. So a client that was let go on, and then lacks something else, is not behind
//! those who came after it. Bounds: each call works on the clients that it lets go on, and finds each in logarithmic time.

use std::collections::{BTreeMap, BTreeSet};

use coldpress_core::format::KeyHash;

use super::keys::KeyLines;

/// A line, by what its clients wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// A place in the worker's queue, and so many pending bytes.
    Permit(u64),
    /// Capacity: so many bytes that nobody was asked to free space for.
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
    /// Whether it is to look how its tier is.
    is_alerted: bool,
    /// How often there had been a reason to call somebody when it last was let try.
    rings: u64,
    /// Whether it was called before and found too little: nobody who comes along takes it away again.
    has_lost: bool,
    /// Capacity that it needs and nobody was asked to free space for, in this round of asking.
    needs: u64,
    needs_in: u64,
    /// The key that it has or stands for.
    key: Option<KeyHash>,
}

/// The line for capacity, whatever its clients need.
const CAPACITY: Line = Line::Capacity { needs: 0 };

/// A line whose clients are called to try for themselves.
#[derive(Debug, Default)]
struct Calls {
    standing: BTreeSet<u64>,
    /// They were called, and have not said how it went.
    called: BTreeSet<u64>,
    /// How many of those had been called before.
    again: usize,
}

impl Calls {
    /// Those whom a client that comes along must not pass.
    fn in_front(&self) -> usize {
        self.standing.len() + self.again
    }
}

/// Why a client may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Go {
    /// So many pending bytes and a place in the queue are its own.
    Permit(u64),
    /// It is called: there may be what it waits for.
    Called,
}

/// Clients that one success calls: more than one, so that a line gets shorter while there is enough; no more, since nobody knows
/// for how many there is enough.
const CALLS_PER_SUCCESS: usize = 2;

/// Writes that a client has space for when it is let go on, beside the others that are let go on with it. A context switch is paid
/// for so many, not for each; more would let those wait longer who are behind it.
pub(super) const WRITES_PER_PERMIT: u32 = 32;

/// The free part of the queue and of the pending bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spare {
    pub(super) places: u32,
    pub(super) bytes: u64,
}

impl Spare {
    /// The part that is left beside one client more, with writes of so many bytes; `None` where there is too little.
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
    /// Whether somebody came since the last look, who may have missed what was given back.
    has_new: bool,
    /// Bytes that the clients need together who wait for capacity and have not asked for it, and how often that was taken.
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
    /// Takes a client in, which stands nowhere yet; returns its number.
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
        };
        self.clients.insert(self.issued, client);
        self.issued
    }

    /// Clients that the worker has to look after: those that want a key wait for each other.
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
        // It may have lacked just what was given back since it was let try.
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

    /// Takes what those need together who wait for capacity and have not asked for it.
    pub(super) const fn take_needs(&mut self) -> u64 {
        self.round += 1;
        core::mem::replace(&mut self.needs, 0)
    }

    /// A client asks for itself, or leaves.
    fn forget_needs(&mut self, number: u64) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let needs = core::mem::take(&mut client.needs);
        self.needs -= if client.needs_in == self.round { needs } else { 0 };
    }

    /// Gives permits in the order of age, as long as `reserve` can reserve what the next one needs: to one client in any case, and to
    /// as many as there is space for several writes of each.
    pub(super) fn grant(&mut self, spare: Spare, mut reserve: impl FnMut(u64) -> bool, woken: &mut Vec<W>) {
        let mut left = Some(spare);
        while let (Some(spare), Some((&number, &bytes))) = (left, self.permits.first_key_value()) {
            if !reserve(bytes) {
                break;
            }
            left = spare.without(bytes);
            self.permits.pop_first();
            if let Some(client) = self.clients.get_mut(&number) {
                client.permit = Some(bytes);
                woken.push(client.waker.clone());
            }
        }
    }

    /// Something was given back: calls the oldest of each line, each as many as there may be enough for, and one in any case. A client
    /// that has what it needs calls the next.
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
            // One that was called in vain is passed by nobody: those behind it would take what it needs.
            if matches!(line, Line::Capacity { .. }) && calls.again > 0 {
                return;
            }
            // A client that waits for a permit as well tries when it has that.
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

    /// Whether a client has a reason to wake up: it may go on, or is to look, or is not known any more.
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
        let (is_called, rings) = (self.is_called(number), self.rings);
        let client = self.clients.get_mut(&number)?;
        client.rings = rings;
        client.permit.take().map(Go::Permit).or(is_called.then_some(Go::Called))
    }

    /// Lets a client go. Returns pending bytes that were reserved for it and that it did not take: they are to be given back, with the
    /// place. The next ones are called where it had been called: it has left what it was called for, or there may be more. A key goes to the
    /// next one in its line.
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

    #[cfg(test)]
    pub(super) const fn key_clients(&self) -> usize {
        self.keys.clients()
    }

    #[cfg(test)]
    pub(super) fn oldest_for_permit(&self) -> Option<u64> {
        self.permits.first_key_value().map(|(number, _)| *number)
    }

    /// Lets everybody look how the tier is.
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
