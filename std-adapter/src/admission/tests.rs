use core::time::Duration;
use std::time::Instant;

use coldpress_core::format::KeyHash;

use super::lines::{Go, WRITES_PER_PERMIT};
use super::*;
use crate::recycled::{Gone, Held, Lease, Recycler};

/// More than any client needs.
const PLENTY: Spare = Spare { places: u32::MAX, bytes: u64::MAX };

static SLOTS: Recycler<Admission> = Recycler::new();

impl AdmissionLease for Lease<Admission> {
    fn reach<R>(self, look: impl FnOnce(&Admission) -> R) -> Option<R> {
        self.enter(look).ok()
    }
}

pub(super) fn admission() -> (Lease<Admission>, Held<Admission>) {
    let lease = SLOTS.lend(Admission::default());
    (lease, lease.hold().unwrap())
}

pub(super) fn waiting(lease: Lease<Admission>) -> Waiting<Lease<Admission>> {
    Waiting::new(lease).unwrap()
}

pub(super) fn look(admission: &Admission, is_idle: bool) {
    let look = WorkerView { is_changed: true, is_idle, pending_bytes_max: 1 << 20, enough_for: 0 };
    admission.look_after(look);
}

#[test]
fn permits_are_given_in_the_order_of_age() {
    let (mut lines, mut woken) = (Lines::default(), Vec::new());
    let numbers: Vec<u64> = (0..4).map(|client| lines.enter(client)).collect();
    for number in [numbers[2], numbers[0], numbers[3], numbers[1]] {
        lines.stand(number, Line::Permit(10));
    }
    let mut left = 25;
    let reserve = |bytes: u64| {
        let has_space = bytes <= left;
        left -= if has_space { bytes } else { 0 };
        has_space
    };
    lines.grant(PLENTY, reserve, &mut woken);
    assert_eq!(woken, [0, 1], "no more than there is room for");
    assert_eq!(lines.take(numbers[0]), Some(Go::Permit(10)));
    assert_eq!(lines.take(numbers[2]), None);
    assert_eq!(lines.leave(numbers[0], true, &mut woken), None, "it took its permit");
    assert_eq!(lines.leave(numbers[1], false, &mut woken), Some(10), "it did not");
    assert_eq!(woken, [0, 1], "permits are the worker's to give");
    lines.grant(PLENTY, |_| true, &mut woken);
    assert_eq!(woken, [0, 1, 2, 3]);
}

#[test]
fn permits_leave_space_for_several_writes_of_each() {
    for (spare, expected) in [
        (Spare { places: 0, bytes: 0 }, 1),
        (Spare { places: 2 * WRITES_PER_PERMIT + 1, bytes: u64::MAX }, 3),
        (Spare { places: u32::MAX, bytes: u64::from(WRITES_PER_PERMIT) * 10 * 4 - 1 }, 4),
    ] {
        let (mut lines, mut woken) = (Lines::default(), Vec::new());
        for client in 0..9 {
            let number = lines.enter(client);
            lines.stand(number, Line::Permit(10));
        }
        lines.grant(spare, |_| true, &mut woken);
        assert_eq!(woken, (0..expected).collect::<Vec<_>>(), "{spare:?}");
    }
}

#[test]
fn success_calls_the_next_two_and_failure_keeps_its_place() {
    let (mut lines, mut woken) = (Lines::default(), Vec::new());
    let numbers: Vec<u64> = (0..5).map(|client| lines.enter(client)).collect();
    numbers.iter().for_each(|number| lines.stand(*number, Line::Capacity { needs: 0 }));
    lines.ring(true, 0, &mut woken);
    assert_eq!(core::mem::take(&mut woken), [0]);
    assert_eq!(lines.take(numbers[0]), Some(Go::Called));
    lines.leave(numbers[0], true, &mut woken);
    assert_eq!(core::mem::take(&mut woken), [1, 2]);
    lines.stand(numbers[1], Line::Capacity { needs: 0 });
    lines.leave(numbers[2], false, &mut woken);
    assert_eq!(core::mem::take(&mut woken), [1], "what it gave up is the next one's, by age");
    assert_eq!(lines.waiting_for_capacity(), 3, "one that found too little is not passed any more");
    lines.ring(true, 9, &mut woken);
    assert_eq!(
        core::mem::take(&mut woken),
        [0i32; 0],
        "nobody is called beside one that found too little before"
    );
    lines.leave(numbers[1], true, &mut woken);
    assert_eq!(woken, [3, 4]);
}

#[test]
fn needs_of_those_who_have_not_asked_are_taken_once() {
    let (mut lines, mut woken) = (Lines::default(), Vec::new());
    let numbers: Vec<u64> = (0..4).map(|client| lines.enter(client)).collect();
    numbers.iter().for_each(|number| lines.stand(*number, Line::Capacity { needs: 10 }));
    lines.ring(true, 0, &mut woken);
    lines.leave(numbers[3], false, &mut woken);
    assert_eq!(lines.take_needs(), 20, "one asks for itself, one is gone");
    lines.leave(numbers[1], false, &mut woken);
    lines.stand(numbers[0], Line::Capacity { needs: 7 });
    assert_eq!(lines.take_needs(), 7);
    assert_eq!(lines.take_needs(), 0);
}

#[test]
fn client_that_panics_leaves_its_permit_and_place_to_the_next() {
    let (lease, admission) = admission();
    admission.budget.set_taken(QUEUED_MAX - 1, 0);
    let (first, second) = (waiting(lease), waiting(lease));
    first.stand(Line::Permit(100));
    second.stand(Line::Permit(100));
    look(&admission, true);
    assert_eq!(second.turn(true, 100), Turn::Wait, "the last place is the older one's");
    let panicked = std::thread::spawn(move || {
        let _waits = first;
        panic!("as a client does");
    });
    assert!(panicked.join().is_err());
    look(&admission, true);
    assert_eq!(second.turn(true, 100), Turn::Try { has_permit: true });
    drop(second);
    assert!(!admission.has_waiters());
}

#[test]
fn newcomer_after_a_full_queue_passes_no_waiter() {
    let (lease, admission) = admission();
    assert_eq!(admission.turn(true, 100), Turn::Try { has_permit: false });
    let waiting = waiting(lease);
    admission.shut();
    waiting.stand(Line::Permit(100));
    assert_eq!(admission.turn(true, 100), Turn::Behind(Line::Permit(100)));
    admission.budget.set_taken(QUEUED_MAX, 0);
    look(&admission, false);
    assert_eq!(admission.turn(false, 100), Turn::Behind(Line::Permit(100)), "nothing is free");
    admission.budget.set_taken(0, 0);
    look(&admission, false);
    assert_eq!(waiting.turn(true, 100), Turn::Try { has_permit: true });
    assert_eq!(admission.budget.queued(), 1, "reserved for it");
    assert_eq!(admission.turn(true, 100), Turn::Try { has_permit: false }, "there is more");
    waiting.done();
}

#[test]
fn waiter_goes_on_once_an_eighth_is_free() {
    let eighth = QUEUED_MAX / FREE_PART;
    for (taken, taken_bytes, is_enough) in [
        (QUEUED_MAX - eighth + 1, 0, false),
        (QUEUED_MAX - eighth, 0, true),
        (0, (7 << 17) + 1, false),
        (0, 7 << 17, true),
    ] {
        let (lease, admission) = admission();
        let waiting = waiting(lease);
        waiting.stand(Line::Permit(100));
        admission.budget.set_taken(taken, 0);
        admission.budget.change_bytes(0, taken_bytes);
        look(&admission, false);
        assert_eq!(waiting.is_called(), is_enough, "{taken} places and {taken_bytes} bytes are taken");
    }
}

#[test]
fn short_writes_that_arrive_pass_no_long_one_that_waits() {
    let (lease, admission) = admission();
    let waiting = waiting(lease);
    admission.shut();
    waiting.stand(Line::Permit(1 << 20));
    admission.budget.change_bytes(0, 1);
    look(&admission, false);
    assert_eq!(admission.turn(true, 100), Turn::Behind(Line::Permit(100)), "they would take its bytes");
    look(&admission, true);
    assert_eq!(admission.turn(false, 100), Turn::Try { has_permit: false }, "nothing else gives bytes");
    admission.shut();
    admission.budget.change_bytes(1, 0);
    look(&admission, false);
    assert_eq!(waiting.turn(true, 1 << 20), Turn::Try { has_permit: true });
    waiting.done();
}

#[test]
fn remove_stands_behind_no_put_that_waits_for_capacity() {
    let (lease, admission) = admission();
    let (put, later) = (waiting(lease), waiting(lease));
    put.stand(Line::Capacity { needs: 0 });
    assert_eq!(admission.turn(false, 10), Turn::Try { has_permit: false });
    assert_eq!(admission.turn(true, 10), Turn::Behind(Line::Capacity { needs: 0 }));
    // One that got a place meanwhile gives it back: others wait for capacity before it.
    later.stand(Line::Permit(10));
    look(&admission, true);
    assert_eq!(put.turn(true, 10), Turn::Try { has_permit: false }, "it was called");
    put.stand(Line::Capacity { needs: 0 });
    assert_eq!(later.turn(true, 10), Turn::Behind(Line::Capacity { needs: 0 }));
    assert_eq!(admission.budget.queued(), 0);
    assert_eq!(admission.budget.pending_bytes(), 0);
}

#[test]
fn emptied_partition_forgets_permits_and_those_who_had_them() {
    let (lease, admission) = admission();
    let (late, later) = (waiting(lease), waiting(lease));
    late.stand(Line::Permit(100));
    later.stand(Line::Capacity { needs: 0 });
    look(&admission, true);
    drop(admission);
    lease.give_back();
    assert!(Waiting::new(lease).is_none());
    let admission = SLOTS.lend(Admission::default()).hold().unwrap();
    // They do not sleep although nobody calls them.
    late.sleep_until(Instant::now() + Duration::from_secs(3600));
    later.sleep_until(Instant::now() + Duration::from_secs(3600));
    drop((late, later));
    assert_eq!(admission.budget.queued(), 0, "what was reserved went with the tier");
    assert_eq!(admission.turn(true, 100), Turn::Try { has_permit: false });
}

/// Three clients, each of which needs a place and then capacity; places and capacity are given back bit by bit.
struct World {
    lines: Lines<usize>,
    numbers: [Option<u64>; CLIENTS],
    /// Where each stands, and whether it is through.
    is_through: [bool; CLIENTS],
    woken: Vec<usize>,
    places: u64,
    capacity: u64,
}

const CLIENTS: usize = 3;
const PLACES: u64 = 1;
/// The capacity that each client needs.
const NEEDS: [u64; CLIENTS] = [1, 2, 1];

impl World {
    fn new() -> Self {
        Self {
            lines: Lines::default(),
            numbers: [None; CLIENTS],
            is_through: [false; CLIENTS],
            woken: Vec::new(),
            places: PLACES,
            capacity: 0,
        }
    }

    /// A client comes, or goes on if it is awake; with a place it tries for capacity, and gives the place back in any case.
    fn go(&mut self, client: usize) {
        if self.is_through[client] {
            return;
        }
        let Some(number) = self.numbers[client] else {
            let number = self.lines.enter(client);
            self.numbers[client] = Some(number);
            self.lines.stand(number, Line::Permit(1));
            return;
        };
        match self.lines.take(number) {
            None => {}
            Some(Go::Called) => self.lines.stand(number, Line::Permit(1)),
            Some(Go::Permit(bytes)) => {
                self.places += bytes;
                if self.lines.is_behind_for_capacity(number) || self.capacity < NEEDS[client] {
                    self.lines.stand(number, Line::Capacity { needs: 0 });
                } else {
                    self.capacity -= NEEDS[client];
                    self.is_through[client] = true;
                    assert_eq!(self.lines.leave(number, true, &mut self.woken), None);
                }
            }
        }
    }

    /// A client gives up, as at its deadline or in a panic.
    fn give_up(&mut self, client: usize) {
        if let Some(number) = self.numbers[client].filter(|_| !self.is_through[client]) {
            self.places += self.lines.leave(number, false, &mut self.woken).unwrap_or(0);
            self.is_through[client] = true;
        }
    }

    /// The worker looks after them.
    fn look(&mut self, given: u64) {
        self.capacity += given;
        let (places, oldest) = (&mut self.places, self.lines.oldest_for_permit());
        let reserve = |bytes| {
            let has_space = bytes <= *places;
            *places -= if has_space { bytes } else { 0 };
            has_space
        };
        let before = self.woken.len();
        self.lines.grant(PLENTY, reserve, &mut self.woken);
        if let Some(first) = self.woken.get(before) {
            assert_eq!(self.numbers[*first], oldest, "permits go to the oldest");
        }
        self.lines.ring(given > 0, 0, &mut self.woken);
    }

    fn step(&mut self, step: usize) {
        match step {
            0..3 => self.go(step),
            3..6 => self.give_up(step - 3),
            6 => self.look(0),
            _ => self.look(1),
        }
    }
}

#[test]
fn every_interleaving_of_three_clients_lets_all_of_them_through() {
    const STEPS: usize = 8;
    const LENGTH: u32 = if cfg!(debug_assertions) { 5 } else { 6 };
    for history in 0..STEPS.pow(LENGTH) {
        let mut world = World::new();
        let steps = (0..LENGTH).map(|at| history / STEPS.pow(at) % STEPS);
        steps.for_each(|step| world.step(step));
        // From here on only those go on who were woken, or come now; and the worker gives enough for all, bit by bit.
        (0..CLIENTS)
            .filter(|client| world.numbers[*client].is_none())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|client| {
                world.go(client);
            });
        for _ in 0..16 {
            world.look(1);
            for _ in 0..CLIENTS {
                let awake = |client: &usize| {
                    world.numbers[*client].is_some_and(|number| world.lines.is_awake(number))
                };
                let awake: Vec<usize> = (0..CLIENTS).filter(awake).collect();
                awake.into_iter().for_each(|client| world.go(client));
            }
        }
        assert_eq!(world.is_through, [true; CLIENTS], "history {history}");
        assert_eq!((world.lines.clients(), world.places), (0, PLACES), "history {history}");
        assert_eq!((world.lines.waiting_for_permits(), world.lines.waiting_for_capacity()), (0, 0));
    }
}

/// Far more than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

const KEY: KeyHash = KeyHash([1; 12]);

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

fn claim(
    lease: Lease<Admission>,
    deadline: Instant,
    check: impl Fn() -> Result<(), Gone>,
) -> Result<Option<KeyClaim<Lease<Admission>>>, Gone> {
    KeyClaim::wait_for(lease, KEY, deadline, check)
}

/// Waits until so many clients want a key.
fn until_clients_stand(admission: &Admission, clients: usize) {
    while admission.lines.lock().key_clients() < clients {
        std::thread::yield_now();
    }
}

#[test]
fn key_released_or_dropped_in_a_panic_goes_on_in_order() {
    let (lease, admission) = admission();
    let first = claim(lease, soon(), || Ok(())).unwrap().unwrap();
    assert!(admission.has_keys_held() && !admission.has_waiters(), "the worker gives no keys");
    let (order, came) = crossbeam_channel::unbounded();
    std::thread::scope(|scope| {
        for client in 0..4 {
            let order = order.clone();
            scope.spawn(move || {
                let key = claim(lease, Instant::now() + PATIENCE, || Ok(())).unwrap().unwrap();
                order.send(client).unwrap();
                let outcome = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
                    let _key = key;
                    assert!(client % 2 == 0, "every other one dies with it");
                }));
                assert_eq!(outcome.is_ok(), client % 2 == 0);
            });
            until_clients_stand(&admission, client + 2);
        }
        assert!(came.is_empty());
        drop(first);
    });
    assert_eq!(came.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(!admission.has_keys_held());
}

#[test]
fn wait_for_a_key_ends_at_the_deadline_or_with_an_error() {
    let (lease, admission) = admission();
    let _first = claim(lease, soon(), || Ok(())).unwrap().unwrap();
    assert!(claim(lease, soon(), || Ok(())).unwrap().is_none());
    assert_eq!(admission.lines.lock().key_clients(), 1, "it left its place");
    // As a worker that dies, and a medium that fails: posted first, and alerted then.
    let is_bad = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let check = || if is_bad.load(Ordering::Relaxed) { Err(Gone) } else { Ok(()) };
        let waits = scope.spawn(move || claim(lease, Instant::now() + PATIENCE, check).map(|_| ()));
        until_clients_stand(&admission, 2);
        admission.alert();
        std::thread::sleep(Duration::from_millis(20));
        assert!(!waits.is_finished(), "an alert alone ends nothing");
        is_bad.store(true, Ordering::Relaxed);
        admission.alert();
        assert_eq!(waits.join().unwrap(), Err(Gone));
    });
    // One that comes later sees it without an alert.
    assert_eq!(claim(lease, Instant::now() + PATIENCE, || Err(Gone)).map(|_| ()), Err(Gone));
}

/// A client enters, stands, looks at the state, and sleeps. Another thread ends the partition before one of these steps, or in the sleep.
#[test]
fn end_of_a_partition_wakes_a_client_at_every_moment() {
    const IN_SLEEP: usize = 3;
    for moment in 0..=IN_SLEEP {
        let (lease, admission) = admission();
        let (begun, end) = (Instant::now(), || {
            lease.end();
            lease.look_behind(Admission::alert).unwrap();
        });
        let wait = || {
            let before = |step| {
                if step == moment {
                    end()
                }
            };
            before(0);
            let Some(client) = Waiting::new(lease) else { return };
            before(1);
            client.stand(Line::Permit(10));
            before(2);
            client.sleep_until(begun + PATIENCE);
        };
        std::thread::scope(|scope| {
            let waits = scope.spawn(wait);
            if moment == IN_SLEEP {
                while admission.lines.lock().waiting_for_permits() == 0 {
                    std::thread::yield_now();
                }
                std::thread::sleep(Duration::from_millis(20));
                assert!(!waits.is_finished());
                end();
            }
        });
        assert!(begun.elapsed() < PATIENCE, "it slept on, at {moment}");
    }
}

#[test]
fn clients_that_race_with_the_end_of_a_partition_all_wake() {
    for _ in 0..300 {
        let (lease, admission) = admission();
        std::thread::scope(|scope| {
            for line in [Line::Permit(1), Line::Capacity { needs: 1 }, Line::Message] {
                scope.spawn(move || {
                    let far = Instant::now() + PATIENCE;
                    let attempt = |waiting: &mut Option<Waiting<_>>, _: &Tries<'_>| {
                        waiting.insert(Waiting::new(lease).ok_or(Gone)?).stand(line);
                        Ok::<Option<()>, _>(None)
                    };
                    assert_eq!(try_until(far, attempt), Err(Gone));
                });
                scope.spawn(move || {
                    let far = Instant::now() + PATIENCE;
                    while claim(lease, far, || lease.enter(|_| ())).is_ok() {}
                });
            }
            lease.end();
            lease.look_behind(Admission::alert).unwrap();
        });
        drop(admission);
        lease.give_back();
    }
}

#[test]
fn every_interleaving_of_key_claims_passes_the_key_on_by_age() {
    const STEPS: usize = 6;
    const LENGTH: u32 = 6;
    for history in 0..STEPS.pow(LENGTH) {
        let (mut lines, mut woken) = (Lines::default(), Vec::new());
        let mut numbers = [None; CLIENTS];
        let mut holder: Option<usize> = None;
        let end = |lines: &mut Lines<usize>,
                   woken: &mut Vec<usize>,
                   numbers: &mut [Option<u64>; CLIENTS],
                   client: usize| {
            if let Some(number) = numbers[client].take() {
                assert_eq!(lines.leave(number, false, woken), None);
            }
        };
        for step in (0..LENGTH).map(|at| history / STEPS.pow(at) % STEPS) {
            let client = step % CLIENTS;
            let before = woken.len();
            if step < CLIENTS {
                // Comes, if it is not there.
                let number = *numbers[client].get_or_insert_with(|| lines.enter(client));
                lines.stand(number, Line::Key(KEY));
            } else {
                // Releases the key, or gives up.
                end(&mut lines, &mut woken, &mut numbers, client);
            }
            let oldest = (0..CLIENTS)
                .filter(|client| numbers[*client].is_some())
                .min_by_key(|client| numbers[*client]);
            let has_key =
                |client: &usize| numbers[*client].is_some_and(|number| lines.take(number).is_some());
            assert_eq!(
                (0..CLIENTS).filter(has_key).collect::<Vec<_>>(),
                Vec::from_iter(oldest),
                "history {history}"
            );
            let is_passed_on = oldest.is_some() && holder.is_some() && oldest != holder;
            assert_eq!(woken[before..], Vec::from_iter(oldest.filter(|_| is_passed_on)), "history {history}");
            holder = oldest;
        }
        assert_eq!(lines.clients(), 0, "the worker looks after none of them");
        (0..CLIENTS).for_each(|client| end(&mut lines, &mut woken, &mut numbers, client));
        assert_eq!((lines.keys_held(), lines.key_clients()), (0, 0));
    }
}
