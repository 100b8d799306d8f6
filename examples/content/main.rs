//! Measures the contents of the replay's values: how fast they are made and checked, how far they compress.

use core::hint::black_box;
use std::time::Instant;

use clap::Parser as _;
use coldpress_core::codec::CodecId;
use coldpress_examples::content::Content;
use coldpress_examples::measuring;
use coldpress_std::codec::CodecSet;

/// Bytes made, checked and compressed for each line.
const BYTES: usize = 1 << 28;

fn main() {
    // There is nothing to choose; `--help` says so, and an argument is refused.
    let measuring::Content {} = measuring::Content::parse();
    let content = Content::new(1);
    println!(
        "{:>9}{:>12}{:>12}{:>10}{:>12}{:>12}",
        "bytes", "made GB/s", "read GB/s", "lz4", "heatshrink", "zstd"
    );
    for len in [256, 1024, 4096, 16_384, 65_536] {
        let mut value = vec![0; len];
        let keys = (BYTES / len) as u64;
        let started = Instant::now();
        (0..keys).for_each(|key| content.fill(key, 1, black_box(&mut value)));
        let made = rate(started);
        content.fill(7, 1, &mut value);
        let started = Instant::now();
        let right = (0..keys).filter(|_| content.matches(7, 1, black_box(&value))).count();
        let checked = rate(started);
        assert!(right as u64 == keys, "a value does not match itself");
        let [lz4, heatshrink, zstd] =
            [CodecId::Lz4, CodecId::Heatshrink, CodecId::Zstd].map(|codec| ratio(content, codec, len));
        println!("{len:>9}{made:>12.1}{checked:>12.1}{lz4:>10.2}{heatshrink:>12.2}{zstd:>12.2}");
    }
}

fn rate(started: Instant) -> f64 {
    BYTES as f64 / 1e9 / started.elapsed().as_secs_f64()
}

/// Gives the bytes of some values over the bytes of their payloads.
fn ratio(content: Content, codec: CodecId, len: usize) -> f64 {
    let mut codecs = CodecSet::new();
    let (mut value, mut payload) = (vec![0; len], Vec::new());
    let (mut bytes_in, mut bytes_out) = (0, 0);
    for key in 0..(1 << 20) / len as u64 {
        content.fill(key, 1, &mut value);
        codecs.encode(codec, &value, &mut payload);
        bytes_in += value.len();
        bytes_out += payload.len();
    }
    bytes_in as f64 / bytes_out as f64
}
