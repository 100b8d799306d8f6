//! Replays a trace through a cold tier.
fn main() {}
