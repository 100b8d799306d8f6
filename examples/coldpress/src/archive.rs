//! The commands `backup`, `restore` and `archive`. An archive is a local directory with the backups of one cache.

use core::future::Future;
use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use coldpress_std::archive::object_store::local::LocalFileSystem;
use coldpress_std::archive::object_store::path::Path as Prefix;
use coldpress_std::archive::{self, ArchiveDamage, ArchiveError, Listed, RestorePoint};
use serde::Serialize;

use crate::caches::open;
use crate::failure::{Failure, Verdict};
use crate::options::{ArchiveJob, ArchivePlace, Place, Restore};
use crate::output::{Output, bytes};

/// The directory of an archive that each backup leaves, by which an archive is known.
const MANIFESTS: &str = "manifests";
/// The one that is there already where the first backup was ended early.
const SEGMENTS: &str = "segments";
/// Objects hold values, so a new archive is for its owner alone.
const MODE: u32 = 0o700;

/// A backup that was made.
#[derive(Debug, Serialize)]
struct MadeBackup {
    number: u64,
    /// Seconds since 1970.
    taken_at: u64,
    uploaded_objects: u64,
    uploaded_bytes: u64,
    reused_objects: u64,
    reused_bytes: u64,
    manifest_bytes: u64,
}

/// A backup of an archive.
#[derive(Debug, Serialize)]
struct BackupRow {
    number: u64,
    /// Seconds since 1970.
    taken_at: u64,
    store_id: String,
    schema: Option<String>,
    partitions: usize,
    capacity_bytes: u64,
    objects: u64,
    bytes: u64,
}

impl BackupRow {
    fn of(listed: Listed) -> Self {
        Self {
            number: listed.number,
            taken_at: listed.taken_s,
            store_id: format!("{:016x}", listed.store_id),
            schema: listed.schema,
            partitions: listed.partitions,
            capacity_bytes: listed.capacity_bytes,
            objects: listed.objects,
            bytes: listed.bytes,
        }
    }

    fn write(&self, out: &mut Output) -> Result<(), Failure> {
        let schema = self.schema.as_ref().map(|schema| format!(", schema {schema:?}")).unwrap_or_default();
        Ok(writeln!(
            out,
            "backup {}, taken at {}: {} partitions, capacity {}{schema}, store {}; {} objects, {}",
            self.number,
            self.taken_at,
            self.partitions,
            bytes(self.capacity_bytes),
            self.store_id,
            self.objects,
            bytes(self.bytes)
        )?)
    }
}

/// A backup that can't be restored.
#[derive(Debug, Serialize)]
struct DamagedBackup {
    number: u64,
    damage: String,
}

impl DamagedBackup {
    fn of(damage: &ArchiveDamage) -> Self {
        Self { number: damage.number, damage: damage.error.to_string() }
    }

    fn write(&self, out: &mut Output) -> Result<(), Failure> {
        Ok(writeln!(out, "backup {}: {}", self.number, self.damage)?)
    }
}

#[derive(Debug, Serialize)]
struct BackupRows {
    backups: Vec<BackupRow>,
    /// Damage of the manifests of the other backups.
    damage: Vec<DamagedBackup>,
}

#[derive(Debug, Serialize)]
struct VerifiedArchive {
    sound: bool,
    /// Those that can be restored.
    backups: Vec<BackupRow>,
    damage: Vec<DamagedBackup>,
    objects: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct RestoredCache {
    number: u64,
    /// Seconds since 1970.
    taken_at: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct PrunedArchive {
    backups: u64,
    objects: u64,
    bytes: u64,
}

fn wait<T>(job: impl Future<Output = Result<T, ArchiveError>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| Failure::Work(format!("can't start a runtime: {error}")))?;
    Ok(runtime.block_on(job)?)
}

/// The prefix in the directory: the directory itself.
fn prefix() -> Prefix {
    Prefix::default()
}

/// Opens an archive that is there.
fn open_archive(path: &Path) -> Result<LocalFileSystem, Failure> {
    check_archive(path, |has| has(MANIFESTS))
}

/// Opens the archive for a backup, or makes it. A directory with anything else in it is refused.
fn make_archive(path: &Path) -> Result<LocalFileSystem, Failure> {
    match DirBuilder::new().mode(MODE).create(path) {
        Ok(()) => sync_parent(path)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Failure::at("make", path, &error)),
    }
    let is_empty = || path.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    check_archive(path, |has| has(MANIFESTS) || has(SEGMENTS) || is_empty())
}

fn check_archive(
    path: &Path,
    is_archive: impl FnOnce(&dyn Fn(&str) -> bool) -> bool,
) -> Result<LocalFileSystem, Failure> {
    path.read_dir()
        .map_err(|error| Failure::Unreadable(format!("can't list {}: {error}", path.display())))?;
    if !is_archive(&|name| path.join(name).is_dir()) {
        return Err(Failure::Unreadable(format!("{} is no archive", path.display())));
    }
    // A backup is reported once it is on the disk, with all objects that it needs.
    let store = LocalFileSystem::new_with_prefix(path).map_err(ArchiveError::from)?;
    Ok(store.with_fsync(true))
}

fn sync_parent(path: &Path) -> Result<(), Failure> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    synced.map_err(|error| Failure::at("sync", parent, &error))
}

pub(crate) fn backup(place: &Place, archive: &Path, out: &mut Output) -> Result<Verdict, Failure> {
    let tier = open(place)?;
    let store = make_archive(archive)?;
    let made = wait(archive::backup(&tier.handle(), &store, &prefix()))?;
    tier.close()?;
    let made = MadeBackup {
        number: made.number,
        taken_at: made.taken_s,
        uploaded_objects: made.uploaded_objects,
        uploaded_bytes: made.uploaded_bytes,
        reused_objects: made.reused_objects,
        reused_bytes: made.reused_bytes,
        manifest_bytes: made.manifest_bytes,
    };
    if place.json {
        out.json(&made)?;
        return Ok(Verdict::Fine);
    }
    writeln!(
        out,
        "backup {}, taken at {}: {} objects uploaded, {}; {} reused, {}; manifest {}",
        made.number,
        made.taken_at,
        made.uploaded_objects,
        bytes(made.uploaded_bytes),
        made.reused_objects,
        bytes(made.reused_bytes),
        bytes(made.manifest_bytes)
    )?;
    Ok(Verdict::Fine)
}

pub(crate) fn restore(restore: &Restore, out: &mut Output) -> Result<Verdict, Failure> {
    let Restore { place, dir, number, at } = restore;
    let store = open_archive(&place.archive)?;
    let point = match (number, at) {
        (Some(number), _) => RestorePoint::Number(*number),
        (None, Some(at)) => RestorePoint::Time(*at),
        (None, None) => RestorePoint::Newest,
    };
    for left in archive::unfinished_restores(dir)? {
        let left = left.display();
        out.warn(&format_args!("{left} is of a restore that was killed, unless one is under way: delete it"));
    }
    let restored = wait(archive::restore(&store, &prefix(), dir, point))?;
    let restored = RestoredCache {
        number: restored.backup.number,
        taken_at: restored.backup.taken_s,
        bytes: restored.bytes,
    };
    if place.json {
        out.json(&restored)?;
        return Ok(Verdict::Fine);
    }
    let RestoredCache { number, taken_at, bytes: written } = restored;
    let (dir, written) = (dir.display(), bytes(written));
    writeln!(out, "backup {number}, taken at {taken_at}, restored to {dir}: {written}")?;
    Ok(Verdict::Fine)
}

pub(crate) fn run(job: &ArchiveJob, out: &mut Output) -> Result<Verdict, Failure> {
    match job {
        ArchiveJob::List(place) => list(place, out),
        ArchiveJob::Verify(place) => verify(place, out),
        ArchiveJob::Prune { place, keep } => prune(place, keep.get(), out),
    }
}

fn list(place: &ArchivePlace, out: &mut Output) -> Result<Verdict, Failure> {
    let store = open_archive(&place.archive)?;
    let listed = wait(archive::list(&store, &prefix()))?;
    let rows = BackupRows {
        backups: listed.backups.into_iter().map(BackupRow::of).collect(),
        damage: listed.damages.iter().map(DamagedBackup::of).collect(),
    };
    if place.json {
        out.json(&rows)?;
    } else {
        for row in &rows.backups {
            row.write(out)?;
        }
        for damage in &rows.damage {
            damage.write(out)?;
        }
    }
    Ok(if rows.damage.is_empty() { Verdict::Fine } else { Verdict::Found })
}

fn verify(place: &ArchivePlace, out: &mut Output) -> Result<Verdict, Failure> {
    let store = open_archive(&place.archive)?;
    let verified = wait(archive::verify(&store, &prefix()))?;
    let verified = VerifiedArchive {
        sound: verified.damages.is_empty(),
        damage: verified.damages.iter().map(DamagedBackup::of).collect(),
        backups: verified.sound.into_iter().map(BackupRow::of).collect(),
        objects: verified.objects,
        bytes: verified.bytes,
    };
    if place.json {
        out.json(&verified)?;
    } else {
        for damage in &verified.damage {
            damage.write(out)?;
        }
        let (count, objects) = (verified.backups.len(), verified.objects);
        let verdict = if verified.sound { "sound" } else { "damaged" };
        let read = bytes(verified.bytes);
        writeln!(out, "{verdict}: {count} backups can be restored; {objects} objects are sound, {read}")?;
    }
    Ok(if verified.sound { Verdict::Fine } else { Verdict::Found })
}

fn prune(place: &ArchivePlace, keep: usize, out: &mut Output) -> Result<Verdict, Failure> {
    let store = open_archive(&place.archive)?;
    let pruned = wait(archive::prune(&store, &prefix(), keep))?;
    let pruned = PrunedArchive { backups: pruned.backups, objects: pruned.objects, bytes: pruned.bytes };
    if place.json {
        out.json(&pruned)?;
        return Ok(Verdict::Fine);
    }
    let PrunedArchive { backups, objects, bytes: freed } = pruned;
    writeln!(out, "{backups} backups pruned: {objects} objects deleted, {}", bytes(freed))?;
    Ok(Verdict::Fine)
}
