//! Typed values: they come back as they were, or as a typed error, and never as a wrong value.

use crate::ram::Ram;
use crate::slow::Slow;
use coldpress_core::drive::Now;
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashTier, GetError, NorMedium, PutError, Schema, TYPED_HEAD_BYTES,
    TypedGetError, TypedPutError, Wait, buckets_for,
};
use serde::{Deserialize, Serialize};

type Memory = FlashMemory<16, { buckets_for(50) }, 160>;
type Tier<'m> = FlashTier<'m, NorMedium<Ram<4, 1024>>>;

const NOW: Now = Now { monotonic_ms: 1, wall_s: 50 };

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Mode {
    Off,
    Ramp { from: i16, to: i16 },
    Hold(u32),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Settings {
    mode: Mode,
    gain: f32,
    limit: Option<u64>,
    table: [u16; 5],
    is_on: bool,
}

impl Schema for Settings {
    const SCHEMA: u16 = 0x0102;
}

/// Borrows from the buffer of its reader.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Network<'a> {
    name: &'a str,
    secret: &'a [u8],
}

impl Schema for Network<'_> {
    const SCHEMA: u16 = 2;
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Marker;

impl Schema for Marker {
    const SCHEMA: u16 = 3;
}

/// Its serialization always fails.
#[derive(Debug)]
struct Refusing;

impl Schema for Refusing {
    const SCHEMA: u16 = 4;
}

impl Serialize for Refusing {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it refuses"))
    }
}

fn settings(number: u16) -> Settings {
    let mode = match number % 3 {
        0 => Mode::Off,
        1 => Mode::Ramp { from: -300, to: number as i16 },
        _ => Mode::Hold(u32::MAX - u32::from(number)),
    };
    let limit = number.is_multiple_of(2).then_some(u64::from(number) << 40);
    Settings { mode, gain: f32::from(number) / 8.0, limit, table: [number; 5], is_on: number > 6 }
}

fn mounted(memory: &mut Memory, flash: Ram<4, 1024>) -> Tier<'_> {
    let mut tier = FlashTier::new(FlashConfig::new(1024, 1), memory, NorMedium::new(flash)).unwrap();
    tier.mount(NOW).unwrap();
    while !tier.poll(NOW, 64).is_idle {}
    tier
}

/// A tier on blank flash in an otherwise fresh memory, handed to a test.
fn on_blank(test: impl FnOnce(&mut Tier<'_>)) {
    let mut memory = Memory::new();
    test(&mut mounted(&mut memory, Ram::new(16)));
}

fn put(tier: &mut Tier<'_>, key: &[u8], value: &(impl Schema + Serialize)) {
    let mut buffer = [0; 128];
    loop {
        match tier.put_typed(NOW, key, value, &mut buffer) {
            Err(TypedPutError::Put(PutError::NeedsCompaction)) => drop(tier.poll(NOW, 16)),
            done => return done.unwrap(),
        }
    }
}

#[test]
fn typed_values_of_many_shapes_come_back_after_a_mount() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Ram::new(16));
    for round in 0..20 {
        for number in 0..12 {
            put(&mut tier, &[number as u8], &settings(number + round));
        }
        put(&mut tier, b"net", &Network { name: "Köln", secret: &[0, 0xFF, round as u8] });
    }
    put(&mut tier, b"mark", &Marker);
    let flash = tier.into_medium().into_flash();
    let mut tier = mounted(&mut memory, flash);
    let mut buffer = [0; 128];
    for number in 0..12 {
        let found = tier.get_typed::<Settings>(NOW, &[number as u8], &mut buffer);
        assert_eq!(found, Ok(Some(settings(number + 19))));
    }
    let found = tier.get_typed::<Network<'_>>(NOW, b"net", &mut buffer);
    assert_eq!(found, Ok(Some(Network { name: "Köln", secret: &[0, 0xFF, 19] })));
    assert_eq!(tier.get_typed::<Marker>(NOW, b"mark", &mut buffer), Ok(Some(Marker)));
    assert_eq!(tier.get_typed::<Marker>(NOW, b"none", &mut buffer), Ok(None));
    assert_eq!(tier.remove(NOW, b"mark"), Ok(true));
    assert_eq!(tier.get_typed::<Marker>(NOW, b"mark", &mut buffer), Ok(None));
}

#[test]
fn typed_value_with_a_lifetime_expires() {
    on_blank(|tier| {
        let mut buffer = [0; 128];
        tier.put_typed_with_ttl(NOW, b"k", &settings(1), &mut buffer, 10).unwrap();
        assert_eq!(tier.get_typed::<Settings>(NOW, b"k", &mut buffer), Ok(Some(settings(1))));
        let later = Now { monotonic_ms: 12_001, wall_s: 62 };
        assert_eq!(tier.get_typed::<Settings>(later, b"k", &mut buffer), Ok(None));
    });
}

#[test]
fn value_of_another_schema_is_named_and_replaced() {
    on_blank(|tier| {
        let mut buffer = [0; 128];
        put(tier, b"k", &settings(7));
        let changed = |stored, expected| TypedGetError::SchemaChanged { stored, expected };
        // The encoding of `Marker` has no bytes, so it decodes from any others: the number alone tells the two apart.
        for _ in 0..2 {
            assert_eq!(tier.get_typed::<Marker>(NOW, b"k", &mut buffer), Err(changed(0x0102, 3)));
        }
        assert_eq!(tier.get_typed::<Settings>(NOW, b"k", &mut buffer), Ok(Some(settings(7))), "still there");
        put(tier, b"k", &Marker);
        assert_eq!(tier.get_typed::<Marker>(NOW, b"k", &mut buffer), Ok(Some(Marker)));
        // An older firmware that comes back sees the newer number.
        assert_eq!(tier.get_typed::<Settings>(NOW, b"k", &mut buffer), Err(changed(3, 0x0102)));
        assert_eq!(tier.len(), 1);
    });
    let shown = TypedGetError::SchemaChanged { stored: 3, expected: 258 }.to_string();
    assert_eq!(shown, "the value has schema 3, its reader expects 258");
}

#[test]
fn typed_value_read_as_bytes_is_head_and_encoding() {
    on_blank(|tier| {
        put(tier, b"k", &Network { name: "ab", secret: &[7] });
        let bytes = [0xF5, 0x63, 2, 0, 2, b'a', b'b', 1, 7];
        assert_eq!(tier.get(NOW, b"k", &mut [0; 128]), Ok(Some(bytes.as_slice())));
        assert!(tier.contains(NOW, b"k").unwrap());
        put(tier, b"k", &settings(0));
        let found = tier.get(NOW, b"k", &mut [0; 128]).map(|found| found.map(|bytes| bytes[..4].to_vec()));
        assert_eq!(found, Ok(Some(vec![0xF5, 0x63, 0x02, 0x01])), "the number is little-endian");
    });
}

#[test]
fn untyped_value_is_refused_by_a_typed_get() {
    on_blank(|tier| {
        let mut buffer = [0; 128];
        let untyped: [&[u8]; 8] = [
            b"",
            b"a",
            &[0xF5],
            &[0xF5, 0x63],
            &[0xF5, 0x63, 3],
            &[0x63, 0xF5, 3, 0],
            b"plain text",
            &[0; 40],
        ];
        for bytes in untyped {
            tier.put(NOW, b"k", bytes).unwrap();
            let found = tier.get_typed::<Marker>(NOW, b"k", &mut buffer);
            assert_eq!(found, Err(TypedGetError::Untyped), "{bytes:?}");
            put(tier, b"k", &Marker);
            assert_eq!(tier.get_typed::<Marker>(NOW, b"k", &mut buffer), Ok(Some(Marker)));
        }
    });
}

#[test]
fn truncated_and_longer_encodings_are_no_values() {
    on_blank(|tier| {
        let (mut whole, mut buffer) = ([0; 128], [0; 128]);
        put(tier, b"k", &settings(8));
        let whole = tier.get(NOW, b"k", &mut whole).unwrap().unwrap();
        for len in 0..whole.len() {
            tier.put(NOW, b"k", &whole[..len]).unwrap();
            let expected =
                if len < TYPED_HEAD_BYTES { TypedGetError::Untyped } else { TypedGetError::Decode };
            assert_eq!(tier.get_typed::<Settings>(NOW, b"k", &mut buffer), Err(expected), "{len} bytes");
        }
        tier.put(NOW, b"k", &[whole, &[0]].concat()).unwrap();
        assert_eq!(tier.get_typed::<Settings>(NOW, b"k", &mut buffer), Err(TypedGetError::Decode));
    });
}

#[test]
fn hostile_encodings_decode_within_their_bytes_or_fail() {
    on_blank(|tier| {
        let (mut state, mut buffer, mut refused) = (1u64, [0; 128], 0);
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        for _ in 0..2_000 {
            let len = usize::from(next() % 60);
            // Lengths that lie: of the string, and of the bytes behind it.
            let mut bytes = vec![0xF5, 0x63, 2, 0];
            bytes.extend((0..len).map(|_| if next() < 64 { 0xFF } else { next() }));
            while tier.put(NOW, b"k", &bytes) == Err(PutError::NeedsCompaction) {
                let _ = tier.poll(NOW, 16);
            }
            match tier.get_typed::<Network<'_>>(NOW, b"k", &mut buffer) {
                Ok(Some(found)) => assert!(found.name.len() + found.secret.len() + 2 <= len, "{found:?}"),
                Ok(None) => panic!("the value is there"),
                Err(error) => {
                    assert_eq!(error, TypedGetError::Decode);
                    refused += 1;
                }
            }
        }
        assert!(refused > 1_500, "{refused}");
    });
}

#[test]
fn too_small_buffers_are_refused_with_the_length() {
    on_blank(|tier| {
        put(tier, b"k", &settings(4));
        let needed = tier.get(NOW, b"k", &mut [0; 128]).unwrap().unwrap().len();
        let short = u32::try_from(needed).unwrap();
        let written = tier.stats().counters.fresh_bytes;
        for len in 0..needed {
            let mut buffer = vec![0; len];
            let put = tier.put_typed(NOW, b"other", &settings(4), &mut buffer);
            assert_eq!(put, Err(TypedPutError::Short(short)), "{len} bytes");
            let found = tier.get_typed::<Settings>(NOW, b"k", &mut buffer);
            assert_eq!(found, Err(TypedGetError::Get(GetError::Short(short))), "{len} bytes");
        }
        assert_eq!(tier.stats().counters.fresh_bytes, written, "nothing was written");
        assert!(!tier.contains(NOW, b"other").unwrap());
        let mut buffer = vec![0; needed];
        assert_eq!(tier.put_typed(NOW, b"other", &settings(4), &mut buffer), Ok(()));
        assert_eq!(tier.get_typed::<Settings>(NOW, b"other", &mut buffer), Ok(Some(settings(4))));
        // A value without an encoding takes its head.
        assert_eq!(tier.put_typed(NOW, b"m", &Marker, &mut [0; 3]), Err(TypedPutError::Short(4)));
        assert_eq!(tier.put_typed(NOW, b"m", &Marker, &mut [0; 4]), Ok(()));
    });
}

#[test]
fn value_that_is_not_encoded_or_taken_leaves_the_old_one() {
    on_blank(|tier| {
        let mut buffer = [0; 512];
        put(tier, b"k", &settings(2));
        for len in [0, 4, 512] {
            let put = tier.put_typed(NOW, b"k", &Refusing, &mut buffer[..len]);
            assert_eq!(put, Err(TypedPutError::Encode), "a buffer of {len} bytes");
        }
        let long = Network { name: "", secret: &[1; 300] };
        let put = tier.put_typed(NOW, b"k", &long, &mut buffer);
        assert_eq!(put, Err(TypedPutError::Put(PutError::TooLong(160))));
        let put = tier.put_typed(NOW, b"\xFFcp", &Marker, &mut buffer);
        assert_eq!(put, Err(TypedPutError::Put(PutError::Reserved)));
        assert_eq!(tier.get_typed::<Settings>(NOW, b"k", &mut buffer), Ok(Some(settings(2))));
    });
}

#[test]
fn value_in_pieces_is_refused_by_a_typed_get() {
    on_blank(|tier| {
        tier.begin(NOW, b"k", None).unwrap();
        tier.put_piece(NOW, b"k", &[0xF5, 0x63, 3, 0]).unwrap();
        tier.commit(NOW, b"k").unwrap();
        let found = tier.get_typed::<Marker>(NOW, b"k", &mut [0; 128]);
        assert_eq!(found, Err(TypedGetError::Get(GetError::InPieces(4))));
    });
}

#[test]
fn typed_put_on_a_busy_medium_is_made_again_and_written_once() {
    let mut memory = Memory::new();
    let slow = Slow::new(NorMedium::new(Ram::new(16)));
    let mut tier = FlashTier::new(FlashConfig::new(1024, 1), &mut memory, slow).unwrap();
    while !tier.poll(NOW, 64).is_idle {}
    tier.mount(NOW).unwrap();
    let before = tier.stats().counters.fresh_records;
    let mut waits = 0;
    loop {
        // Each call has a buffer of its own: the encoding is the same.
        match tier.put_typed(NOW, b"k", &settings(5), &mut [0; 128]) {
            Err(TypedPutError::Put(PutError::Busy(Wait::Operation))) => waits += 1,
            done => break done.unwrap(),
        }
    }
    assert!(waits > 0);
    assert_eq!(tier.stats().counters.fresh_records, before + 1);
    let found = tier.get_typed::<Settings>(NOW, b"k", &mut [0; 128]);
    assert_eq!(found, Ok(Some(settings(5))));
}
