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

/// Tells whether a key is sure to have no value. While uncounted copies may lie on the medium (`withheld_above`), an unknown key may
/// still have one, unless a remove that outranks those copies was written.
pub(crate) fn is_surely_removed(entry: &Entry, withheld_above: u32) -> bool {
    let is_sure = withheld_above == 0
        || entry.pending.is_some()
        || entry
            .stored()
            .is_some_and(|s| s.is_live() && s.version().sequence >= Sequence::new(withheld_above));
    is_sure && !entry.is_value()
}

/// Puts a write over an entry. A remove of a key that surely has no value is not written.
pub(crate) fn publish(entry: &mut Entry, write: &mut Option<Pending>, withheld_above: u32) -> Publish {
    let is_remove = write.as_ref().is_some_and(|pending| pending.kind == Kind::Tombstone);
    if is_remove && is_surely_removed(entry, withheld_above) {
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
