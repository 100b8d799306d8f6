//! The commands `backup`, `restore` and `archive`. An archive has the backups of one cache.

use core::future::Future;
use std::io::Write as _;
use std::path::Path;

use coldpress_std::archive::{self, ArchiveDamage, ArchiveError, Listed, RestorePoint};
use serde::Serialize;

use crate::archive_place::OpenArchive;
use crate::caches::open;
use crate::failure::{Failure, Verdict};
use crate::options::{ArchiveJob, ArchivePlace, Place, Restore};
use crate::output::{Output, bytes};

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
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<DeletedObjects>,
}

/// The damage that was deleted.
#[derive(Debug, Serialize)]
struct DeletedObjects {
    objects: u64,
    manifests: u64,
    /// Backups that need a deleted object.
    backups: Vec<u64>,
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Work(format!("can't start a runtime: {error}")))?;
    Ok(runtime.block_on(job)?)
}

pub(crate) fn backup(place: &Place, archive: &Path, out: &mut Output) -> Result<Verdict, Failure> {
    let tier = open(place)?;
    let OpenArchive { store, prefix } = OpenArchive::make(archive)?;
    let made = wait(archive::backup(&tier.handle(), store.as_ref(), &prefix))?;
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
    let OpenArchive { store, prefix } = OpenArchive::find(&place.archive)?;
    let point = match (number, at) {
        (Some(number), _) => RestorePoint::Number(*number),
        (None, Some(at)) => RestorePoint::Time(*at),
        (None, None) => RestorePoint::Newest,
    };
    for left in archive::unfinished_restores(dir)? {
        let left = left.display();
        out.warn(&format_args!("{left} is of a restore that was killed, unless one is under way: delete it"));
    }
    let restored = wait(archive::restore(store.as_ref(), &prefix, dir, point))?;
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
        ArchiveJob::Verify { place, delete_damaged } => verify(place, *delete_damaged, out),
        ArchiveJob::Prune { place, keep } => prune(place, keep.get(), out),
    }
}

fn list(place: &ArchivePlace, out: &mut Output) -> Result<Verdict, Failure> {
    let OpenArchive { store, prefix } = OpenArchive::find(&place.archive)?;
    let listed = wait(archive::list(store.as_ref(), &prefix))?;
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

fn verify(place: &ArchivePlace, delete_damaged: bool, out: &mut Output) -> Result<Verdict, Failure> {
    let OpenArchive { store, prefix } = OpenArchive::find(&place.archive)?;
    let verified = wait(archive::verify(store.as_ref(), &prefix))?;
    let deleted = if delete_damaged {
        let deleted = wait(archive::delete_damaged(store.as_ref(), &prefix, &verified))?;
        let archive::DeletedDamage { objects, manifests, backups, .. } = deleted;
        Some(DeletedObjects { objects, manifests, backups })
    } else {
        None
    };
    let verified = VerifiedArchive {
        sound: verified.damages.is_empty(),
        damage: verified.damages.iter().map(DamagedBackup::of).collect(),
        backups: verified.sound.into_iter().map(BackupRow::of).collect(),
        objects: verified.objects,
        bytes: verified.bytes,
        deleted,
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
        if let Some(DeletedObjects { objects, manifests, .. }) = &verified.deleted {
            writeln!(out, "deleted: {objects} damaged objects, {manifests} damaged manifests")?;
        }
    }
    Ok(if verified.sound { Verdict::Fine } else { Verdict::Found })
}

fn prune(place: &ArchivePlace, keep: usize, out: &mut Output) -> Result<Verdict, Failure> {
    let OpenArchive { store, prefix } = OpenArchive::find(&place.archive)?;
    let pruned = wait(archive::prune(store.as_ref(), &prefix, keep))?;
    let pruned = PrunedArchive { backups: pruned.backups, objects: pruned.objects, bytes: pruned.bytes };
    if place.json {
        out.json(&pruned)?;
        return Ok(Verdict::Fine);
    }
    let PrunedArchive { backups, objects, bytes: freed } = pruned;
    writeln!(out, "{backups} backups pruned: {objects} objects deleted, {}", bytes(freed))?;
    Ok(Verdict::Fine)
}
