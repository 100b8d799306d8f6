//! The content that the store must have: a history that can be played again from nothing, since a reset forgets all RAM.

/// One write of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// The value of this version.
    Put,
    /// The value of this version, for [`TTL_S`] seconds.
    PutWithTtl,
    /// Removes the key.
    Remove,
}

/// How long a value with an expiry lives, in seconds.
pub const TTL_S: u32 = 30;

/// One key of so many is removed in the end; the one after it gets an expiry.
const MARKED_EVERY: u32 = 7;

/// The bytes of a key.
#[must_use]
pub const fn key_bytes(key: u32) -> [u8; 4] {
    key.to_le_bytes()
}

/// The value of a key's version: it shows both, and no two are alike.
#[must_use]
pub fn value_of<const VALUE: usize>(key: u32, version: u16) -> [u8; VALUE] {
    let mut state = (key << 16) | u32::from(version);
    let mut value = [0; VALUE];
    for part in value.chunks_mut(4) {
        // Marsaglia's xorshift; the first word is the state itself.
        part.copy_from_slice(&state.to_le_bytes()[..part.len()]);
        state = state.wrapping_add(0x9E37_79B9);
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
    }
    value
}

/// The version of each key, zero where it has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model<const KEYS: usize> {
    versions: [u16; KEYS],
    expiring: u32,
}

impl<const KEYS: usize> Model<KEYS> {
    /// No key has a value.
    #[must_use]
    pub const fn new() -> Self {
        Self { versions: [0; KEYS], expiring: 0 }
    }

    /// The history of a first life: every key is put, `overwrites` keys picked evenly are put again, then some are removed and some get
    /// an expiry.
    pub fn history(overwrites: u32) -> impl Iterator<Item = (Write, u32)> {
        let keys = u32::try_from(KEYS).unwrap_or(u32::MAX);
        let mut state = 1u64;
        let picked = core::iter::repeat_with(move || {
            // Knuth's linear congruential generator.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u32::try_from((state >> 33) % u64::from(keys)).unwrap_or(0)
        });
        let marked = (0..keys).step_by(MARKED_EVERY as usize).flat_map(move |key| {
            let next = (key + 1 < keys).then_some((Write::PutWithTtl, key + 1));
            core::iter::once((Write::Remove, key)).chain(next)
        });
        (0..keys).chain(picked.take(overwrites as usize)).map(|key| (Write::Put, key)).chain(marked)
    }

    /// Plays the [history](Self::history) of a first life. Each write is passed to `write`, with key and version, and then noted.
    ///
    /// # Errors
    /// The first of `write`, which ends the history.
    pub fn play<E>(
        &mut self,
        overwrites: u32,
        mut write: impl FnMut(Write, u32, u16) -> Result<(), E>,
    ) -> Result<(), E> {
        for (kind, key) in Self::history(overwrites) {
            write(kind, key, self.next_version(key))?;
            self.note(kind, key);
        }
        Ok(())
    }

    /// The version that the next put of a key has.
    #[must_use]
    pub fn next_version(&self, key: u32) -> u16 {
        self.versions.get(key as usize).map_or(0, |version| version + 1)
    }

    /// Notes a write that was made.
    pub fn note(&mut self, write: Write, key: u32) {
        let next = self.next_version(key);
        let Some(version) = self.versions.get_mut(key as usize) else { return };
        *version = if write == Write::Remove { 0 } else { next };
        self.expiring += u32::from(write == Write::PutWithTtl);
    }

    /// Plays the history without writing anything.
    pub fn recall(&mut self, overwrites: u32) {
        let _: Result<(), core::convert::Infallible> = self.play(overwrites, |_, _, _| Ok(()));
    }

    /// Forgets the keys whose expiry has come; returns how many.
    pub fn expire(&mut self) -> u32 {
        for version in self.versions.iter_mut().skip(1).step_by(MARKED_EVERY as usize) {
            *version = 0;
        }
        core::mem::take(&mut self.expiring)
    }

    /// Every key with its version, `None` where it has no value.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Option<u16>)> + '_ {
        (0..).zip(&self.versions).map(|(key, version)| (key, (*version > 0).then_some(*version)))
    }

    /// How many keys have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.versions.iter().filter(|version| **version > 0).count()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<const KEYS: usize> Default for Model<KEYS> {
    fn default() -> Self {
        Self::new()
    }
}
