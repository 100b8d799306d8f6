//! Several uploads at a time, their limit in bytes a second, and the progress that others see.

use core::num::NonZeroU64;
use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;

use coldpress_std::archive::object_store::memory::InMemory;
use coldpress_std::archive::{
    self, ArchiveTimer as _, Backup, BackupOptions, BackupProgress, BackupState, BackupWatch, RestorePoint,
};
use coldpress_std::clock::SystemClock;

use crate::common::{Doubtful, assert_all, block_on, open, prefix, put_all};
use crate::virtual_time::VirtualTimer;

/// A backup of 800 keys in virtual time, restored and looked at.
fn back_up(store: &Doubtful, timer: &VirtualTimer, options: BackupOptions) -> Backup {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), "t");
    put_all(&tier, 0..800, 0);
    let (handle, progress, prefix) = (tier.handle(), BackupProgress::new(), prefix());
    let watch = BackupWatch { progress: &progress, timer };
    let made = timer.run(archive::backup_watched(&handle, store, &prefix, options, watch)).unwrap();
    block_on(archive::restore(&store.inner, &prefix, &dir.path().join("r"), RestorePoint::Newest)).unwrap();
    assert_all(&open(dir.path(), "r"), 0..800, 0);
    made
}

#[test]
fn uploads_under_way_are_as_many_as_permitted() {
    let mut options = BackupOptions::default();
    for uploads_max in [0, 1, 3, 4, 100] {
        options.uploads_max = uploads_max;
        // No upload ends before all that are permitted have begun.
        let store = Doubtful::with_yields(200);
        let made = back_up(&store, VirtualTimer::leak(), options);
        let most = (uploads_max.max(1) as u64).min(made.uploaded_objects);
        assert!(made.uploaded_objects >= 12, "{made:?}");
        assert_eq!(store.most_under_way.load(SeqCst), most, "of {uploads_max}");
    }
}

#[test]
fn uploads_begin_no_faster_than_their_limit() {
    let mut options = BackupOptions::default();
    let rate = 50_000;
    options.upload_bytes_per_s = NonZeroU64::new(rate);
    let timer = VirtualTimer::leak();
    let store = Doubtful::with_latency(timer, Duration::ZERO);
    let made = back_up(&store, timer, options);
    let puts = store.begun.lock().unwrap().clone();
    let largest = puts.iter().map(|(_, bytes)| *bytes).max().unwrap();
    let all: u64 = puts.iter().map(|(_, bytes)| *bytes).sum();
    assert_eq!(all, made.uploaded_bytes + made.manifest_bytes);
    for (at, (from, _)) in puts.iter().enumerate() {
        let mut bytes = 0;
        for (to, more) in &puts[at..] {
            bytes += more;
            let limit = rate as f64 * (*to - *from).as_secs_f64() + largest as f64;
            assert!(bytes as f64 <= limit + 1.0, "{bytes} bytes from {from:?} to {to:?}");
        }
    }
    // It is used as well.
    let wanted = Duration::from_secs_f64(all as f64 / rate as f64);
    let took = timer.now();
    assert!(took <= wanted && took + Duration::from_secs(2) > wanted, "{took:?} of {wanted:?}");
}

#[test]
fn paced_backup_needs_no_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), InMemory::new());
    put_all(&tier, 0..300, 0);
    let mut options = BackupOptions::default();
    options.upload_bytes_per_s = NonZeroU64::new(4 << 20);
    let handle = tier.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let task = async move { archive::backup_with(&handle, &store, &prefix(), options).await.unwrap() };
    // It is a task as any other.
    let made = runtime.block_on(async move { tokio::spawn(task).await.unwrap() });
    assert!(made.uploaded_bytes > 300_000);
    let executor = async_executor::Executor::new();
    let store = InMemory::new();
    let task = executor.spawn(async move { archive::backup_with(&handle, &store, &prefix(), options).await });
    assert!(block_on(executor.run(task)).unwrap().uploaded_bytes > 300_000);
}

#[test]
fn progress_at_any_operation_goes_on_to_the_total() {
    let mut last: Option<BackupState> = None;
    let mut seen = 0;
    for n in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let (tier, store) = (open(dir.path(), "t"), Doubtful::new());
        put_all(&tier, 0..300, 0);
        let progress: &'static BackupProgress = Box::leak(Box::default());
        let found: &'static std::sync::Mutex<BackupState> = Box::leak(Box::default());
        store.call_at(n, move || *found.lock().unwrap() = progress.snapshot());
        let watch = BackupWatch { progress, timer: &SystemClock };
        let (handle, prefix) = (tier.handle(), prefix());
        let made =
            block_on(archive::backup_watched(&handle, &store, &prefix, BackupOptions::default(), watch))
                .unwrap();
        let end = progress.snapshot();
        assert_eq!((end.segments_done, end.bytes_done), (end.segments_total, end.bytes_total));
        assert_eq!((end.attempts, end.segments_total), (1, 32));
        assert_eq!((end.uploaded_objects, end.uploaded_bytes), (made.uploaded_objects, made.uploaded_bytes));
        if store.operations() <= n {
            break;
        }
        let state = *found.lock().unwrap();
        assert!(state.segments_done <= state.segments_total && state.bytes_done <= state.bytes_total);
        if let Some(last) = last {
            assert!(
                state.bytes_done >= last.bytes_done && state.uploaded_bytes >= last.uploaded_bytes,
                "{n}"
            );
        }
        seen += u32::from(last.is_some_and(|last| last.bytes_done < state.bytes_done));
        last = Some(state);
    }
    assert!(seen > 3, "{seen} steps");
}
