//! Writes numbers and bytes one after the other, as every header and entry is built.

/// A lent buffer and how much of it is filled.
#[derive(Debug)]
pub(crate) struct FieldWriter<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> FieldWriter<'a> {
    /// Begins at the start of `out`, which must be long enough for everything that is put: bytes beyond its end are left out.
    pub(crate) const fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    /// Puts bytes behind the others.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        debug_assert!(end <= self.out.len(), "a field of {} bytes does not fit", bytes.len());
        if let Some(place) = self.out.get_mut(self.at..end) {
            place.copy_from_slice(bytes);
            self.at = end;
        }
    }

    /// The bytes that were put so far.
    pub(crate) fn filled(&self) -> &[u8] {
        self.out.get(..self.at).unwrap_or_default()
    }
}
