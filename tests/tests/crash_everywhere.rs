//! Power cuts at every moment of small histories, in every way that a medium allows.

use coldpress_core::compaction::CompactionTask::CompactData;
use coldpress_tests::sim::{Do, Setup, cut_everywhere};

const AFTER: [Do; 4] = [Do::Put(1, 20), Do::Remove(2), Do::Sync, Do::Run(CompactData)];

#[test]
fn first_writes_cut_anywhere_leave_old_or_new() {
    let script = [Do::Put(1, 20), Do::Put(2, 30), Do::Sync, Do::Put(1, 25), Do::Flush, Do::Settle];
    for setup in [Setup::file(), Setup::flash()] {
        let moments = setup.moments(&script);
        let tried = cut_everywhere(&setup, &moments, &AFTER);
        println!("{tried:?}");
    }
}
