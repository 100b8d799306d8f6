//! A store that counts, fails and calls back at a chosen operation, and small tiers.

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicBool, AtomicU64};
use core::task::{Context, Poll};
use core::time::Duration;
use std::path::Path as FilePath;
use std::sync::Mutex;

use coldpress_std::archive::ArchiveTimer as _;
use coldpress_std::archive::object_store::memory::InMemory;
use coldpress_std::archive::object_store::path::Path;
use coldpress_std::archive::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use coldpress_std::{ColdTier, ColdTierConfig};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use crate::virtual_time::VirtualTimer;

/// Runs a future on this thread, without a runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let thread = std::thread::current();
    let waker = waker_fn::waker_fn(move || thread.unpark());
    let (mut future, mut cx) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A fault at an operation of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// This one fails.
    Once(u64),
    /// This one and all later ones fail, as after the end of the process.
    Stop(u64),
    /// This one is done, and its answer is lost; all later ones fail.
    Unanswered(u64),
    /// A put stores the first half of its bytes, and all later operations fail. No manifest is torn: a conditional put is atomic.
    Torn(u64),
}

type Call = Box<dyn FnMut() + Send>;

/// A store in memory with faults.
pub(crate) struct Doubtful {
    pub(crate) inner: InMemory,
    fault: Mutex<Fault>,
    call: Mutex<Option<(u64, Call)>>,
    operations: AtomicU64,
    /// How long each operation takes, in microseconds.
    pub(crate) pause_us: AtomicU64,
    pub(crate) puts: AtomicU64,
    pub(crate) put_bytes: AtomicU64,
    /// Puts that are under way, and the most that ever were.
    under_way: AtomicU64,
    pub(crate) most_under_way: AtomicU64,
    /// How many times each operation lets others go on; `None` for different numbers.
    yields: Option<u64>,
    /// How long each operation takes in virtual time.
    latency: Option<(&'static VirtualTimer, Duration)>,
    /// When operations began, in virtual time, and when puts did, with their bytes.
    pub(crate) steps: Mutex<Vec<Duration>>,
    pub(crate) begun: Mutex<Vec<(Duration, u64)>>,
    each: Mutex<Option<Call>>,
    pub(crate) fail_deletes: AtomicBool,
}

impl Doubtful {
    pub(crate) fn new() -> Self {
        Self {
            inner: InMemory::new(),
            fault: Mutex::new(Fault::None),
            call: Mutex::new(None),
            operations: AtomicU64::new(0),
            pause_us: AtomicU64::new(0),
            puts: AtomicU64::new(0),
            put_bytes: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            most_under_way: AtomicU64::new(0),
            yields: None,
            latency: None,
            steps: Mutex::default(),
            begun: Mutex::default(),
            each: Mutex::new(None),
            fail_deletes: AtomicBool::new(false),
        }
    }

    /// Each operation takes so long.
    pub(crate) fn with_latency(timer: &'static VirtualTimer, latency: Duration) -> Self {
        Self { latency: Some((timer, latency)), ..Self::new() }
    }

    /// Each operation lets others go on so many times.
    pub(crate) fn with_yields(yields: u64) -> Self {
        Self { yields: Some(yields), ..Self::new() }
    }

    /// Calls in front of each operation, until the next [`begin`](Self::begin).
    pub(crate) fn call_at_each(&self, call: impl FnMut() + Send + 'static) {
        self.begin(Fault::None);
        *self.each.lock().unwrap() = Some(Box::new(call));
    }

    fn now(&self) -> Duration {
        self.latency.map_or(Duration::ZERO, |(timer, _)| timer.now())
    }

    /// An operation takes its time; others end before it, and in another order than they began.
    async fn take_time(&self, at: u64) {
        match self.latency {
            Some((timer, latency)) => timer.sleep_until(timer.now() + latency).await,
            None => yield_times(self.yields.unwrap_or(at * 5 % 7)).await,
        }
    }

    /// Counts operations from 0 again, with a fault.
    pub(crate) fn begin(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
        *self.call.lock().unwrap() = None;
        *self.each.lock().unwrap() = None;
        self.steps.lock().unwrap().clear();
        self.begun.lock().unwrap().clear();
        for count in [&self.operations, &self.puts, &self.put_bytes] {
            count.store(0, SeqCst);
        }
    }

    /// Calls once, in front of an operation.
    pub(crate) fn call_at(&self, operation: u64, call: impl FnMut() + Send + 'static) {
        self.begin(Fault::None);
        *self.call.lock().unwrap() = Some((operation, Box::new(call)));
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations.load(SeqCst)
    }

    fn failed() -> Error {
        Error::Generic { store: "doubtful", source: "as the test wants".into() }
    }

    /// Counts an operation; returns its number, and whether its answer is lost.
    fn step(&self) -> Result<(u64, bool)> {
        let at = self.operations.fetch_add(1, SeqCst);
        self.steps.lock().unwrap().push(self.now());
        let mut each = self.each.lock().unwrap().take();
        if let Some(call) = &mut each {
            call();
            *self.each.lock().unwrap() = each;
        }
        std::thread::sleep(Duration::from_micros(self.pause_us.load(SeqCst)));
        let due = self.call.lock().unwrap().take_if(|(wanted, _)| *wanted == at);
        if let Some((_, mut call)) = due {
            call();
        }
        match *self.fault.lock().unwrap() {
            Fault::Once(n) if at == n => Err(Self::failed()),
            Fault::Stop(n) if at >= n => Err(Self::failed()),
            Fault::Unanswered(n) | Fault::Torn(n) if at > n => Err(Self::failed()),
            Fault::Unanswered(n) => Ok((at, at == n)),
            _ => Ok((at, false)),
        }
    }

    fn is_torn(&self, at: u64) -> bool {
        matches!(*self.fault.lock().unwrap(), Fault::Torn(n) if at == n)
    }

    async fn put_now(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.puts.fetch_add(1, SeqCst);
        self.put_bytes.fetch_add(payload.content_length() as u64, SeqCst);
        self.inner.put_opts(path, payload, options).await
    }

    fn answer<R>(is_lost: bool, answer: R) -> Result<R> {
        if is_lost { Err(Self::failed()) } else { Ok(answer) }
    }
}

/// A put that is counted while it is under way.
struct UnderWay<'a>(&'a Doubtful);

impl<'a> UnderWay<'a> {
    fn begin(store: &'a Doubtful) -> Self {
        let count = store.under_way.fetch_add(1, SeqCst) + 1;
        store.most_under_way.fetch_max(count, SeqCst);
        Self(store)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, SeqCst);
    }
}

/// Lets the other futures of the task go on so many times.
async fn yield_times(mut times: u64) {
    poll_fn(|cx| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl fmt::Debug for Doubtful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doubtful")
    }
}

impl fmt::Display for Doubtful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doubtful")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Doubtful {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (at, is_lost) = self.step()?;
        let _under_way = UnderWay::begin(self);
        self.begun.lock().unwrap().push((self.now(), payload.content_length() as u64));
        if self.is_torn(at) {
            let bytes: Vec<u8> = payload.iter().flat_map(|part| part.to_vec()).collect();
            if !path.as_ref().contains("manifests") {
                self.inner.put(path, bytes[..bytes.len() / 2].to_vec().into()).await?;
            }
            return Err(Self::failed());
        }
        // Broken off meanwhile, one half of them is done.
        let put = if at.is_multiple_of(2) {
            self.take_time(at).await;
            self.put_now(path, payload, options).await?
        } else {
            let put = self.put_now(path, payload, options).await?;
            self.take_time(at).await;
            put
        };
        Self::answer(is_lost, put)
    }

    async fn put_multipart_opts(
        &self,
        _path: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(Self::failed())
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let (at, is_lost) = self.step()?;
        self.take_time(at).await;
        let got = self.inner.get_opts(path, options).await?;
        Self::answer(is_lost, got)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.step() {
            Err(error) => futures_util::stream::once(async { Err(error) }).boxed(),
            Ok(_) if self.fail_deletes.load(SeqCst) => {
                futures_util::stream::once(async { Err(Self::failed()) }).boxed()
            }
            Ok((_, is_lost)) => {
                let deleted = self.inner.delete_stream(paths);
                deleted.map(move |path| path.and_then(|path| Self::answer(is_lost, path))).boxed()
            }
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.step() {
            Ok((_, false)) => self.inner.list(prefix),
            _ => futures_util::stream::once(async { Err(Self::failed()) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

pub(crate) fn prefix() -> Path {
    Path::from("backups/t")
}

/// Two partitions of 16 segments of 64 KiB.
pub(crate) fn config() -> ColdTierConfig {
    let config = ColdTierConfig::builder().capacity_bytes(2 << 20).segment_bytes(64 << 10);
    config.partitions(2).value_bytes_max(8 << 10).build().unwrap()
}

pub(crate) fn open(base: &FilePath, name: &str) -> ColdTier {
    let (_manager, pools) = coldpress_std::pool::AllocationManager::new(
        &coldpress_std::pool::PoolConfig::builder().build().unwrap(),
    )
    .unwrap();
    ColdTier::open(base, name, config(), pools).unwrap()
}

/// A value that no codec shortens.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    core::iter::repeat_with(next).take(bytes).collect()
}

/// Puts values of one version under keys.
pub(crate) fn put_all(tier: &ColdTier, keys: core::ops::Range<u64>, version: u64) {
    for key in keys {
        tier.put(&key.to_le_bytes(), &noise(key * 1000 + version, 1000)).unwrap();
    }
}

/// Asserts that keys have the values of a version.
pub(crate) fn assert_all(tier: &ColdTier, keys: core::ops::Range<u64>, version: u64) {
    for key in keys {
        let found = tier.get(&key.to_le_bytes()).unwrap();
        assert!(
            found.as_deref() == Some(&noise(key * 1000 + version, 1000)[..]),
            "key {key}, version {version}"
        );
    }
}
