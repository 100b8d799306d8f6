//! How the last use of a tier's files went, as the file `LOCK` tells: by that an open decides which pages it may keep in memory, and
//! refuses copies of files that are of no single moment.
//!
//! ```text
//! NUMBER                           while a process has the tier open, and after it was killed
//! lock INODE MADE                  the file LOCK itself
//! in use 1 STATES                  a byte for each partition: whether a sync is under way or something failed
//! DEVICE INODE MADE BYTES TIME     the state of each file when it was opened
//! CHECKSUM                         of those lines
//!
//! settled 1                        after an orderly close, with the states of the files then, and the digest of each log
//! not settled                      after another close, with the second line alone
//! ```
//! A note counts for the next open alone, which writes its own over it. It need not be durable: after a power cut no page is in memory.
//! Nor is it proof: where there is none, or one that is not whole, the pages of the files are dropped.
//!
//! **Copies.** A program that copies files reads one part after the other. If the tier writes meanwhile, the copy has a later state of some
//! parts than of others. A record that was relocated from a part that was copied late to one that was copied early is in
//! neither. A tombstone may be gone while an older value that it hid is still there. No checksum shows either, since all records
//! of such a copy are whole. So a note names the file that it was written to. Where that is another file, all files are copies.
//! Then the note must be that of an orderly close, and each log must have the segments that it had at that close. A copy of a whole
//! filesystem, as a snapshot is, has the same files, and is of one moment.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use coldpress_core::format::Checksum;

use super::lock_identity::LockIdentity;
use super::log_digest::LogDigest;
use crate::errors::OpenError;
use crate::storage::{FileState, IN_DOUBT, Left, SOUND, reports_unseen_failures};

/// The first words of the two notes.
const SETTLED: &str = "settled 1";
const IN_USE: &str = "in use 1 ";
/// The first line after a close that was not orderly.
const NOT_SETTLED: &str = "not settled";
/// The first word of the line about the file itself.
const LOCK: &str = "lock ";

/// Bytes of the longest note that is read.
const BYTES_MAX: u64 = 1 << 20;

/// The last use of the files of all partitions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum LastUse {
    #[default]
    Unknown,
    /// They were closed in these states, with all of their bytes on the medium. The digests are those of their logs.
    Settled(Vec<(FileState, LogDigest)>),
    /// They are in use, or their process was killed. A byte for each partition tells how its syncs went.
    InUse(Vec<(u8, FileState)>),
}

impl LastUse {
    /// The note on files that are all settled; none where one is not.
    pub(crate) fn settled(files: impl IntoIterator<Item = (Option<FileState>, Option<LogDigest>)>) -> Self {
        let files: Option<Vec<_>> = files.into_iter().map(|(state, log)| state.zip(log)).collect();
        // An open that failed may have come to no file.
        files.filter(|files| !files.is_empty()).map_or(Self::Unknown, Self::Settled)
    }

    /// The note on files that are opened now.
    pub(crate) fn in_use(states: impl IntoIterator<Item = Option<FileState>>) -> Self {
        let begun = |state: Option<FileState>| Some((IN_DOUBT, state?));
        states.into_iter().map(begun).collect::<Option<_>>().map_or(Self::Unknown, Self::InUse)
    }

    /// How the file of a partition was left, as far as it is the file that the note is about.
    pub(crate) fn left(&self, partition: u16, file: &File) -> Left {
        let (at, state) = (usize::from(partition), FileState::of(file));
        let is_left = |noted: &FileState, is_same: fn(&FileState, &FileState) -> bool| {
            state.as_ref().is_ok_and(|state| is_same(state, noted))
        };
        match self {
            Self::Settled(noted) if noted.get(at).is_some_and(|(noted, _)| is_left(noted, FileState::eq)) => {
                Left::Settled
            }
            Self::InUse(noted) => match noted.get(at) {
                Some((SOUND, noted))
                    if is_left(noted, FileState::is_same_file) && reports_unseen_failures() =>
                {
                    Left::Sound
                }
                _ => Left::InDoubt,
            },
            Self::Settled(_) | Self::Unknown => Left::InDoubt,
        }
    }
}

/// The content of `LOCK`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) last_use: LastUse,
    /// The file that it was written to.
    pub(crate) lock: Option<LockIdentity>,
}

impl Note {
    /// Reads the note in `LOCK`.
    pub(crate) fn read(lock: &File) -> Self {
        let (mut text, mut from_start) = (String::new(), lock.take(BYTES_MAX));
        match from_start.read_to_string(&mut text) {
            Ok(_) => Self::parse(&text),
            Err(_) => Self::default(),
        }
    }

    /// Refuses the files of a directory where they may be copies of different moments.
    ///
    /// Bounds: for a copy, those of [`LogDigest::of_file`] for each partition.
    pub(crate) fn check_copy(
        &self,
        lock: &File,
        dir: &Path,
        part: impl Fn(u16) -> String,
    ) -> Result<(), OpenError> {
        let (Some(noted), Ok(found)) = (&self.lock, LockIdentity::of(lock)) else { return Ok(()) };
        if found.is_same(noted) {
            return Ok(());
        }
        let is_whole = match &self.last_use {
            LastUse::Settled(files) => (0..)
                .zip(files)
                .all(|(number, (_, log))| LogDigest::of_file(&dir.join(part(number))) == Some(*log)),
            LastUse::InUse(_) | LastUse::Unknown => false,
        };
        if is_whole { Ok(()) } else { Err(OpenError::Copied(dir.to_path_buf())) }
    }

    /// The place of a partition's byte in the note on files in use.
    pub(crate) fn state_at(partition: u16, lock: Option<LockIdentity>) -> u64 {
        let before = Self { last_use: LastUse::Unknown, lock }.text_in_use(std::process::id());
        (before.len() + IN_USE.len() + usize::from(partition)) as u64
    }

    /// The note as text, for a process of this number that has the files open.
    pub(crate) fn text_in_use(&self, pid: u32) -> String {
        let lock = self.lock_line();
        match &self.last_use {
            LastUse::InUse(states) => {
                let bytes: String = states.iter().map(|(byte, _)| char::from(*byte)).collect();
                format!("{pid}\n{lock}{IN_USE}{bytes}\n{}", lines(states.iter().map(|(_, state)| state)))
            }
            LastUse::Settled(_) | LastUse::Unknown => format!("{pid}\n{lock}"),
        }
    }

    /// The note as text, once nobody has the files open.
    pub(crate) fn text_closed(&self) -> String {
        let lock = self.lock_line();
        match &self.last_use {
            LastUse::Settled(files) => {
                let files = files.iter().map(|(state, log)| format!("{state} {:08x}", log.value()));
                format!("{SETTLED}\n{lock}{}", lines(files))
            }
            LastUse::InUse(_) | LastUse::Unknown => format!("{NOT_SETTLED}\n{lock}"),
        }
    }

    fn lock_line(&self) -> String {
        self.lock.map(|lock| format!("{LOCK}{lock}\n")).unwrap_or_default()
    }

    /// Reads a note. Of one that is not whole, the line about the file itself counts all the same.
    fn parse(text: &str) -> Self {
        let lock = text.lines().nth(1).and_then(|line| line.strip_prefix(LOCK)?.parse().ok());
        Self { last_use: Self::parse_last_use(text, lock).unwrap_or_default(), lock }
    }

    fn parse_last_use(text: &str, lock: Option<LockIdentity>) -> Option<LastUse> {
        let (first, mut rest) = text.split_once('\n')?;
        if lock.is_some() {
            rest = rest.split_once('\n')?.1;
        }
        let (note, again) = if first == SETTLED {
            let note = Self { last_use: LastUse::Settled(states(rest, settled_file)?), lock };
            let again = note.text_closed();
            (note, again)
        } else {
            let (bytes, rest) = rest.split_once('\n')?;
            let bytes = bytes.strip_prefix(IN_USE)?.bytes();
            let states = states(rest, |line| line.parse().ok())?;
            let note = Self { last_use: LastUse::InUse(bytes.zip(states).collect()), lock };
            let again = note.text_in_use(first.parse().ok()?);
            (note, again)
        };
        // Nothing is left out, nor doubled.
        (again == text).then_some(note.last_use)
    }
}

fn settled_file(line: &str) -> Option<(FileState, LogDigest)> {
    let (state, log) = line.rsplit_once(' ')?;
    Some((state.parse().ok()?, LogDigest::of_value(u32::from_str_radix(log, 16).ok()?)))
}

/// The lines of states, and their checksum.
fn lines(lines: impl Iterator<Item = impl core::fmt::Display>) -> String {
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    let checksum = Checksum::of(lines.as_bytes()).value();
    format!("{lines}{checksum:08x}\n")
}

fn states<T>(lines: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let (states, _checksum) = lines.strip_suffix('\n')?.rsplit_once('\n')?;
    states.lines().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::owner::{sign, unsign};
    use std::os::unix::fs::FileExt as _;

    fn states(count: usize) -> (File, Vec<Option<FileState>>) {
        let file = tempfile::tempfile().unwrap();
        let state = FileState::of(&file).ok();
        (file, vec![state; count])
    }

    fn with_logs(states: &[Option<FileState>]) -> Vec<(Option<FileState>, Option<LogDigest>)> {
        states.iter().map(|state| (*state, Some(LogDigest::of_value(0x00AB_CDEF)))).collect()
    }

    #[test]
    fn note_with_any_flipped_bit_or_cut_keeps_no_pages() {
        for count in 1..4 {
            let (file, states) = states(count);
            let settled = LastUse::settled(with_logs(&states));
            let mut in_use = LastUse::in_use(states);
            assert_eq!(in_use.left(0, &file), Left::InDoubt);
            let LastUse::InUse(noted) = &mut in_use else { panic!("{in_use:?}") };
            noted.iter_mut().for_each(|(byte, _)| *byte = SOUND);
            for (last_use, expected) in [(settled, Left::Settled), (in_use, Left::Sound)] {
                let note = Note { last_use, lock: LockIdentity::of(&file).ok() };
                let text = if expected == Left::Sound { note.text_in_use(77) } else { note.text_closed() };
                assert_eq!(Note::parse(&text), note);
                let left = |note: &Note, partition, file: &File| note.last_use.left(partition, file);
                assert_eq!((left(&note, 0, &file), left(&note, 9, &file)), (expected, Left::InDoubt));
                assert_eq!(left(&note, 0, &tempfile::tempfile().unwrap()), Left::InDoubt);
                for bit in 0..text.len() * 8 {
                    let mut damaged = text.clone().into_bytes();
                    damaged[bit / 8] ^= 1 << (bit % 8);
                    let parsed = str::from_utf8(&damaged).map(Note::parse).unwrap_or_default();
                    let kept =
                        (0..count).filter(|at| left(&parsed, *at as u16, &file) != Left::InDoubt).count();
                    // The number of the process may be another one, and the byte of one partition says less.
                    let is_harmless = bit / 8 < 2 && matches!(parsed.last_use, LastUse::InUse(_));
                    // So may the numbers of LOCK: then it is taken for a copy.
                    let is_copy = parsed.lock != note.lock;
                    assert!(kept < count || is_harmless || is_copy, "bit {bit} of {text}");
                }
                for len in 0..text.len() {
                    assert_eq!(Note::parse(&text[..len]).last_use, LastUse::Unknown, "{len} bytes");
                }
                assert_eq!(Note::parse(&format!("{text}\n")).last_use, LastUse::Unknown);
                assert_eq!(
                    Note::parse(&format!("{text}\n")).lock,
                    note.lock,
                    "it counts in a note that is not whole"
                );
            }
        }
        let (_file, states) = states(1);
        let log = Some(LogDigest::default());
        assert_eq!(LastUse::settled([(states[0], log), (None, log)]), LastUse::Unknown);
        assert_eq!(LastUse::settled([(states[0], log), (states[0], None)]), LastUse::Unknown);
        assert_eq!(LastUse::settled([]), LastUse::Unknown);
        assert_eq!(LastUse::in_use([states[0], None]), LastUse::Unknown);
        assert_eq!(Note::parse(""), Note::default());
    }

    #[test]
    fn lock_has_the_number_while_in_use_and_the_note_after() {
        let lock = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().read(true).write(true).open(lock.path()).unwrap();
        let text = || std::fs::read_to_string(lock.path()).unwrap();
        let (file, states) = states(3);
        let identity = LockIdentity::of(&open()).ok();
        let note = |last_use| Note { last_use, lock: identity };
        let (settled, in_use) = (note(LastUse::settled(with_logs(&states))), note(LastUse::in_use(states)));
        let unknown = note(LastUse::Unknown);
        assert_eq!(Note::read(&open()), Note::default());
        for _ in 0..2 {
            sign(&open(), &unknown);
            assert_eq!(text(), format!("{}\nlock {}\n", std::process::id(), identity.unwrap()));
            assert_eq!(Note::read(&open()), unknown);
            sign(&open(), &in_use);
            assert_eq!(text().lines().next(), Some(&*std::process::id().to_string()));
            open().write_all_at(&[SOUND], Note::state_at(1, identity)).unwrap();
            let left = [0, 1, 2].map(|partition| Note::read(&open()).last_use.left(partition, &file));
            assert_eq!(left, [Left::InDoubt, Left::Sound, Left::InDoubt]);
            unsign(&open(), &settled);
            assert_eq!(Note::read(&open()), settled);
        }
        unsign(&open(), &unknown);
        assert_eq!(text(), format!("not settled\nlock {}\n", identity.unwrap()));
        assert_eq!(Note::read(&open()), unknown);
    }
}
