//! Requests of a machine to the adapter that drives it: where the newest copy of a key is, and how to treat records.

mod host;
mod rules;

pub use host::{
    Advice, Codecs, Dropped, Due, Host, Index, KeyCall, Liveness, Look, Placed, Published, Reconciled,
    Released, Settled,
};
pub use rules::{KeyEntry, Rank, drop_of, is_as_new, is_needless, rank};
