//! A round trip through the pool coordinator beside one through bare channels of crossbeam.
//!
//! The coordinator answers a request to defragment empty pools, so the trip itself is measured: the request, the worker's look at all
//! partitions, and the reply. The bare trips have the same two channels, and a thread that answers at once. One makes a reply channel for
//! each call, as the coordinator does; the other keeps one.

use std::thread;

use coldpress_std::pool::{AllocationManager, CleanupKind, PoolConfig};
use crossbeam_channel::{Sender, bounded};
use std::time::Instant;

use crate::measure::Tally;
use crate::stores::Fault;

/// Trips in a turn.
const TRIPS: u32 = 4_000;

/// Turns of each.
const ROUNDS: u32 = 5;

/// Requests that may wait: the queue of the coordinator by default is of that order.
const QUEUE: usize = 64;

/// A kind of round trip.
#[derive(Debug, Clone, Copy)]
enum Trip {
    Coordinator,
    NewReply,
    KeptReply,
}

impl Trip {
    const ALL: [Self; 3] = [Self::Coordinator, Self::NewReply, Self::KeptReply];

    const fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "pool coordinator (`cleanup`)",
            Self::NewReply => "crossbeam, a reply channel for each call",
            Self::KeptReply => "crossbeam, one reply channel",
        }
    }

    fn measure(self) -> Result<Tally, Fault> {
        match self {
            Self::Coordinator => coordinator(),
            Self::NewReply => bare(true),
            Self::KeptReply => bare(false),
        }
    }
}

/// Measures the trips in turn, and prints a table.
pub(crate) fn run() -> Result<(), Fault> {
    let mut all = Vec::new();
    for trip in Trip::ALL {
        all.push((trip, Tally::new(Instant::now())?));
    }
    for _ in 0..ROUNDS {
        for (trip, sum) in &mut all {
            sum.add(&trip.measure()?)?;
        }
    }
    println!("{} round trips each, in {ROUNDS} turns\n", TRIPS * ROUNDS);
    println!("| round trip | median µs | p99 µs | p99.9 µs | longest µs |\n|---|---:|---:|---:|---:|");
    for (trip, tally) in &all {
        let latencies = tally.latencies();
        let us = |ns: u64| ns as f64 / 1e3;
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} |",
            trip.name(),
            us(latencies.p50_ns),
            us(latencies.p99_ns),
            us(latencies.p999_ns),
            us(latencies.max_ns)
        );
    }
    Ok(())
}

fn coordinator() -> Result<Tally, Fault> {
    let (_manager, coordinator) = AllocationManager::new(&PoolConfig::builder().build()?)?;
    let mut tally = Tally::new(Instant::now())?;
    for _ in 0..TRIPS {
        tally.time(|| coordinator.cleanup(CleanupKind::TriggerDefragmentation))?;
    }
    Ok(tally)
}

fn bare(makes_reply: bool) -> Result<Tally, Fault> {
    let (requests, asked) = bounded::<(u32, Sender<u32>)>(QUEUE);
    let mut tally = Tally::new(Instant::now())?;
    thread::scope(|scope| {
        scope.spawn(move || asked.iter().for_each(|(number, reply)| _ = reply.try_send(number)));
        let kept = bounded(1);
        for number in 0..TRIPS {
            let answer = tally.time(|| {
                let (reply, replies) = if makes_reply { bounded(1) } else { kept.clone() };
                requests.send((number, reply))?;
                Ok::<_, Fault>(replies.recv()?)
            })?;
            if answer != number {
                return Err("an answer to another request".into());
            }
        }
        drop(requests);
        Ok(tally)
    })
}
