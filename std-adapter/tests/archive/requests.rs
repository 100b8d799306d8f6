//! The requests that backups make of a store: `examples/service/OPERATING.md` tells their number.

use core::fmt;
use core::num::NonZeroUsize;
use std::sync::Mutex;

use coldpress_std::archive::object_store::memory::InMemory;
use coldpress_std::archive::object_store::path::Path;
use coldpress_std::archive::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use coldpress_std::archive::{ContinuousArchive, ContinuousOptions};
use futures_util::stream::BoxStream;

use crate::common::{noise, open, prefix, put_all};
use crate::virtual_time::VirtualTimer;

type Call = Box<dyn FnMut(&str) + Send>;

/// A store in memory that notes each request. Several of one kind for segments in a row count once.
struct Noted {
    inner: InMemory,
    requests: Mutex<Vec<String>>,
    /// Called in front of each request.
    call: Mutex<Call>,
}

impl Noted {
    fn note(&self, kind: &str, path: Option<&Path>) {
        let path = path.map_or("", Path::as_ref);
        let below = ["manifests", "segments"].into_iter().find(|part| path.contains(part));
        let request = format!("{kind} {}", below.expect("every request is below one of these"));
        (self.call.lock().unwrap())(&request);
        let mut requests = self.requests.lock().unwrap();
        if !request.ends_with("segments") || requests.last() != Some(&request) {
            requests.push(request);
        }
    }

    fn unexpected<R>() -> Result<R> {
        Err(Error::Generic { store: "noted", source: "no operation of archives".into() })
    }
}

impl fmt::Debug for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Noted")
    }
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Noted")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Noted {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.note(if matches!(options.mode, PutMode::Create) { "create" } else { "put" }, Some(path));
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        _path: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Self::unexpected()
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.note("get", Some(path));
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // The paths come later; only segments are ever deleted.
        self.note("delete", Some(&Path::from("segments")));
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.note("list", prefix);
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        Self::unexpected()
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Self::unexpected()
    }
}

#[test]
fn continuous_backups_make_the_requests_of_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let timer = VirtualTimer::leak();
    let tier = open(dir.path(), "t");
    put_all(&tier, 0..100, 0);
    let archive: &'static ContinuousArchive = Box::leak(Box::new(ContinuousArchive::with_timer(timer)));
    let handle = tier.handle();
    let mut created = 0;
    let call = move |request: &str| {
        created += u32::from(request == "create manifests");
        // While the first two backups end, everything is written again, so that the next ones have something to upload.
        if created < 3 && request == "create manifests" {
            for key in 0..100u64 {
                handle.put(&key.to_le_bytes(), &noise(u64::from(created) * 1000 + key, 1000)).unwrap();
            }
        }
        if archive.stats().unchanged == 1 {
            archive.stop();
        }
    };
    let store =
        Noted { inner: InMemory::new(), requests: Mutex::default(), call: Mutex::new(Box::new(call)) };
    let mut options = ContinuousOptions::default();
    options.keep = NonZeroUsize::new(2);
    timer.run(archive.run(&tier.handle(), &store, &prefix(), options)).unwrap();
    let first = ["list manifests"];
    let look = ["list manifests"];
    let backup = ["list manifests", "list segments", "get manifests", "put segments", "create manifests"];
    // The prefix has no backup to read yet.
    let first_backup = ["list manifests", "list segments", "put segments", "create manifests"];
    // It counts the backups, which are too few.
    let count = ["list manifests"];
    // Two are kept, and one goes.
    let prune = [
        "list manifests",
        "create manifests",
        "get manifests",
        "get manifests",
        "put manifests",
        "list segments",
        "delete segments",
    ];
    let expected = [
        &first[..],
        &look,
        &first_backup,
        &count,
        &look,
        &backup,
        &count,
        &look,
        &backup,
        &count,
        &prune,
        // Nothing was written since.
        &look,
        &look,
        &look,
    ];
    assert_eq!(*store.requests.lock().unwrap(), expected.concat());
    assert_eq!((archive.stats().backups, archive.stats().pruned_backups), (3, 1));
}
