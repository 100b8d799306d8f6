//! Bytes that no log shows.

use core::fmt;

/// Buffers hold headers, in which the secret of the store is, and values of clients: `Debug` shows neither.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hidden<B>(pub(crate) B);

impl<B> fmt::Debug for Hidden<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}
