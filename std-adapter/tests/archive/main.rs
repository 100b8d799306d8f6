//! Backups of a tier: made while clients write, broken off at every step, restored, verified and pruned.

mod backing_up;
mod common;
mod failures;
mod pruning;
mod restoring;
