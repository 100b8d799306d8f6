//! How the last use of a tier's files went, as the file `LOCK` tells: by that an open decides which pages it may keep in memory.
//!
//! ```text
//! NUMBER                           while a process has the tier open, and after it was killed
//! in use 1 STATES                  a byte for each partition: whether a sync is under way or something failed
//! DEVICE INODE MADE BYTES TIME     the state of each file when it was opened
//! CHECKSUM                         of those lines
//!
//! settled 1                        after an orderly close, with the states of the files then
//! ```
//! A note counts for the next open alone, which writes its own over it. It need not be durable: after a power cut no page is in memory.
//! Nor is it proof: where there is none, or one that is not whole, the pages of the files are dropped.

use std::fs::File;
use std::io::Read as _;

use coldpress_core::format::Checksum;

use crate::storage::{FileState, IN_DOUBT, Left, SOUND, reports_unseen_failures};

/// The first words of the two notes.
const SETTLED: &str = "settled 1";
const IN_USE: &str = "in use 1 ";

/// Bytes of the longest note that is read.
const BYTES_MAX: u64 = 1 << 20;

/// The last use of the files of all partitions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum LastUse {
    #[default]
    Unknown,
    /// They were closed in these states, with all of their bytes on the medium.
    Settled(Vec<FileState>),
    /// They are in use, or their process was killed. A byte for each partition tells how its syncs went.
    InUse(Vec<(u8, FileState)>),
}

impl LastUse {
    /// The note on files that are all settled; none where one is not.
    pub(crate) fn settled(states: impl IntoIterator<Item = Option<FileState>>) -> Self {
        let states: Option<Vec<_>> = states.into_iter().collect();
        // An open that failed may have come to no file.
        states.filter(|states| !states.is_empty()).map_or(Self::Unknown, Self::Settled)
    }

    /// The note on files that are opened now.
    pub(crate) fn in_use(states: impl IntoIterator<Item = Option<FileState>>) -> Self {
        let begun = |state: Option<FileState>| Some((IN_DOUBT, state?));
        states.into_iter().map(begun).collect::<Option<_>>().map_or(Self::Unknown, Self::InUse)
    }

    /// The place of a partition's byte in the note on files in use.
    pub(crate) fn state_at(partition: u16) -> u64 {
        (format!("{}\n{IN_USE}", std::process::id()).len() + usize::from(partition)) as u64
    }

    /// Reads the note in `LOCK`.
    pub(crate) fn read(lock: &File) -> Self {
        let (mut text, mut from_start) = (String::new(), lock.take(BYTES_MAX));
        let read = from_start.read_to_string(&mut text);
        read.ok().and_then(|_| Self::parse(&text)).unwrap_or_default()
    }

    /// How the file of a partition was left, as far as it is the file that the note is about.
    pub(crate) fn left(&self, partition: u16, file: &File) -> Left {
        let (at, state) = (usize::from(partition), FileState::of(file));
        let is_left = |noted: &FileState, is_same: fn(&FileState, &FileState) -> bool| {
            state.as_ref().is_ok_and(|state| is_same(state, noted))
        };
        match self {
            Self::Settled(noted) if noted.get(at).is_some_and(|noted| is_left(noted, FileState::eq)) => {
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

    /// The note as text, for a process of this number.
    pub(crate) fn text(&self, pid: u32) -> String {
        match self {
            Self::Unknown => String::new(),
            Self::Settled(states) => format!("{SETTLED}\n{}", lines(states.iter())),
            Self::InUse(states) => {
                let bytes: String = states.iter().map(|(byte, _)| char::from(*byte)).collect();
                format!("{pid}\n{IN_USE}{bytes}\n{}", lines(states.iter().map(|(_, state)| state)))
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, rest) = text.split_once('\n')?;
        let (last_use, pid) = if first == SETTLED {
            (Self::Settled(states(rest)?), 0)
        } else {
            let (bytes, rest) = rest.split_once('\n')?;
            let (bytes, states) = (bytes.strip_prefix(IN_USE)?.bytes(), states(rest)?);
            (Self::InUse(bytes.zip(states).collect()), first.parse().ok()?)
        };
        // Nothing is left out, nor doubled.
        (last_use.text(pid) == text).then_some(last_use)
    }
}

/// The lines of states, and their checksum.
fn lines<'a>(states: impl Iterator<Item = &'a FileState>) -> String {
    let lines: String = states.map(|state| format!("{state}\n")).collect();
    let checksum = Checksum::of(lines.as_bytes()).value();
    format!("{lines}{checksum:08x}\n")
}

fn states(lines: &str) -> Option<Vec<FileState>> {
    let (states, _checksum) = lines.strip_suffix('\n')?.rsplit_once('\n')?;
    states.lines().map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::owner::{sign, sign_in_use, unsign};
    use std::os::unix::fs::FileExt as _;

    fn states(count: usize) -> (File, Vec<Option<FileState>>) {
        let file = tempfile::tempfile().unwrap();
        let state = FileState::of(&file).ok();
        (file, vec![state; count])
    }

    #[test]
    fn note_with_any_flipped_bit_or_cut_keeps_no_pages() {
        for count in 1..4 {
            let (file, states) = states(count);
            let settled = LastUse::settled(states.clone());
            let mut in_use = LastUse::in_use(states);
            assert_eq!(in_use.left(0, &file), Left::InDoubt);
            let LastUse::InUse(noted) = &mut in_use else { panic!("{in_use:?}") };
            noted.iter_mut().for_each(|(byte, _)| *byte = SOUND);
            for (note, expected) in [(settled, Left::Settled), (in_use, Left::Sound)] {
                let text = note.text(77);
                assert_eq!(LastUse::parse(&text).as_ref(), Some(&note));
                assert_eq!((note.left(0, &file), note.left(9, &file)), (expected, Left::InDoubt));
                assert_eq!(note.left(0, &tempfile::tempfile().unwrap()), Left::InDoubt);
                for bit in 0..text.len() * 8 {
                    let mut damaged = text.clone().into_bytes();
                    damaged[bit / 8] ^= 1 << (bit % 8);
                    let parsed = str::from_utf8(&damaged).ok().and_then(LastUse::parse).unwrap_or_default();
                    let kept =
                        (0..count).filter(|at| parsed.left(*at as u16, &file) != Left::InDoubt).count();
                    // The number of the process may be another one, and the byte of one partition says less.
                    let is_harmless = bit / 8 < 2 && matches!(parsed, LastUse::InUse(_));
                    assert!(kept < count || is_harmless, "bit {bit} of {text}");
                }
                for len in 0..text.len() {
                    assert_eq!(LastUse::parse(&text[..len]), None, "{len} bytes");
                }
                assert_eq!(LastUse::parse(&format!("{text}\n")), None);
            }
        }
        let (_file, states) = states(1);
        assert_eq!(LastUse::settled([states[0], None]), LastUse::Unknown);
        assert_eq!(LastUse::settled([]), LastUse::Unknown);
        assert_eq!(LastUse::in_use([states[0], None]), LastUse::Unknown);
        assert_eq!((LastUse::Unknown.text(1), LastUse::parse("")), (String::new(), None));
    }

    #[test]
    fn lock_has_the_number_while_in_use_and_the_note_after() {
        let lock = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().read(true).write(true).open(lock.path()).unwrap();
        let text = || std::fs::read_to_string(lock.path()).unwrap();
        let (file, states) = states(3);
        let (settled, in_use) = (LastUse::settled(states.clone()), LastUse::in_use(states));
        assert_eq!(LastUse::read(&open()), LastUse::Unknown);
        for _ in 0..2 {
            sign(&open());
            assert_eq!(text(), format!("{}\n", std::process::id()));
            assert_eq!(LastUse::read(&open()), LastUse::Unknown);
            sign_in_use(&open(), &in_use);
            assert_eq!(text().lines().next(), Some(&*std::process::id().to_string()));
            open().write_all_at(&[SOUND], LastUse::state_at(1)).unwrap();
            let left = [0, 1, 2].map(|partition| LastUse::read(&open()).left(partition, &file));
            assert_eq!(left, [Left::InDoubt, Left::Sound, Left::InDoubt]);
            unsign(&open(), &settled);
            assert_eq!(LastUse::read(&open()), settled);
        }
        unsign(&open(), &LastUse::Unknown);
        assert_eq!(text(), "");
    }
}
