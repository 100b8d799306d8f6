//! Backups of a tier: made while clients write, broken off at every step, restored, verified and pruned.

mod at_once;
mod backing_up;
mod clouds;
mod common;
mod damaged;
mod failures;
mod killed;
mod killed_restores;
mod known;
mod places;
mod pruning;
mod repeating;
mod requests;
mod restoring;
mod virtual_time;
mod world;
