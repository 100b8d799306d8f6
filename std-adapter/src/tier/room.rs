//! Where clients wait for room: for a place in the queue, for pending bytes, for capacity.
//!
//! What becomes free goes to whoever asks first, which costs nobody a hand-over; but only as long as nobody has waited for long.
//! Then writes are served in the order in which they came. Without that a client that sleeps loses to those that come along just
//! then, again and again: of four threads on a slow medium one waited for 68 syncs while the others put thousands of values.
//!
//! There are two lines. Every write that waits stands in the one for the queue; a put that lacks capacity stands in the other one,
//! and keeps its number there while it goes back to the first. So removes, which need no capacity and give some back, never
//! stand behind puts that wait for it; and the line for the queue moves on whenever the worker does.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// From so long a wait on nobody is let past.
const PATIENCE: Duration = Duration::from_millis(50);

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// A place in the worker's queue, and pending bytes.
    Queue,
    /// Capacity.
    Capacity,
}

/// A bell that the worker rings when it has given something back, and the lines of those who listen.
#[derive(Debug, Default)]
pub(crate) struct Room {
    waiters: AtomicU32,
    state: Mutex<State>,
    bell: Condvar,
}

/// Who stands in a line, and since when.
type Standing = VecDeque<(u64, Instant)>;

#[derive(Debug, Default)]
struct State {
    rung: u64,
    issued: u64,
    queue: Standing,
    capacity: Standing,
}

impl State {
    const fn line(&mut self, line: Line) -> &mut Standing {
        match line {
            Line::Queue => &mut self.queue,
            Line::Capacity => &mut self.capacity,
        }
    }
}

/// Whether one with this number, or with none, may go before those in a line.
fn may_go(line: &Standing, number: Option<u64>) -> bool {
    line.front().is_none_or(|(first, since)| number == Some(*first) || since.elapsed() < PATIENCE)
}

/// A client that will wait if its next attempt fails.
#[derive(Debug)]
pub(crate) struct RoomWaiter<'a> {
    room: &'a Room,
    queue: Option<u64>,
    capacity: Option<u64>,
}

impl Room {
    /// Announces a waiter: what is given back from here on rings for it.
    pub(crate) fn waiter(&self) -> RoomWaiter<'_> {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        RoomWaiter { room: self, queue: None, capacity: None }
    }

    /// Tells whether somebody waits.
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiters.load(Ordering::SeqCst) > 0
    }

    /// Tells whether a write that comes along may try; costs one load where nobody waits.
    pub(crate) fn may_try(&self, is_value: bool) -> bool {
        if !self.has_waiters() {
            return true;
        }
        let state = self.state.lock();
        may_go(&state.queue, None) && (!is_value || may_go(&state.capacity, None))
    }

    /// Sends away all who stand in a line: their tier is closed, and the next one must not wait for them to notice.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock();
        state.queue.clear();
        state.capacity.clear();
        state.rung += 1;
        drop(state);
        self.bell.notify_all();
    }

    /// Wakes all who wait; costs one load where nobody does.
    pub(crate) fn ring(&self) {
        if self.has_waiters() {
            self.state.lock().rung += 1;
            self.bell.notify_all();
        }
    }
}

impl RoomWaiter<'_> {
    /// Returns a mark to take before an attempt and to show to [`wait`](Self::wait) after it failed.
    pub(crate) fn mark(&self) -> u64 {
        self.room.state.lock().rung
    }

    /// Waits until the bell was rung since `mark`, or the time is over.
    pub(crate) fn wait(&self, mark: u64, longest: Duration) {
        let mut state = self.room.state.lock();
        if state.rung == mark {
            // Whether it was the bell or the time makes no difference: the caller tries again.
            let _ = self.room.bell.wait_for(&mut state, longest);
        }
    }

    /// Stands at the end of a line, unless it stands there already. One that waits for capacity lets go of the queue.
    pub(crate) fn stand(&mut self, line: Line) {
        if line == Line::Capacity {
            self.leave(Line::Queue);
        }
        let number = match line {
            Line::Queue => &mut self.queue,
            Line::Capacity => &mut self.capacity,
        };
        if number.is_none() {
            let mut state = self.room.state.lock();
            state.issued += 1;
            let issued = state.issued;
            state.line(line).push_back((issued, Instant::now()));
            *number = Some(issued);
        }
    }

    /// Leaves a line; whoever comes next in it is woken.
    fn leave(&mut self, line: Line) {
        let number = match line {
            Line::Queue => self.queue.take(),
            Line::Capacity => self.capacity.take(),
        };
        let Some(number) = number else { return };
        let mut state = self.room.state.lock();
        state.line(line).retain(|(waiting, _)| *waiting != number);
        if !state.line(line).is_empty() {
            state.rung += 1;
            drop(state);
            self.room.bell.notify_all();
        }
    }

    /// Tells whether it may try. Whoever may have capacity and meets others in the queue stands there.
    pub(crate) fn may_try(&mut self) -> bool {
        let state = self.room.state.lock();
        if self.capacity.is_some() && !may_go(&state.capacity, self.capacity) {
            return false;
        }
        let may_go = may_go(&state.queue, self.queue);
        drop(state);
        if !may_go {
            self.stand(Line::Queue);
        }
        may_go
    }
}

impl Drop for RoomWaiter<'_> {
    fn drop(&mut self) {
        self.leave(Line::Queue);
        self.leave(Line::Capacity);
        self.room.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets all who stand in a line have waited for long.
    fn age(room: &Room) {
        let mut state = room.state.lock();
        let State { queue, capacity, .. } = &mut *state;
        for (_, since) in queue.iter_mut().chain(capacity) {
            *since = since.checked_sub(PATIENCE).unwrap();
        }
    }

    #[test]
    fn nobody_is_let_past_one_that_waited_for_long() {
        let room = Room::default();
        assert!(room.may_try(true));
        let (mut first, mut second) = (room.waiter(), room.waiter());
        first.stand(Line::Queue);
        second.stand(Line::Queue);
        assert!(
            first.may_try() && second.may_try() && room.may_try(false),
            "no hand-over as long as all goes well"
        );
        age(&room);
        assert!(first.may_try() && !second.may_try() && !room.may_try(false));
        let mark = second.mark();
        drop(first);
        assert!(second.may_try() && second.mark() != mark, "it was woken");
        drop(second);
        assert!(room.may_try(true));
    }

    #[test]
    fn lines_that_were_cleared_hold_up_nobody_and_those_who_stood_there_leave_in_peace() {
        let room = Room::default();
        let (mut late, mut later) = (room.waiter(), room.waiter());
        late.stand(Line::Queue);
        later.stand(Line::Capacity);
        age(&room);
        assert!(!room.may_try(true) && !room.may_try(false));
        let mark = late.mark();
        room.clear();
        assert!(room.may_try(true) && late.mark() != mark, "they were woken");
        let mut new = room.waiter();
        new.stand(Line::Queue);
        drop((late, later));
        age(&room);
        assert!(new.may_try() && !room.may_try(false));
        drop(new);
        assert!(!room.has_waiters());
    }

    #[test]
    fn put_without_capacity_keeps_its_place_and_holds_up_no_remove() {
        let room = Room::default();
        let (mut put, mut later) = (room.waiter(), room.waiter());
        put.stand(Line::Capacity);
        later.stand(Line::Capacity);
        age(&room);
        assert!(room.may_try(false), "a remove goes on");
        assert!(!room.may_try(true) && put.may_try() && !later.may_try());
        let mut remove = room.waiter();
        remove.stand(Line::Queue);
        age(&room);
        assert!(remove.may_try() && !put.may_try(), "what it lacks is a place now");
        age(&room);
        drop(remove);
        assert!(put.may_try() && !later.may_try());
        put.stand(Line::Capacity);
        assert!(put.may_try() && !later.may_try(), "its number for capacity stays");
        drop(put);
        assert!(later.may_try());
    }
}
