//! The files of the partitions: opened, locked, and brought to the shape configured.

use std::fs::File;
use std::path::{Path, PathBuf};

use coldpress_core::recovery::MountError;

use crate::config::ColdTierConfig;
use crate::directory::views::Views;
use crate::errors::OpenError;
use crate::storage::{FileMedium, Left, SharedFile, SyncWatch, sync_dir};

use super::{Dir, check_file_size_limit, not_writable, part_name, try_lock, try_lock_shared};
use crate::directory::last_use::Note;
use crate::directory::peek::{Peek, peek};
use crate::directory::reshape;
use crate::directory::reshape::{Change, Stored, Survey};
use crate::file_error::{AtPath as _, FileError};

/// The file of a partition, opened and locked.
#[derive(Debug)]
pub(crate) struct HeldPart {
    path: PathBuf,
    file: File,
    bytes: u64,
    pub(crate) stored: Stored,
    /// How its last use left it.
    left: Left,
    partition: u16,
}

impl HeldPart {
    /// Sets the length of the file, durably. Bytes beyond the segments that its headers state are not cut off: headers may be
    /// damaged, or a value may look like one.
    fn set_length(&self, bytes: u64) -> Result<(), OpenError> {
        if bytes < self.bytes {
            self.stored.check_blank_from(&self.path, bytes)?;
        }
        self.file.set_len(bytes).at("set the length of", &self.path)?;
        Ok(self.file.sync_all().at("sync", &self.path)?)
    }

    /// The path of the file, and the one that a new file has until it takes its place. Where the name of the partition is a link, the
    /// new file lies beside the file that it leads to.
    fn place(&self) -> Result<(PathBuf, PathBuf), FileError> {
        let path = self.path.canonicalize().at("look at", &self.path)?;
        let mut name = path.clone().into_os_string();
        name.push(".new");
        Ok((path, name.into()))
    }
}

/// A change of a file, and the findings that it needs.
enum Step {
    Keep,
    SetLength,
    MakeAnew,
    Rewrite(Survey),
}

impl Step {
    /// Looks at a file that is to be rewritten.
    fn of(part: &HeldPart, change: Change, config: &ColdTierConfig) -> Result<Self, OpenError> {
        let shape = match change {
            Change::Keep => return Ok(Self::Keep),
            Change::SetLength => return Ok(Self::SetLength),
            Change::MakeAnew => return Ok(Self::MakeAnew),
            Change::Rewrite(shape) => shape,
        };
        if part.bytes != shape.medium_bytes() {
            part.set_length(shape.medium_bytes())?;
        }
        Ok(Self::Rewrite(Survey::of(&part.path, config)?))
    }

    const fn survey(&self) -> Option<&Survey> {
        match self {
            Self::Rewrite(survey) => Some(survey),
            Self::Keep | Self::SetLength | Self::MakeAnew => None,
        }
    }
}

/// The configuration of a tier that is only read: its shape is that of the files, not that of the configured capacity.
pub(crate) fn as_stored(config: &ColdTierConfig, parts: &[HeldPart]) -> Result<ColdTierConfig, OpenError> {
    let known = parts.iter().find_map(|part| part.stored.shape().map(|shape| (shape, part.bytes)));
    let Some((shape, bytes)) = known else { return Ok(config.clone()) };
    let segments = u32::try_from(bytes / u64::from(shape.segment_bytes())).unwrap_or(u32::MAX);
    Ok(config.with_shape(shape.segment_bytes(), segments)?)
}

impl Dir {
    /// Brings the files to the shape configured. Those of a tier that is only read must have it.
    pub(crate) fn reshape_parts(
        &mut self,
        parts: Vec<HeldPart>,
        config: &ColdTierConfig,
    ) -> Result<Vec<HeldPart>, OpenError> {
        let shape = &config.geometry;
        if self.is_read_only {
            return match parts.iter().find(|part| part.bytes != shape.medium_bytes()) {
                Some(part) => {
                    Err(OpenError::Geometry { expected_bytes: shape.medium_bytes(), found_bytes: part.bytes })
                }
                None => Ok(parts),
            };
        }
        check_file_size_limit(shape.medium_bytes())?;
        let plans: Result<Vec<_>, _> =
            parts.iter().map(|part| reshape::plan(&part.stored, part.bytes, shape)).collect();
        let plans = plans?;
        // All of it is known to fit before anything changes.
        let steps = parts.iter().zip(plans).map(|(part, change)| Step::of(part, change, config));
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        reshape::check_fit(&steps.iter().filter_map(Step::survey).collect::<Vec<_>>(), config)?;
        let mut changed = Vec::new();
        for (part, step) in parts.into_iter().zip(steps) {
            if !matches!(step, Step::Keep) {
                tracing::info!(
                    path = %part.path.display(), from = part.bytes, to = shape.medium_bytes(),
                    "the length of a partition changes"
                );
            }
            changed.push(match step {
                Step::Keep => part,
                Step::SetLength => {
                    part.set_length(shape.medium_bytes())?;
                    part
                }
                Step::MakeAnew => {
                    let (old, new) = part.place()?;
                    reshape::make(&new, shape, self.mode)?;
                    self.replace(&part, (&old, &new))?
                }
                Step::Rewrite(survey) => {
                    let (old, new) = part.place()?;
                    reshape::rewrite(&part.path, &new, &survey, config, self.mode)?;
                    self.replace(&part, (&old, &new))?
                }
            });
        }
        Ok(changed)
    }

    /// Puts a new file, which is durable, in the place of one that is held.
    fn replace(&mut self, held: &HeldPart, (old, new): (&Path, &Path)) -> Result<HeldPart, OpenError> {
        let file = File::options().read(true).write(true).open(new).at("open for writing", new)?;
        // It is locked before anybody finds it under the name of the partition.
        try_lock(&file, &self.path)?;
        std::fs::rename(new, old).at("rename", new)?;
        sync_dir(old.parent().unwrap_or(&self.path))?;
        let path = held.path.clone();
        let bytes = file.metadata().at("look at", &path)?.len();
        self.opening.files.push(file.try_clone().at("open another view of", &path)?);
        let (left, partition) = (Left::InDoubt, held.partition);
        Ok(HeldPart { stored: Stored::of(&path), path, file, bytes, left, partition })
    }

    /// Opens a file that is there, and locks it for as long as this value lives.
    pub(crate) fn hold_part(&mut self, partition: u16) -> Result<HeldPart, OpenError> {
        let (path, file) = self.open_part(partition)?;
        if self.is_read_only {
            try_lock_shared(&file, &self.path)?;
        } else {
            try_lock(&file, &self.path)?;
        }
        self.opening.files.push(file.try_clone().at("open another view of", &path)?);
        self.mode.warn_if_more_open(&path);
        let bytes = file.metadata().at("look at", &path)?.len();
        // The file may have been replaced before it was locked.
        let medium =
            FileMedium::named(file.try_clone().at("open another view of", &path)?, path.clone(), bytes);
        if !medium.has_its_place().at("look at", &path)? {
            return Err(OpenError::FileLost);
        }
        let left = self.opening.last_use.left(partition, &file);
        Ok(HeldPart { stored: Stored::of(&path), path, file, bytes, left, partition })
    }

    pub(crate) fn open_part(&self, partition: u16) -> Result<(PathBuf, File), OpenError> {
        let path = self.path.join(part_name(partition));
        let file = if self.is_read_only {
            File::open(&path).at("open", &path)?
        } else {
            File::options()
                .read(true)
                .write(true)
                .open(&path)
                .at("open for writing", &path)
                .map_err(not_writable)?
        };
        Ok((path, file))
    }

    /// Looks for evidence that a file is a tier's. A file of another length is not touched.
    pub(crate) fn peek(&self, path: &Path, file: &File, config: &ColdTierConfig) -> Result<Peek, OpenError> {
        let view = file.try_clone().at("open another view of", path)?;
        let (expected_bytes, found_bytes) =
            (config.geometry.medium_bytes(), view.metadata().at("look at", path)?.len());
        if found_bytes != expected_bytes {
            return Err(OpenError::Geometry { expected_bytes, found_bytes });
        }
        let seen = peek(&FileMedium::named(view, path.to_path_buf(), expected_bytes), &config.geometry)?;
        if !seen.is_ours {
            seen.check_read(config.geometry.segment_count())?;
            return Err(OpenError::Mount(MountError::Foreign));
        }
        Ok(seen)
    }

    /// The views of a file that has the shape configured.
    pub(crate) fn views(&mut self, part: HeldPart, config: &ColdTierConfig) -> Result<Views, OpenError> {
        let seen = self.peek(&part.path, &part.file, config)?;
        // Under another length of segments, the parts that could not be read may hold headers.
        let HeldPart { path, file, stored, left, partition, .. } = part;
        if let (None, Stored::Unread(failure)) = (seen.store, stored) {
            let segments = config.geometry.segment_count();
            return Err(OpenError::Unread { unread: 1, segments, failure });
        }
        let medium = FileMedium::named(file, path, config.geometry.medium_bytes());
        // A byte beyond the limit on the length of files would end the process.
        let at = Note::state_at(partition, self.noted.lock);
        let is_watched = !self.is_read_only && check_file_size_limit(at + 1).is_ok();
        let watch = is_watched.then(|| SyncWatch::new(self.locks, at));
        let shared = SharedFile::open(medium.with_past(left, watch));
        self.parts.push(shared);
        Ok(Views::of(Box::new(shared), self.is_read_only)?)
    }
}
