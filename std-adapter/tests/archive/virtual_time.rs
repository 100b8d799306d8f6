//! Time that goes on only while a future waits for nothing else.

use core::fmt;
use core::future::Future;
use core::pin::{Pin, pin};
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::SeqCst;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Mutex;

use coldpress_std::archive::{ArchiveSleep, ArchiveTimer};
use coldpress_std::clock::Clock;
use futures_util::future::join;

/// The time of day at which virtual time begins, in seconds since 1970.
pub(crate) const FIRST_S: u32 = 1_800_000_000;

#[derive(Default)]
struct Sleepers {
    now: Duration,
    /// Each one's waker, and whether it is of the script of a test.
    waiting: BTreeMap<(Duration, u64), (Waker, bool)>,
    issued: u64,
    /// Whether nothing runs any more but the script.
    is_script_alone: bool,
}

/// A timer that a test moves on.
#[derive(Default)]
pub(crate) struct VirtualTimer {
    sleepers: Mutex<Sleepers>,
}

impl fmt::Debug for VirtualTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualTimer({:?})", self.now())
    }
}

impl VirtualTimer {
    pub(crate) fn leak() -> &'static Self {
        Box::leak(Box::default())
    }

    /// Moves the time on by hand.
    pub(crate) fn advance(&self, time: Duration) {
        self.sleepers.lock().unwrap().now += time;
    }

    /// Goes to the moment of the next sleeper and wakes it; tells whether there is one.
    fn go_on(&self) -> bool {
        let mut sleepers = self.sleepers.lock().unwrap();
        // While what is tested waits for the workers of a tier, the script of the test does not move the time on.
        if !sleepers.is_script_alone && sleepers.waiting.values().all(|(_, is_script)| *is_script) {
            return false;
        }
        let Some(((at, _), (waker, _))) = sleepers.waiting.pop_first() else { return false };
        sleepers.now = sleepers.now.max(at);
        drop(sleepers);
        waker.wake();
        true
    }

    /// Waits in the script of a test.
    pub(crate) async fn script_until(&self, at: Duration) {
        VirtualSleep { timer: self, at, number: None, is_script: true }.await;
    }

    /// Runs a future beside the script of a test; returns its output once both are over.
    pub(crate) fn run_beside<F: Future>(&self, future: F, script: impl Future<Output = ()>) -> F::Output {
        self.sleepers.lock().unwrap().is_script_alone = false;
        let tested = async {
            let output = future.await;
            self.sleepers.lock().unwrap().is_script_alone = true;
            output
        };
        self.run(join(tested, script)).0
    }

    /// Runs a future on this thread. Where it waits for nothing but time, the time goes on.
    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        let is_woken: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        let thread = std::thread::current();
        let waker = waker_fn::waker_fn(move || {
            is_woken.store(true, SeqCst);
            thread.unpark();
        });
        let (mut future, mut cx) = (pin!(future), Context::from_waker(&waker));
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            while !is_woken.swap(false, SeqCst) {
                // The workers of the tier need real time, for which the virtual one waits a little.
                std::thread::park_timeout(Duration::from_millis(1));
                if !is_woken.load(SeqCst) {
                    self.go_on();
                }
            }
        }
    }
}

struct VirtualSleep<'a> {
    timer: &'a VirtualTimer,
    at: Duration,
    number: Option<u64>,
    is_script: bool,
}

impl Future for VirtualSleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut sleepers = self.timer.sleepers.lock().unwrap();
        if sleepers.now >= self.at {
            return Poll::Ready(());
        }
        sleepers.issued += 1;
        let number = self.number.unwrap_or(sleepers.issued);
        sleepers.waiting.insert((self.at, number), (cx.waker().clone(), self.is_script));
        drop(sleepers);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for VirtualSleep<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.timer.sleepers.lock().unwrap().waiting.remove(&(self.at, number));
        }
    }
}

impl Clock for VirtualTimer {
    fn wall_s(&self) -> u32 {
        FIRST_S + u32::try_from(self.now().as_secs()).unwrap()
    }
}

impl ArchiveTimer for VirtualTimer {
    fn now(&self) -> Duration {
        self.sleepers.lock().unwrap().now
    }

    fn sleep_until(&self, at: Duration) -> ArchiveSleep<'_> {
        Box::pin(VirtualSleep { timer: self, at, number: None, is_script: false })
    }
}
