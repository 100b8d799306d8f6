//! What the runnable programs of Coldpress share.

pub mod content;
pub mod published;
pub mod request;
pub mod rng;
pub mod trace;
pub mod workload;
pub mod zipf;
