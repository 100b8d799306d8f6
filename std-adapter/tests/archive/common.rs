//! A store that counts, fails and calls back at a chosen operation, and small tiers.

use core::fmt;
use core::future::Future;
use core::pin::pin;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::SeqCst;
use core::task::{Context, Poll};
use std::path::Path as FilePath;
use std::sync::Mutex;

use coldpress_std::archive::object_store::memory::InMemory;
use coldpress_std::archive::object_store::path::Path;
use coldpress_std::archive::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use coldpress_std::{ColdTier, ColdTierConfig};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

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
        }
    }

    /// Counts operations from 0 again, with a fault.
    pub(crate) fn begin(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
        *self.call.lock().unwrap() = None;
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

    /// Counts an operation; tells whether its answer is lost.
    fn step(&self) -> Result<bool> {
        let at = self.operations.fetch_add(1, SeqCst);
        std::thread::sleep(core::time::Duration::from_micros(self.pause_us.load(SeqCst)));
        let due = self.call.lock().unwrap().take_if(|(wanted, _)| *wanted == at);
        if let Some((_, mut call)) = due {
            call();
        }
        match *self.fault.lock().unwrap() {
            Fault::Once(n) if at == n => Err(Self::failed()),
            Fault::Stop(n) if at >= n => Err(Self::failed()),
            Fault::Unanswered(n) | Fault::Torn(n) if at > n => Err(Self::failed()),
            Fault::Unanswered(n) => Ok(at == n),
            _ => Ok(false),
        }
    }

    fn is_torn(&self) -> bool {
        matches!(*self.fault.lock().unwrap(), Fault::Torn(n) if self.operations() == n + 1)
    }

    fn answer<R>(is_lost: bool, answer: R) -> Result<R> {
        if is_lost { Err(Self::failed()) } else { Ok(answer) }
    }
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
        let is_lost = self.step()?;
        if self.is_torn() {
            let bytes: Vec<u8> = payload.iter().flat_map(|part| part.to_vec()).collect();
            if !path.as_ref().contains("manifests") {
                self.inner.put(path, bytes[..bytes.len() / 2].to_vec().into()).await?;
            }
            return Err(Self::failed());
        }
        self.puts.fetch_add(1, SeqCst);
        self.put_bytes.fetch_add(payload.content_length() as u64, SeqCst);
        let put = self.inner.put_opts(path, payload, options).await?;
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
        let is_lost = self.step()?;
        let got = self.inner.get_opts(path, options).await?;
        Self::answer(is_lost, got)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.step() {
            Err(error) => futures_util::stream::once(async { Err(error) }).boxed(),
            Ok(is_lost) => {
                let deleted = self.inner.delete_stream(paths);
                deleted.map(move |path| path.and_then(|path| Self::answer(is_lost, path))).boxed()
            }
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.step() {
            Ok(false) => self.inner.list(prefix),
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
