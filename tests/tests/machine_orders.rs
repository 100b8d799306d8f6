//! Every order in which completions can come, for small histories, with a power cut at every moment of each.

use coldpress_core::compaction::CompactionTask::CompactData;
use coldpress_tests::sim::{Do, Setup, order_everywhere};

#[test]
fn writes_and_syncs_completed_in_any_order_lose_nothing() {
    let script = [Do::Put(1, 30), Do::AskSync, Do::Put(1, 20), Do::Remove(1), Do::AskSync, Do::Put(1, 25), Do::Sync];
    println!("small: {:?}", order_everywhere(&Setup::file(), &script, 3, 20_000));
}

#[test]
fn compaction_completed_in_any_order_loses_nothing() {
    let mut script: Vec<Do> = (0..24).map(|n| Do::Put(1 + n % 3, 50)).collect();
    script.extend([Do::AskSync, Do::Queue(CompactData), Do::Remove(1), Do::Put(2, 20), Do::Sync, Do::Settle]);
    println!("compaction: {:?}", order_everywhere(&Setup::file(), &script, 1, 3_000));
}
