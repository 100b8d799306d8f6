//! Changes the capacity of a tier that exists: from the shape that the headers of its files state to the one configured.
//!
//! | file, by its headers | configured | change |
//! |---|---|---|
//! | `n` segments | as many or more, of the same length | its length is set; the mount takes the new segments in |
//! | `n` segments | fewer, or of another length | its live records are written to a new file, which takes its place |
//! | never written to | another length | a new file takes its place |
//! | more segments than it is long | any | refused: it was cut short |
//!
//! A cut at any point leaves each file in one of these rows, so the next open goes on, with this capacity or any other:
//!
//! - A file that is longer than its headers state holds nothing behind their end: no segment there was ever opened.
//! - A new file has another name until it is whole and durable. It holds the same store and the same values as the old one.
//! - Partitions change one after the other. Until the last one has, they differ in length, which says nothing of their content.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use coldpress_core::format::{ENTRY_BYTES_MAX, Format, Geometry, Marker, Sequence, Store, TRAILER_BYTES};

use crate::config::{ColdTierConfig, Terms};
use crate::errors::OpenError;
use crate::file_error::{AtPath as _, FileError};
use crate::image::{
    ConvertError, Image, ImageError, StoredRecord, carry_over, is_blank_from, live_records, takes,
};
use crate::index::Lengths;
use crate::storage::{FileMedium, MediumError, MediumFailure, Mode};

/// The longest origin of a record.
const ORIGIN_BYTES_MAX: u32 = 8;

/// The shape of a file, by its headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    /// The length of its segments, and the highest number of them that a header states.
    Shape(Geometry),
    /// Nothing was ever written to it.
    Unused,
    /// The headers do not tell the shape. The file may be foreign, of another version, emptied, or unreadable in parts: the
    /// mount finds out.
    Unknown,
    /// The headers do not tell the shape, and not all of the file could be read.
    Unread(MediumFailure),
}

impl Stored {
    /// Reads the headers of a file.
    pub(crate) fn of(path: &Path) -> Self {
        match crate::image::shape_of(path) {
            Ok(Some(shape)) if shape.format() == Format::Two => Self::Shape(shape),
            Ok(None) => Self::Unused,
            Err(ImageError::Medium(failure)) => Self::Unread(failure),
            Err(ImageError::Io(error)) => Self::Unread(MediumFailure::new(MediumError::Unreadable, error)),
            Ok(Some(_)) | Err(_) => Self::Unknown,
        }
    }

    /// Refuses a file that holds anything from a place on.
    pub(crate) fn check_blank_from(&self, path: &Path, from: u64) -> Result<(), OpenError> {
        let is_blank = self.shape().map_or(Ok(false), |shape| is_blank_from(path, from, shape));
        match is_blank.map_err(|error| failed(path, ConvertError::Image(error)))? {
            true => Ok(()),
            false => Err(OpenError::Damaged { path: path.to_path_buf(), records: 0 }),
        }
    }

    /// The shape, where it is known.
    pub(crate) const fn shape(&self) -> Option<&Geometry> {
        match self {
            Self::Shape(shape) => Some(shape),
            Self::Unused | Self::Unknown | Self::Unread(_) => None,
        }
    }
}

/// The change that an open makes to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    Keep,
    /// Sets its length.
    SetLength,
    /// Writes its live records to a new file.
    Rewrite(Geometry),
    /// Makes a new file, since it holds nothing.
    MakeAnew,
}

/// Chooses what is done to a file.
pub(crate) fn plan(stored: &Stored, file_bytes: u64, wanted: &Geometry) -> Result<Change, OpenError> {
    let is_as_long = file_bytes == wanted.medium_bytes();
    let refused = |expected_bytes| Err(OpenError::Geometry { expected_bytes, found_bytes: file_bytes });
    let shape = match stored {
        Stored::Shape(shape) => shape,
        Stored::Unused if !is_as_long => return Ok(Change::MakeAnew),
        // Without a known shape, nothing of the file can be carried over to another length.
        Stored::Unknown | Stored::Unread(_) if !is_as_long => return refused(wanted.medium_bytes()),
        Stored::Unused | Stored::Unknown | Stored::Unread(_) => return Ok(Change::Keep),
    };
    if file_bytes < shape.medium_bytes() {
        return refused(shape.medium_bytes());
    }
    let is_grown = (shape.segment_count()..=shape.segments_max()).contains(&wanted.segment_count());
    Ok(match shape.segment_bytes() == wanted.segment_bytes() && is_grown {
        true if is_as_long => Change::Keep,
        true => Change::SetLength,
        false => Change::Rewrite(*shape),
    })
}

/// The configuration for a tier that exists. Its segments keep their length if no other was configured and the capacity allows
/// it.
pub(crate) fn settle(config: &ColdTierConfig, stored: Option<&Geometry>) -> ColdTierConfig {
    let kept = stored.filter(|_| !config.names_segments()).map(|shape| shape.segment_bytes());
    let kept = kept.filter(|bytes| *bytes != config.segment_bytes());
    kept.and_then(|bytes| config.with_segment_bytes(bytes).ok()).unwrap_or_else(|| config.clone())
}

/// The records that a rewrite keeps of a file, summed up.
#[derive(Debug)]
pub(crate) struct Survey {
    records: u64,
    charge_bytes: u64,
    lengths: Lengths,
    longest_bytes: u32,
}

impl Survey {
    /// Reads all live records of a file. A record that can't be read refuses the rewrite, since the new file would not show the
    /// loss.
    ///
    /// Bounds: reads the file once.
    pub(crate) fn of(path: &Path, config: &ColdTierConfig) -> Result<Self, OpenError> {
        let image = open(path)?;
        let terms = config.terms(*image.store());
        let mut survey = Self { records: 0, charge_bytes: 0, lengths: Lengths::default(), longest_bytes: 0 };
        let mut found = 0;
        let read = live_records(&image, |record| {
            found += 1;
            if image.needs(record) {
                survey.add(&terms, record);
            }
            Ok(())
        });
        read.map_err(|error| failed(path, error))?;
        let is_unread = image.segments().iter().any(|segment| segment.is_unread() || segment.is_damaged());
        let report = image.mount_report();
        let is_kept = report.quarantined_segments > 0 || report.unsearched_segments > 0;
        let lost = image.records().saturating_sub(found);
        if is_unread || is_kept || lost > 0 {
            return Err(OpenError::Damaged { path: path.to_path_buf(), records: lost });
        }
        Ok(survey)
    }

    fn add(&mut self, terms: &Terms, record: &StoredRecord) {
        let bytes = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX);
        let charge =
            terms.value_charge(bytes(&record.key), bytes(&record.stored), record.expires_s.is_some());
        self.records += 1;
        self.charge_bytes += u64::from(charge);
        self.lengths.change(0, record.record_bytes);
        self.longest_bytes = self.longest_bytes.max(record.record_bytes);
    }

    fn fits(&self, config: &ColdTierConfig) -> bool {
        let terms = config.terms(Store { id: 1, hash_key: [0; 16], partition: 0, partitions: 1 });
        let waste = self.lengths.waste_in(terms.data_segments());
        self.charge_bytes <= terms.charge_bytes_max(waste, 0)
    }
}

/// Refuses segments that are too short for a record, and a capacity that is less than the live records take, with the least that is
/// enough.
pub(crate) fn check_fit(surveys: &[&Survey], config: &ColdTierConfig) -> Result<(), OpenError> {
    let longest_bytes = surveys.iter().map(|survey| survey.longest_bytes).max().unwrap_or(0);
    if longest_bytes > 0 && !takes(&config.geometry, longest_bytes) {
        let segment_bytes = config.segment_bytes();
        let overhead = segment_bytes - config.geometry.usable_bytes() + ENTRY_BYTES_MAX + TRAILER_BYTES;
        let least = longest_bytes.saturating_add(overhead + ORIGIN_BYTES_MAX);
        let least_bytes = least.checked_next_power_of_two().unwrap_or(u32::MAX);
        return Err(OpenError::SegmentTooShort { segment_bytes, least_bytes });
    }
    let is_enough = |config: &ColdTierConfig| surveys.iter().all(|survey| survey.fits(config));
    if is_enough(config) {
        return Ok(());
    }
    let with = |segments| config.with_shape(config.segment_bytes(), segments).ok();
    // The most segments that do not hold the records, and the fewest that do.
    let (mut few, mut enough) = (config.segment_count(), None);
    while enough.is_none_or(|enough| enough - few > 1) {
        let next = enough.map_or(few.saturating_mul(2), |enough| few + (enough - few) / 2);
        match with(next) {
            None => break,
            Some(larger) if is_enough(&larger) => enough = Some(next),
            Some(_) => few = next,
        }
    }
    let least = enough.and_then(with).map_or(u64::MAX, |config| config.capacity_bytes());
    Err(OpenError::DoesNotFit { capacity_bytes: config.capacity_bytes(), least_bytes: least })
}

/// Writes the live records of a file to a new one in the shape configured, durable.
///
/// Bounds: reads the file once, and writes what is live.
pub(crate) fn rewrite(
    from: &Path,
    to: &Path,
    survey: &Survey,
    config: &ColdTierConfig,
    mode: Mode,
) -> Result<(), OpenError> {
    let image = open(from)?;
    let new = make(to, &config.geometry, mode)?;
    // The new file keeps the store, with its partition and secret.
    let store = *image.store();
    let is_kept = |record: &StoredRecord| image.needs(record);
    let view = new.try_clone().at("open another view of", to)?;
    let mut medium = FileMedium::named(view, to.to_path_buf(), config.geometry.medium_bytes());
    let written = carry_over(&image, &mut medium, (config.geometry, store), survey.longest_bytes, is_kept);
    let written = written.map_err(|error| failed(from, error)).and_then(|carried| {
        // A record that the survey read may have become unreadable since.
        let records = survey.records.saturating_sub(carried.records);
        if records > 0 {
            return Err(OpenError::Damaged { path: from.to_path_buf(), records });
        }
        Ok(new.sync_all().at("sync", to)?)
    });
    if written.is_err() {
        // A failed removal is not reported: the error that stopped the rewrite says more.
        let _ = std::fs::remove_file(to);
    }
    written
}

/// Makes a file of a shape, with the marker that says whose it is. It is sparse: blocks are taken when segments are written, and
/// given back when they are erased.
pub(crate) fn make(path: &Path, shape: &Geometry, mode: Mode) -> Result<File, FileError> {
    let file = mode.make_anew(path)?;
    file.set_len(shape.medium_bytes()).at("set the length of", path)?;
    let marker = Marker { erases: 0, sequence_issued: Sequence::NONE };
    file.write_all_at(&marker.encode(), 0).at("write", path)?;
    file.sync_all().at("sync", path)?;
    Ok(file)
}

fn open(path: &Path) -> Result<Image, OpenError> {
    Image::open(path).map_err(|error| failed(path, ConvertError::Image(error)))
}

fn failed(path: &Path, error: ConvertError) -> OpenError {
    match error {
        ConvertError::Io(error) | ConvertError::Image(ImageError::Io(error)) => OpenError::Io(error),
        error => OpenError::Rewrite { path: path.to_path_buf(), error: Box::new(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldpress_core::drive::{Medium, Started};
    use coldpress_core::format::Identity;

    const MIB: u64 = 1 << 20;

    fn shape(segment_kib: u32, segments: u32) -> Geometry {
        Geometry::new(segment_kib << 10, segments, 1, 0x00, Identity::KeyedHash).unwrap()
    }

    fn unread() -> Stored {
        Stored::Unread(MediumError::Unreadable.into())
    }

    #[test]
    fn change_follows_from_headers_length_and_configuration() {
        let stored = |kib, segments| Stored::Shape(shape(kib, segments));
        let few = shape(1, 16);
        let most = few.segments_max();
        for (stored, file_mib, wanted, expected) in [
            (stored(64, 64), 4, shape(64, 64), Change::Keep),
            (stored(64, 64), 4, shape(64, 128), Change::SetLength),
            (stored(64, 64), 4, shape(64, 1 << 20), Change::SetLength),
            (stored(64, 64), 8, shape(64, 128), Change::Keep),
            (stored(64, 64), 8, shape(64, 64), Change::SetLength),
            (stored(64, 64), 8, shape(64, 80), Change::SetLength),
            (stored(64, 64), 8, shape(64, 63), Change::Rewrite(shape(64, 64))),
            (stored(64, 64), 4, shape(64, 63), Change::Rewrite(shape(64, 64))),
            (stored(64, 64), 4, shape(128, 32), Change::Rewrite(shape(64, 64))),
            (stored(64, 64), 4, shape(128, 64), Change::Rewrite(shape(64, 64))),
            // With more, the origins of its records would be stored in another way.
            (Stored::Shape(few), 1, few.with_segments(most).unwrap(), Change::SetLength),
            (Stored::Shape(few), 1, few.with_segments(most + 1).unwrap(), Change::Rewrite(few)),
            (Stored::Unused, 4, shape(64, 64), Change::Keep),
            (Stored::Unused, 4, shape(64, 63), Change::MakeAnew),
            (Stored::Unused, 4, shape(64, 65), Change::MakeAnew),
            (Stored::Unknown, 4, shape(64, 64), Change::Keep),
            (unread(), 4, shape(64, 64), Change::Keep),
        ] {
            let found = plan(&stored, file_mib * MIB, &wanted);
            assert!(matches!(found, Ok(change) if change == expected), "{stored:?} {file_mib} {found:?}");
        }
    }

    #[test]
    fn length_that_loses_data_is_refused() {
        let stored = || Stored::Shape(shape(64, 64));
        for (stored, file_bytes, wanted, expected) in [
            (stored(), 4 * MIB - 1, shape(64, 64), 4 * MIB),
            (stored(), 3 * MIB, shape(64, 48), 4 * MIB),
            (stored(), 3 * MIB, shape(64, 128), 4 * MIB),
            (stored(), 0, shape(128, 48), 4 * MIB),
            (Stored::Unknown, 5 * MIB, shape(64, 64), 4 * MIB),
            (unread(), 4 * MIB, shape(64, 48), 3 * MIB),
        ] {
            let refused = plan(&stored, file_bytes, &wanted);
            let is_alerted = matches!(&refused, Err(OpenError::Geometry { expected_bytes, found_bytes })
                if *expected_bytes == expected && *found_bytes == file_bytes);
            assert!(is_alerted, "{stored:?} {file_bytes} {refused:?}");
        }
    }

    #[test]
    fn segments_keep_their_length_unless_another_is_named_or_needed() {
        let config = |mib: u64| ColdTierConfig::builder().capacity_bytes(mib * MIB);
        let settled =
            |config: &ColdTierConfig, kib| settle(config, Some(&shape(kib, 64))).segment_bytes() >> 10;
        let gib = config(1024).build().unwrap();
        assert_eq!((gib.segment_bytes() >> 10, settled(&gib, 64), settled(&gib, 100)), (2048, 64, 100));
        let named = config(1024).segment_bytes(512 << 10).build().unwrap();
        assert_eq!(settled(&named, 64), 512);
        // Of such segments there would be too few.
        let small = config(4).build().unwrap();
        assert_eq!((settled(&small, 4096), settled(&small, 128)), (64, 128));
        assert_eq!(settle(&small, None).segment_bytes(), small.segment_bytes());
    }

    #[test]
    fn value_that_looks_like_a_header_does_not_tell_the_shape() {
        use coldpress_core::format::Header;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("part");
        let (real, other) = (shape(64, 64), shape(100, 40));
        let file = File::create(&path).unwrap();
        file.set_len(real.medium_bytes()).unwrap();
        let header = |shape: &Geometry, id| {
            let store = Store { id, hash_key: [7; 16], partition: 0, partitions: 1 };
            let header =
                Header { store, sequence: Sequence::new(9), time_s: 1, stream: 0, record_bytes_max: 100 };
            let (bytes, len) = header.encode(shape);
            bytes[..len].to_vec()
        };
        for segment in [2u64, 3, 5, 9] {
            let at = segment << 16;
            file.write_all_at(&value(1 << 16), at).unwrap();
            file.write_all_at(&Marker { erases: 3, sequence_issued: Sequence::new(8) }.encode(), at).unwrap();
            file.write_all_at(&header(&real, 1), at + u64::from(real.header_at())).unwrap();
        }
        assert_eq!(Stored::of(&path), Stored::Shape(real));
        // The first header that a search finds lies where the other shape has one.
        file.write_all_at(&header(&other, 2), (100 << 10) + u64::from(other.header_at())).unwrap();
        assert_eq!(Stored::of(&path), Stored::Shape(real));
        // Another one states more segments, and is of another store.
        file.set_len(real.medium_bytes() * 2).unwrap();
        let more = header(&real.with_segments(128).unwrap(), 2);
        file.write_all_at(&more, (20 << 16) + u64::from(real.header_at())).unwrap();
        assert_eq!(Stored::of(&path), Stored::Shape(real));
        let more = header(&real.with_segments(128).unwrap(), 1);
        file.write_all_at(&more, (21 << 16) + u64::from(real.header_at())).unwrap();
        assert_eq!(Stored::of(&path), Stored::Shape(real.with_segments(128).unwrap()));
    }

    /// A file that holds so many values of 1,000 bytes.
    fn filled(path: &Path, values: u32) {
        use coldpress_core::codec::CodecId;
        let store = Store { id: 7, hash_key: [7; 16], partition: 0, partitions: 1 };
        let bytes = crate::image::build(shape(64, 64), store, 1_800_000_000, |image| {
            (0..values).try_for_each(|key| image.put(&key.to_le_bytes(), &value(1_000), CodecId::Raw, None))
        });
        std::fs::write(path, bytes.unwrap()).unwrap();
    }

    #[test]
    fn record_damaged_behind_the_survey_stops_the_rewrite() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("old"), dir.path().join("new"));
        filled(&from, 200);
        let config =
            ColdTierConfig::builder().capacity_bytes(2 * MIB).segment_bytes(64 << 10).build().unwrap();
        let survey = Survey::of(&from, &config).unwrap();
        rewrite(&from, &to, &survey, &config, Mode::new(0o600)).unwrap();
        let file = File::options().write(true).open(&from).unwrap();
        file.write_all_at(&[0xEE; 8], 5_000).unwrap();
        let refused = rewrite(&from, &to, &survey, &config, Mode::new(0o600));
        assert!(matches!(refused, Err(OpenError::Damaged { records: 1, .. })), "{refused:?}");
        assert!(!to.exists());
    }

    #[test]
    fn write_that_fails_stops_the_rewrite() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old");
        filled(&path, 400);
        let image = Image::open(&path).unwrap();
        let shape = shape(64, 32);
        let carried = |fails_at| {
            let mut target = Failing { bytes: vec![0; 2 << 20], writes: 0, fails_at };
            let done = carry_over(&image, &mut target, (shape, *image.store()), 1_100, |_| true);
            (done, target)
        };
        let (done, target) = carried(usize::MAX);
        assert_eq!(done.unwrap().records, 400);
        for fails_at in 1..=target.writes {
            let (done, target) = carried(fails_at);
            let records = Image::read_from(target.bytes).map_or(0, |image| image.len());
            let is_alerted =
                matches!(&done, Err(ConvertError::Medium(failure)) if failure.kind() == MediumError::NoSpace);
            assert!(is_alerted || records == 400, "write {fails_at}: {records} of 400 values, {done:?}");
        }
    }

    /// A medium of which one write fails.
    struct Failing {
        bytes: Vec<u8>,
        writes: usize,
        fails_at: usize,
    }

    impl Medium for Failing {
        type Error = MediumFailure;

        fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
            let at = usize::try_from(offset).unwrap();
            buffer.copy_from_slice(&self.bytes[at..at + buffer.len()]);
            Ok(())
        }

        fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<Started, MediumFailure> {
            self.writes += 1;
            if self.writes == self.fails_at {
                return Err(MediumError::NoSpace.into());
            }
            let at = usize::try_from(offset).unwrap();
            self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(Started::Done)
        }

        fn erase(&mut self, offset: u64, bytes: u64) -> Result<Started, MediumFailure> {
            let at = usize::try_from(offset).unwrap();
            self.bytes[at..at + usize::try_from(bytes).unwrap()].fill(0);
            Ok(Started::Done)
        }

        fn sync(&mut self) -> Result<Started, MediumFailure> {
            Ok(Started::Done)
        }
    }

    fn value(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at % 251) as u8 | 1).collect()
    }
}
