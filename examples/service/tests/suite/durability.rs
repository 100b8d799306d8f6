//! A crash under load loses nothing that was acknowledged as durable.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::collections::HashMap;
use std::thread;

use crate::client::{Answer, Resp};
use crate::started::{Started, wait_for};

/// Clients that write at the same time.
const WRITERS: usize = 4;
/// Keys that each of them overwrites in turn.
const KEYS: u64 = 20;

/// Sets keys until the connection breaks off; returns the last number that was acknowledged for each.
fn write(address: SocketAddr, writer: usize, from: u64, count: &AtomicU64) -> HashMap<String, u64> {
    let mut acknowledged = HashMap::new();
    let mut client = Resp::to(address);
    for number in from.. {
        let key = format!("{writer}:{}", number % KEYS);
        let value = format!("{number}:{}", "x".repeat(500));
        match client.ask(&[b"SET", key.as_bytes(), value.as_bytes()]) {
            Ok(Answer::Simple(_)) => {
                acknowledged.insert(key, number);
                count.fetch_add(1, Relaxed);
            }
            _ => break,
        }
    }
    acknowledged
}

fn crash_under_load(durability: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let arguments = ["--dir", path, "--durability", durability, "--sync-every", "0s"];
    let mut acknowledged: HashMap<String, u64> = HashMap::new();
    for round in 0..2 {
        let service = Started::with(&arguments);
        let address = service.resp;
        let from = 1 + acknowledged.values().max().map_or(0, |number| number + 1_000_000);
        let counts = [const { AtomicU64::new(0) }; WRITERS];
        thread::scope(|scope| {
            let counts = &counts;
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| scope.spawn(move || write(address, writer, from, &counts[writer])))
                .collect();
            wait_for("each key is overwritten", || counts.iter().all(|count| count.load(Relaxed) > 2 * KEYS));
            service.kill();
            for writer in writers {
                acknowledged.extend(writer.join().unwrap());
            }
        });
        assert_eq!(acknowledged.len() as u64, WRITERS as u64 * KEYS, "round {round} wrote too little");
        let service = Started::with(&arguments);
        let mut client = service.client();
        for (key, number) in &acknowledged {
            let value = client.run(&format!("GET {key}")).text();
            let found: u64 = value.split(':').next().unwrap().parse().unwrap();
            // A write that was on its way may be there; none that was acknowledged may be missing.
            assert!(found >= *number, "{key}: {number} was acknowledged, {found} is there");
            assert!(value.ends_with(&"x".repeat(500)), "{key}");
        }
        assert_eq!(client.run("DBSIZE"), Answer::Integer(WRITERS as i64 * KEYS as i64));
    }
}

#[test]
fn kill_under_load_loses_no_synced_write() {
    crash_under_load("synced");
}

#[test]
fn kill_under_load_loses_no_flushed_write() {
    crash_under_load("flushed");
}
