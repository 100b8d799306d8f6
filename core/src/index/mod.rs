//! What a machine asks of the adapter that drives it: where the newest copy of a key is, and what is to happen to records.

mod host;

pub use host::{Dropped, Due, Host, Look, Placed, Published, Reconciled, Released, Settled, Standing};
