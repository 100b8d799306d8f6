//! How a write of a client goes into the index.

use coldpress_core::format::{Kind, Sequence};

use super::entry::{Entry, Pending};

/// The outcome of a write in the index.
pub(crate) enum Publish {
    /// It is pending; or another client's remove is, and the worker may not know of that yet.
    Pending,
    /// A remove of a key of which nothing is known.
    Nothing,
    /// Nothing is written: the key to remove has no value any more, or the log has the value already. The record that says so
    /// may not be durable yet.
    Kept,
    /// A remove of a value that was never appended: the entry is gone.
    Forgotten,
}

/// Puts a write over an entry. While uncounted copies may lie on the medium (`withheld_above`), an unknown key may still have a
/// value. A remove of such a key is written, unless one that outranks those copies was.
pub(crate) fn publish(entry: &mut Entry, write: &mut Option<Pending>, withheld_above: u32) -> Publish {
    let is_remove = write.as_ref().is_some_and(|pending| pending.kind == Kind::Tombstone);
    let is_sure = withheld_above == 0
        || entry.pending.is_some()
        || entry
            .stored()
            .is_some_and(|s| s.is_live() && s.version().sequence >= Sequence::new(withheld_above));
    if is_remove && !entry.is_value() && is_sure {
        return match &entry.pending {
            Some(pending) if pending.inflight.is_none() => Publish::Pending,
            None if entry.is_vacant() => Publish::Nothing,
            _ => Publish::Kept,
        };
    }
    let Some(new) = write.take() else { return Publish::Nothing };
    entry.overlay(new);
    if is_remove
        && withheld_above == 0
        && entry.copies == 0
        && entry.pending.as_ref().is_some_and(|p| p.before.is_none())
    {
        entry.pending = None;
        return Publish::Forgotten;
    }
    Publish::Pending
}
