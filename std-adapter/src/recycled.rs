//! Values that several threads reach while their owner keeps them open.
//!
//! A [`Slot`] is leaked once, so that any thread may have a reference to it, and used again: a [`Recycler`] has the list of the
//! empty ones. Opening puts a new value into a slot, and closing drops it, so the next value finds nothing of it. Threads reach
//! the value by its [`Lease`]: the slot and a generation. A lease is `Copy`, nobody counts its copies, and one that is kept
//! beyond the close is refused.
//!
//! The value is behind a lock. An operation holds it for reading while it uses the value; a close takes it for writing. An
//! operation may be stuck in a read of a dead medium. So a close waits until its deadline at most, and the slot stays off the
//! list until the value has left it.

use core::fmt;
use core::ops::Deref;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicU64, fence};
use std::time::Instant;

use parking_lot::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

/// Issued once per process, so that they differ between slots too.
static GENERATIONS: AtomicU64 = AtomicU64::new(1);

struct SlotContent<T> {
    /// The generation of the value, or of the last one.
    generation: u64,
    value: Option<Box<T>>,
}

/// A value and its lock, on cache lines of their own: neighbours must not slow each other down.
#[repr(align(128))]
struct Cell<T>(RwLock<SlotContent<T>>);

/// Holds a value, or a row of values that are locked one by one.
struct Slot<T: 'static, const N: usize> {
    cells: [Cell<T>; N],
    /// The generation of the row that can be locked; 0 where there is none.
    lent: AtomicU64,
    /// The newest generation that was ended: seen without waiting for a lock.
    ended: AtomicU64,
    /// The newest generation whose value the last thread in it drops.
    given_back: AtomicU64,
    recycler: &'static Recycler<T, N>,
}

/// The empty slots of one kind; there are never more than were in use at once.
pub(crate) struct Recycler<T: 'static, const N: usize = 1> {
    free: Mutex<Vec<&'static Slot<T, N>>>,
}

impl<T, const N: usize> Recycler<T, N> {
    pub(crate) const fn new() -> Self {
        Self { free: Mutex::new(Vec::new()) }
    }

    /// Puts a row of values into an empty slot, or into a new one that will never be freed.
    pub(crate) fn lend_row(&'static self, values: impl IntoIterator<Item = T>) -> Lease<T, N> {
        let free = self.free.lock().pop();
        let slot = free.unwrap_or_else(|| Box::leak(Box::new(Slot::new(self))));
        // Issued once the slot is ours, so that it is newer than all that ended in it.
        let generation = GENERATIONS.fetch_add(1, Relaxed);
        for (cell, value) in slot.cells.iter().zip(values) {
            *cell.0.write() = SlotContent { generation, value: Some(Box::new(value)) };
        }
        slot.lent.store(generation, SeqCst);
        Lease { slot, generation }
    }
}

impl<T> Recycler<T> {
    /// As [`lend_row`](Self::lend_row), with a single value.
    pub(crate) fn lend(&'static self, value: T) -> Lease<T> {
        self.lend_row([value])
    }
}

impl<T, const N: usize> Slot<T, N> {
    fn new(recycler: &'static Recycler<T, N>) -> Self {
        let cell = |_| Cell(RwLock::new(SlotContent { generation: 0, value: None }));
        let [lent, ended, given_back] = [(); 3].map(|()| AtomicU64::new(0));
        Self { cells: core::array::from_fn(cell), lent, ended, given_back, recycler }
    }
}

/// The value was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// How a value was closed.
pub(crate) enum Closed<T> {
    /// Nobody is in it; this was it.
    Empty(Box<T>),
    /// An operation is stuck in it, so it has to stay.
    Stuck,
    /// It was closed before.
    Before,
}

/// Names one value, or one row of them, for as long as it is open.
pub(crate) struct Lease<T: 'static, const N: usize = 1> {
    slot: &'static Slot<T, N>,
    generation: u64,
}

impl<T, const N: usize> Clone for Lease<T, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, const N: usize> Copy for Lease<T, N> {}

impl<T, const N: usize> PartialEq for Lease<T, N> {
    fn eq(&self, other: &Self) -> bool {
        self.generation == other.generation
    }
}

impl<T, const N: usize> fmt::Debug for Lease<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// A value of a row that is locked for writing.
pub(crate) type LockedCell<T> = MappedRwLockWriteGuard<'static, T>;

impl<T, const N: usize> Lease<T, N> {
    /// A number that no other lease has.
    pub(crate) const fn generation(self) -> u64 {
        self.generation
    }

    /// Ends the value: no operation enters it from here on. Those of a row can still be locked, until it is emptied.
    pub(crate) fn end(self) {
        self.slot.ended.fetch_max(self.generation, SeqCst);
    }

    /// Tells whether it was ended.
    pub(crate) fn has_ended(self) -> bool {
        self.slot.ended.load(SeqCst) >= self.generation
    }

    /// Locks a value of the row.
    pub(crate) fn lock(self, cell: usize) -> Result<LockedCell<T>, Gone> {
        // The lock may belong to another row by now, and this call would wait for that.
        if self.slot.lent.load(SeqCst) != self.generation {
            return Err(Gone);
        }
        let content = self.slot.cells.get(cell).ok_or(Gone)?.0.write();
        if content.generation != self.generation {
            return Err(Gone);
        }
        RwLockWriteGuard::try_map(content, |content| content.value.as_deref_mut()).map_err(|_| Gone)
    }

    /// Ends the row and drops its values, each once nobody has it locked. Called by one thread, once.
    pub(crate) fn empty(self) {
        self.end();
        self.slot.lent.store(0, SeqCst);
        for cell in &self.slot.cells {
            let value = cell.0.write().value.take();
            // Not under the lock: that may take a while.
            drop(value);
        }
        self.slot.recycler.free.lock().push(self.slot);
    }
}

impl<T> Lease<T> {
    const fn content(self) -> &'static RwLock<SlotContent<T>> {
        let [cell] = &self.slot.cells;
        &cell.0
    }

    /// Looks at the value. `look` may be long, and must not wait for somebody who closes the value.
    #[inline]
    pub(crate) fn enter<R>(self, look: impl FnOnce(&T) -> R) -> Result<R, Gone> {
        // Dropped behind the lock's guard, whichever way it ends.
        let _way_out = WayOut(self);
        let content = self.read()?;
        content.value.as_deref().map(look).ok_or(Gone)
    }

    /// Keeps the value where it is until this is dropped: a close does not come to an end before.
    pub(crate) fn hold(self) -> Result<Held<T>, Gone> {
        // Dropped behind the lock's guard, whichever way it ends.
        let way_out = WayOut(self);
        match RwLockReadGuard::try_map(self.read()?, |content| content.value.as_deref()) {
            Ok(value) => Ok(Held { value, way_out }),
            Err(_) => Err(Gone),
        }
    }

    /// Locks the value for reading, unless it was ended.
    #[inline]
    fn read(self) -> Result<RwLockReadGuard<'static, SlotContent<T>>, Gone> {
        let content = match self.content().try_read() {
            Some(content) => content,
            None => self.read_behind_a_close()?,
        };
        // A close that gave up leaves the value there.
        if content.generation != self.generation || self.has_ended() { Err(Gone) } else { Ok(content) }
    }

    /// Waits for the lock while another thread has it for writing. A close ends the generation before it asks for the lock, so
    /// an operation behind it is refused without a wait.
    #[cold]
    fn read_behind_a_close(self) -> Result<RwLockReadGuard<'static, SlotContent<T>>, Gone> {
        if self.has_ended() { Err(Gone) } else { Ok(self.content().read()) }
    }

    /// Closes the value: no operation enters it from here on. Waits until none is under way, and not beyond the deadline.
    pub(crate) fn close(self, deadline: Instant) -> Closed<T> {
        self.end();
        match self.content().try_write_until(deadline) {
            None => Closed::Stuck,
            Some(content) => self.take(content).map_or(Closed::Before, Closed::Empty),
        }
    }

    /// Looks at a value that was found stuck.
    pub(crate) fn look_behind<R>(self, look: impl FnOnce(&T) -> R) -> Option<R> {
        let _way_out = WayOut(self);
        let content = self.content().read();
        let value = content.value.as_deref().filter(|_| content.generation == self.generation);
        value.map(look)
    }

    /// Ends the value and drops it. Where operations are under way, the last one drops it at its end.
    pub(crate) fn give_back(self) {
        self.end();
        self.slot.given_back.fetch_max(self.generation, SeqCst);
        fence(SeqCst);
        self.drop_if_unused();
    }

    /// Drops the value in the slot, if that was given back and nobody is in it. It may be later than this lease's: its owner
    /// found the lock held by this thread.
    #[cold]
    fn drop_if_unused(self) {
        let is_given_back = |generation| self.slot.given_back.load(SeqCst) >= generation;
        while let Some(content) = self.content().try_write() {
            let (generation, has_value) = (content.generation, content.value.is_some());
            if has_value && is_given_back(generation) {
                let value = Self { generation, ..self }.take(content);
                // Not under the lock: that may take a while.
                drop(value);
                return;
            }
            drop(content);
            fence(SeqCst);
            // A value that was given back while this thread had the lock is seen by no other thread, so look again.
            if !has_value || !is_given_back(generation) {
                return;
            }
        }
    }

    /// Takes the value out, and puts the slot on the list.
    fn take(self, mut content: RwLockWriteGuard<'_, SlotContent<T>>) -> Option<Box<T>> {
        if content.generation != self.generation {
            return None;
        }
        let value = content.value.take()?;
        drop(content);
        self.slot.recycler.free.lock().push(self.slot);
        Some(value)
    }
}

/// Leaves a value when dropped. A value that was given back meanwhile is dropped by the last operation that leaves it.
struct WayOut<T: 'static>(Lease<T>);

impl<T> Drop for WayOut<T> {
    #[inline]
    fn drop(&mut self) {
        // One of two is sure: the thread that gives the value back sees the lock free, or this one sees that it was given back.
        if self.0.slot.given_back.load(SeqCst) >= self.0.generation {
            self.0.drop_if_unused();
        }
    }
}

/// A value that stays where it is for as long as this lives.
pub(crate) struct Held<T: 'static> {
    value: MappedRwLockReadGuard<'static, T>,
    /// Behind the guard: fields are dropped in their order.
    way_out: WayOut<T>,
}

impl<T> Held<T> {
    /// The lease of the value.
    pub(crate) const fn lease(&self) -> Lease<T> {
        self.way_out.0
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU32;
    use core::time::Duration;
    use crossbeam_channel::bounded;

    /// Counts the values that exist.
    struct Counted(u64, &'static AtomicU32);

    impl Counted {
        fn new(number: u64, count: &'static AtomicU32) -> Self {
            count.fetch_add(1, SeqCst);
            Self(number, count)
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_sub(1, SeqCst);
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(10)
    }

    #[test]
    fn lease_kept_beyond_the_close_is_refused() {
        static VALUES: Recycler<u64> = Recycler::new();
        let old = VALUES.lend(1);
        assert_eq!(old.enter(|value| *value), Ok(1));
        assert!(matches!(old.close(soon()), Closed::Empty(value) if *value == 1));
        assert_eq!(old.enter(|value| *value), Err(Gone));
        let new = VALUES.lend(2);
        assert!(core::ptr::eq(old.slot, new.slot), "it is used again");
        assert!(old != new && new.enter(|value| *value) == Ok(2));
        assert_eq!(old.enter(|value| *value), Err(Gone));
        assert_eq!(old.look_behind(|value| *value), None);
        assert!(old.lock(0).is_err());
        assert!(matches!(old.close(soon()), Closed::Before));
        old.give_back();
        assert_eq!(new.enter(|value| *value), Ok(2));
        assert!(VALUES.free.lock().is_empty());
    }

    #[test]
    fn slot_with_a_stuck_operation_stays_off_the_list() {
        static VALUES: Recycler<Counted> = Recycler::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let lease = VALUES.lend(Counted::new(1, &COUNT));
        let (entered, is_in) = bounded(1);
        let (release, held) = bounded::<()>(1);
        std::thread::scope(|scope| {
            let stuck = scope.spawn(move || {
                lease.enter(|value| {
                    entered.send(()).unwrap();
                    let _ = held.recv();
                    value.0
                })
            });
            is_in.recv().unwrap();
            assert!(matches!(lease.close(soon()), Closed::Stuck));
            assert!(lease.enter(|_| ()).is_err(), "it was ended");
            assert_eq!(lease.look_behind(|value| value.0), Some(1));
            lease.give_back();
            assert!(VALUES.free.lock().is_empty() && COUNT.load(SeqCst) == 1);
            let other = VALUES.lend(Counted::new(2, &COUNT));
            assert!(!core::ptr::eq(lease.slot, other.slot));
            drop(release);
            assert_eq!(stuck.join().unwrap(), Ok(1));
            assert_eq!(
                (VALUES.free.lock().len(), COUNT.load(SeqCst)),
                (1, 1),
                "the operation dropped it at its end"
            );
            other.give_back();
            assert_eq!((VALUES.free.lock().len(), COUNT.load(SeqCst)), (2, 0));
        });
    }

    #[test]
    fn end_is_seen_without_waiting_for_the_lock() {
        static VALUES: Recycler<u64> = Recycler::new();
        let lease = VALUES.lend(1);
        // The lock as a close has it while it waits for an operation.
        let closing = lease.content().write();
        lease.end();
        assert_eq!(lease.enter(|value| *value), Err(Gone));
        drop(closing);
        assert_eq!(
            lease.enter(|value| *value),
            Err(Gone),
            "it came to nothing, and ended the value all the same"
        );
    }

    #[test]
    fn operation_held_up_by_a_close_does_not_begin_after_it() {
        static VALUES: Recycler<u64> = Recycler::new();
        let lease = VALUES.lend(1);
        std::thread::scope(|scope| {
            let closing = lease.content().write();
            let late = scope.spawn(move || lease.enter(|value| *value));
            std::thread::sleep(Duration::from_millis(50));
            lease.end();
            drop(closing);
            assert_eq!(late.join().unwrap(), Err(Gone));
        });
    }

    #[test]
    fn values_lent_while_others_are_given_back_are_their_own() {
        static VALUES: Recycler<Counted> = Recycler::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        const THREADS: u64 = 4;
        let (leases, seen) = bounded::<(Lease<Counted>, u64)>(1);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (leases, seen) = (leases.clone(), seen.clone());
                scope.spawn(move || {
                    for round in 0..5_000 {
                        let number = thread << 32 | round;
                        let lease = VALUES.lend(Counted::new(number, &COUNT));
                        let _ = leases.try_send((lease, number));
                        assert_eq!(lease.enter(|value| value.0), Ok(number));
                        // The lease of another thread, which closes it meanwhile.
                        if let Ok((other, number)) = seen.try_recv() {
                            let found = other.enter(|value| value.0);
                            assert!(found == Err(Gone) || found == Ok(number), "{found:?}");
                        }
                        if round % 2 == 0 {
                            lease.give_back();
                        } else {
                            let closed = lease.close(Instant::now() + Duration::from_secs(60));
                            assert!(matches!(closed, Closed::Empty(value) if value.0 == number));
                        }
                        assert!(lease.enter(|_| ()).is_err());
                    }
                });
            }
        });
        let slots = VALUES.free.lock().len() as u64;
        assert!((1..=2 * THREADS).contains(&slots), "{slots}");
        assert_eq!(COUNT.load(SeqCst), 0, "all were dropped");
    }

    #[test]
    fn value_given_back_as_others_leave_it_is_dropped_once() {
        static VALUES: Recycler<Counted> = Recycler::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        for number in 0..5_000 {
            let lease = VALUES.lend(Counted::new(number, &COUNT));
            let held = [(); 2].map(|()| lease.hold().unwrap());
            std::thread::scope(|scope| {
                for held in held {
                    scope.spawn(move || drop(held));
                }
                lease.give_back();
            });
            assert_eq!((VALUES.free.lock().len(), COUNT.load(SeqCst)), (1, 0));
        }
    }

    #[test]
    fn stale_lease_at_a_give_back_leaves_nothing_behind() {
        static VALUES: Recycler<Counted> = Recycler::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        use core::sync::atomic::AtomicBool;
        static OVER: AtomicBool = AtomicBool::new(false);
        let old = VALUES.lend(Counted::new(0, &COUNT));
        old.give_back();
        let (mut leaked, mut waits) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while !OVER.load(SeqCst) {
                    assert!(old.enter(|_| ()).is_err());
                }
            });
            for number in 0..200_000 {
                let lease = VALUES.lend(Counted::new(number, &COUNT));
                lease.give_back();
                if COUNT.load(SeqCst) != leaked {
                    // Not held by anybody, and still there.
                    std::thread::sleep(Duration::from_millis(5));
                    leaked = COUNT.load(SeqCst);
                    waits += 1;
                    // On a machine where the two threads meet at each turn, so many turns tell enough.
                    if waits == 1_000 {
                        break;
                    }
                }
            }
            OVER.store(true, SeqCst);
        });
        assert_eq!(leaked, 0, "values that nobody will ever drop");
    }

    #[test]
    fn stale_lease_in_the_slot_drops_the_value_given_back() {
        // The stale operation stands where `hold` has the lock for reading.
        static VALUES: Recycler<Counted> = Recycler::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let old = VALUES.lend(Counted::new(0, &COUNT));
        old.give_back();
        let new = VALUES.lend(Counted::new(1, &COUNT));
        let way_out = WayOut(old);
        let content = old.content().try_read().unwrap();
        new.give_back();
        drop(content);
        drop(way_out);
        assert_eq!((COUNT.load(SeqCst), VALUES.free.lock().len()), (0, 1));
    }

    #[test]
    fn row_is_locked_one_by_one_until_it_is_emptied() {
        static ROWS: Recycler<u64, 3> = Recycler::new();
        let old = ROWS.lend_row([1, 2]);
        let first = old.lock(0).unwrap();
        assert_eq!(old.lock(1).ok().as_deref(), Some(&2), "beside the first one");
        assert!(old.lock(2).is_err() && old.lock(3).is_err());
        drop(first);
        old.end();
        assert!(old.has_ended() && old.lock(0).is_ok(), "only emptying it closes it");
        old.empty();
        let new = ROWS.lend_row([3, 4, 5]);
        assert!(core::ptr::eq(old.slot, new.slot));
        assert!((0..3).all(|cell| old.lock(cell).is_err()));
        assert_eq!(new.lock(2).ok().as_deref(), Some(&5));
        assert!(!new.has_ended());
    }
}
