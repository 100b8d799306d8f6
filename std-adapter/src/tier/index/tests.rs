//! The index against what `Host` says of each call.
