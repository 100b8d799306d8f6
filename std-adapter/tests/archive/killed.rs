//! A process that backs up to a local directory is killed at every step of its store.
//!
//! The child is this test binary again. Its store kills the process itself: in front of an operation, behind it, or with half of
//! the bytes of a put in the file that the store renames last. The archive lives on from one kill to the next.

use core::fmt;
use core::ops::Range;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::SeqCst;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path as FilePath;
use std::process::{Command, Stdio};

use coldpress_std::archive::object_store::local::LocalFileSystem;
use coldpress_std::archive::object_store::path::Path;
use coldpress_std::archive::object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use coldpress_std::archive::{self, RestorePoint};
use futures_util::stream::BoxStream;

use crate::common::{assert_all, block_on, open, prefix, put_all};

const DIR: &str = "COLDPRESS_ARCHIVE_KILL_DIR";
/// How it is killed, at which operation, and the version of the values that it backs up.
const KILL: &str = "COLDPRESS_ARCHIVE_KILL";
const CHILD: &str = "killed::child_backs_up_until_it_is_killed";
const KEYS: Range<u64> = 0..200;
const KEEP: usize = 2;
const SIGKILL: i32 = 9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    Before,
    Within,
    After,
}

impl Kill {
    const ALL: [Self; 3] = [Self::Before, Self::Within, Self::After];
}

/// A local directory that kills the process at an operation.
struct Killing {
    inner: LocalFileSystem,
    kill: Kill,
    at: u64,
    operations: AtomicU64,
}

fn die() -> ! {
    let me = rustix::process::getpid();
    rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
    loop {
        std::thread::park();
    }
}

impl Killing {
    /// Counts an operation; tells whether it is the one at which the process dies.
    fn step(&self) -> bool {
        let is_due = self.operations.fetch_add(1, SeqCst) == self.at;
        if is_due && self.kill == Kill::Before {
            die();
        }
        is_due
    }
}

impl fmt::Debug for Killing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Killing")
    }
}

impl fmt::Display for Killing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Killing")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Killing {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let is_due = self.step();
        if is_due && self.kill == Kill::Within {
            // The store writes to such a name first.
            let file = format!("{}#1", self.inner.path_to_filesystem(path)?.display());
            let bytes: Vec<u8> = payload.iter().flat_map(|part| part.to_vec()).collect();
            std::fs::create_dir_all(FilePath::new(&file).parent().unwrap()).unwrap();
            std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
            die();
        }
        let put = self.inner.put_opts(path, payload, options).await?;
        if is_due {
            die();
        }
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let is_due = self.step();
        let got = self.inner.get_opts(path, options).await;
        if is_due {
            die();
        }
        got
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let is_due = self.step();
        let deleted = self.inner.delete_stream(paths);
        if is_due {
            // Lazy as it is, it has to be drained first.
            let all: Vec<_> = block_on(futures_util::StreamExt::collect(deleted));
            drop(all);
            die();
        }
        deleted
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.step() {
            die();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn local(dir: &FilePath) -> LocalFileSystem {
    LocalFileSystem::new_with_prefix(dir.join("archive")).unwrap()
}

#[test]
fn child_backs_up_until_it_is_killed() {
    let (Some(dir), Ok(kill)) = (std::env::var_os(DIR), std::env::var(KILL)) else { return };
    let dir = FilePath::new(&dir);
    let numbers: Vec<u64> = kill.split(' ').map(|number| number.parse().unwrap()).collect();
    let [kill, at, version] = numbers[..] else { panic!("{kill} are three numbers") };
    let tier = open(dir, "t");
    put_all(&tier, KEYS, version);
    let kill = Kill::ALL[usize::try_from(kill).unwrap()];
    let store = Killing { inner: local(dir), kill, at, operations: AtomicU64::new(0) };
    let made = block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    assert!(made.uploaded_objects > 2);
    block_on(archive::prune(&store, &prefix(), KEEP)).unwrap();
}

/// Runs a child; tells whether it was killed.
fn run_child(dir: &FilePath, kill: usize, at: u64, version: u64) -> bool {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--nocapture"])
        .env(DIR, dir)
        .env(KILL, format!("{kill} {at} {version}"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let is_killed = child.status.signal() == Some(SIGKILL);
    assert!(is_killed || child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    is_killed
}

#[test]
fn backup_killed_at_every_step_leaves_a_whole_archive() {
    let mut kills = [0u64; 3];
    for (kill, killed) in kills.iter_mut().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("archive")).unwrap();
        let store = local(dir.path());
        let mut version = 1;
        assert!(!run_child(dir.path(), kill, u64::MAX, version), "the first one is whole");
        // The newest backup that is listed, and the version of its values.
        let mut whole = (1, version);
        for at in 0.. {
            version += 1;
            let is_killed = run_child(dir.path(), kill, at, version);
            let verified = block_on(archive::verify(&store, &prefix())).unwrap();
            assert!(verified.damages.is_empty(), "{:?} at {at}: {:?}", Kill::ALL[kill], verified.damages);
            let newest = verified.sound.last().unwrap().number;
            if newest > whole.0 {
                whole = (newest, version);
            }
            let restored = dir.path().join("r");
            block_on(archive::restore(&store, &prefix(), &restored, RestorePoint::Newest)).unwrap();
            let tier = open(dir.path(), "r");
            assert_all(&tier, KEYS, whole.1);
            tier.close().unwrap();
            std::fs::remove_dir_all(restored).unwrap();
            if !is_killed {
                assert_eq!(whole.1, version, "one that ends in order is listed");
                assert!(verified.sound.len() <= KEEP + 1);
                break;
            }
            *killed += 1;
        }
    }
    assert!(kills.iter().all(|killed| *killed > 12), "{kills:?} steps");
}
