//! Reading: get, contains, the keys.

use coldpress_core::codec::CodecId;
use coldpress_core::drive::{MediumError, Now};
use coldpress_core::format::{PIECE_PREFIX, Sequence, Version, is_piece_identity};

use super::GetError;
use super::access::Access;
use super::reader::{Flash, OpenedRecord};
use super::table::{At, COPIES_MAX, Entry, State};
use super::tier::FlashTier;

/// The position of a walk over the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Cursor(usize);

/// A key that a walk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct KeyFound<'b> {
    /// The key.
    pub key: &'b [u8],
    /// Bytes of its value.
    pub value_bytes: u32,
    /// When it expires, in seconds of the [tier's time](FlashTier::clock_s).
    pub expires_s: Option<u32>,
}

/// A record that was found to be the newest of its key.
pub(super) struct Newest {
    pub(super) opened: OpenedRecord,
    pub(super) sequence: Sequence,
    version: Version,
    pub(super) entry: Entry,
}

impl Newest {
    /// A copy that a failed put may have left counts for nothing beside a published one.
    fn rank(&self) -> (bool, Version) {
        (self.entry.state != State::Dead, self.version)
    }

    /// Whether it counts, and was written in a segment of that sequence at least.
    pub(super) fn outranks(&self, sequence: Sequence) -> bool {
        self.entry.state != State::Dead && self.version.sequence >= sequence
    }
}

/// Whether the record of an entry is that of a key.
enum KeyMatch {
    Its(Newest),
    Others,
    Doubtful,
}

/// Live entries whose keys are unknown.
#[derive(Default)]
struct Doubt {
    is_any: bool,
    /// The newest of those beside which a record of the key may have been written: their counts are full.
    beside: Option<Version>,
}

impl Doubt {
    fn note<M: Access>(&mut self, flash: &Flash<M>, entry: &Entry, sequence: Sequence) {
        if entry.state == State::Dead {
            return;
        }
        self.is_any = true;
        if entry.copies == COPIES_MAX {
            let offset = flash.address(entry.place) % flash.geometry.segment_bytes();
            self.beside = self.beside.max(Some(Version { sequence, offset }));
        }
    }
}

impl<M: Access> FlashTier<'_, M> {
    /// Reads the value of a key that is not reserved.
    pub(super) async fn fetch_named<'b>(
        &mut self,
        now: Now,
        key: &[u8],
        out: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, GetError> {
        if key.starts_with(&PIECE_PREFIX) { Ok(None) } else { self.fetch(now, key, out).await }
    }

    /// Reads the value of any key.
    pub(super) async fn fetch<'b>(
        &mut self,
        now: Now,
        key: &[u8],
        out: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, GetError> {
        self.check_readable(now)?;
        let Some(newest) = self.newest(now, key).await? else { return Ok(None) };
        if newest.opened.header.codec == CodecId::Chunked {
            return Err(GetError::InPieces(self.head(&newest, key).await?.bytes));
        }
        // A device decodes nothing: the stored bytes are not the value.
        let codec = newest.opened.header.codec;
        if codec != CodecId::Raw {
            let is_whole = self.flash.is_whole(&newest.opened, newest.sequence).await?;
            return Err(if is_whole { GetError::Codec(codec) } else { GetError::Damaged });
        }
        let bytes = newest.opened.header.value_bytes;
        let Some(out) = out.get_mut(..bytes as usize) else {
            // A damaged length must not make a caller fetch a longer buffer.
            let is_whole = self.flash.is_whole(&newest.opened, newest.sequence).await?;
            return Err(if is_whole { GetError::Short(bytes) } else { GetError::Damaged });
        };
        if self.flash.value(&newest.opened, key, newest.sequence, out).await? {
            Ok(Some(out))
        } else {
            Err(GetError::Damaged)
        }
    }

    /// Tells whether a key that is not reserved has a value.
    pub(super) async fn has_value(&mut self, now: Now, key: &[u8]) -> Result<bool, GetError> {
        self.check_readable(now)?;
        Ok(!key.starts_with(&PIECE_PREFIX) && self.newest(now, key).await?.is_some())
    }

    /// Finds the newest record of a key, if it is a value whose time is not over.
    pub(super) async fn newest(&mut self, now: Now, key: &[u8]) -> Result<Option<Newest>, GetError> {
        let Some(newest) = self.newest_record(key).await?.filter(|newest| newest.entry.state == State::Value)
        else {
            return Ok(None);
        };
        let is_over = self.is_over(now, &newest.opened, newest.sequence).await?;
        Ok((!is_over).then_some(newest))
    }

    /// Finds the newest record of a key, whatever it is.
    pub(super) async fn newest_record(&mut self, key: &[u8]) -> Result<Option<Newest>, GetError> {
        let (mut newest, mut doubt) = self.look_for(key).await?;
        if doubt.is_any {
            // A wrong read may be right the next time.
            (newest, doubt) = self.look_for(key).await?;
        }
        // A doubtful entry may be the key's, with a damaged record: an older value is never returned in its place.
        let is_hidden = match &newest {
            Some(newest) if newest.entry.state != State::Dead => {
                newest.entry.copies == COPIES_MAX && doubt.beside > Some(newest.version)
            }
            _ => doubt.is_any,
        };
        if is_hidden { Err(GetError::Damaged) } else { Ok(newest) }
    }

    /// The newest record among those that may be the key's, and the entries whose key is in doubt.
    async fn look_for(&mut self, key: &[u8]) -> Result<(Option<Newest>, Doubt), GetError> {
        let hash = self.flash.secret.identity(key);
        let mut newest: Option<Newest> = None;
        let mut doubt = Doubt::default();
        for at in self.index.table.candidates(&hash) {
            let Some(entry) = self.index.table.entry(at) else { continue };
            let found = match self.look_at(at, entry, key).await {
                Ok(KeyMatch::Its(found)) => found,
                Ok(KeyMatch::Others) => continue,
                // Its copies may be gone, so it stands for none that counts.
                Ok(KeyMatch::Doubtful) if entry.is_uncounted() => continue,
                Ok(KeyMatch::Doubtful) => {
                    doubt.note(
                        &self.flash,
                        &entry,
                        self.index.sequence_of(&self.flash.geometry, entry.place),
                    );
                    continue;
                }
                // The copy of a failed put counts for nothing, readable or not.
                Err(MediumError::Unreadable) if entry.state == State::Dead => continue,
                Err(error) => return Err(error.into()),
            };
            let is_live = |newest: &Newest| newest.entry.state != State::Dead;
            let Some(before) = newest.take_if(|newest| is_live(newest) && is_live(&found)) else {
                if newest.as_ref().is_none_or(|newest| newest.rank() < found.rank()) {
                    newest = Some(found);
                }
                continue;
            };
            // An origin that was read wrongly would put an older record first. So both must be whole.
            for one in [before, found] {
                if !self.flash.is_whole(&one.opened, one.sequence).await? {
                    doubt.note(&self.flash, &one.entry, one.sequence);
                } else if newest.as_ref().is_none_or(|newest| newest.rank() < one.rank()) {
                    newest = Some(one);
                }
            }
        }
        Ok((newest, doubt))
    }

    /// Looks at the record of an entry, by header and key.
    async fn look_at(&mut self, at: At, entry: Entry, key: &[u8]) -> Result<KeyMatch, MediumError> {
        let Some(opened) = self.flash.open(entry.place).await? else { return Ok(KeyMatch::Doubtful) };
        if !self.flash.key_is(&opened, key).await? {
            let stored = self.flash.stored_hash(&opened).await?;
            // With the same identity the record is the key's after all, and a read was wrong. Hardly ever is it another key
            // with that identity.
            let is_others =
                stored != self.flash.secret.identity(key) && self.index.table.may_be_of(at, &stored);
            return Ok(if is_others { KeyMatch::Others } else { KeyMatch::Doubtful });
        }
        let sequence = self.index.sequence_of(&self.flash.geometry, entry.place);
        let version = opened.version(&self.flash.geometry, sequence);
        Ok(KeyMatch::Its(Newest { opened, sequence, version, entry }))
    }

    /// Returns whether a record has expired; a damaged expiry is an error.
    async fn is_over(
        &mut self,
        now: Now,
        opened: &OpenedRecord,
        sequence: Sequence,
    ) -> Result<bool, GetError> {
        let is_over = opened.header.expires_s.is_some_and(|at| at <= self.clock_s(now));
        if is_over && !self.flash.is_whole(opened, sequence).await? {
            return Err(GetError::Damaged);
        }
        Ok(is_over)
    }

    /// Goes on to the next key that has a value.
    pub(super) async fn walk<'b>(
        &mut self,
        now: Now,
        cursor: &mut Cursor,
        out: &'b mut [u8],
    ) -> Result<Option<KeyFound<'b>>, GetError> {
        self.check_readable(now)?;
        while let Some((at, entry, next)) = self.index.table.next_from(cursor.0) {
            let here = core::mem::replace(&mut cursor.0, next);
            if entry.state != State::Value {
                continue;
            }
            let Some(opened) = self.flash.open(entry.place).await? else { return Err(GetError::Damaged) };
            let stored = self.flash.stored_hash(&opened).await?;
            if !self.index.table.may_be_of(at, &stored) {
                return Err(GetError::Damaged);
            }
            let expires_s = opened.header.expires_s;
            let sequence = self.index.sequence_of(&self.flash.geometry, entry.place);
            if self.is_over(now, &opened, sequence).await? {
                continue;
            }
            if is_piece_identity(&stored) {
                continue;
            }
            let bytes = opened.header.key_bytes;
            let Some(key) = out.get_mut(..bytes as usize) else {
                cursor.0 = here;
                return Err(GetError::Short(bytes));
            };
            self.flash.key(&opened, key).await?;
            let mut value_bytes = opened.header.value_bytes;
            if opened.header.codec == CodecId::Chunked {
                let version = opened.version(&self.flash.geometry, sequence);
                value_bytes = self.head(&Newest { opened, sequence, version, entry }, key).await?.bytes;
            }
            return Ok(Some(KeyFound { key, value_bytes, expires_s }));
        }
        Ok(None)
    }
}
