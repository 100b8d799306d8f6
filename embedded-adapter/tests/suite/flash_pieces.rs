//! Values longer than any buffer of the tier.

use crate::ram::Ram;
use coldpress_core::drive::Now;
use coldpress_embedded::flash::{
    Cursor, FlashConfig, FlashMemory, FlashTier, GetError, NorMedium, PutError, buckets_for,
};

type Memory = FlashMemory<16, { buckets_for(300) }, 128>;
type Flash = Ram<4, 2048>;
type Tier<'m> = FlashTier<'m, NorMedium<Flash>>;

const NOW: Now = Now { monotonic_ms: 5, wall_s: 100 };

fn mounted(memory: &mut Memory, flash: Flash) -> Tier<'_> {
    let mut tier = FlashTier::new(FlashConfig::new(2048, 3), memory, NorMedium::new(flash)).unwrap();
    tier.mount(NOW).unwrap();
    while !tier.poll(NOW, 64).is_idle {}
    tier
}

fn taken<T>(tier: &mut Tier<'_>, mut call: impl FnMut(&mut Tier<'_>) -> Result<T, PutError>) -> T {
    for _ in 0..1_000 {
        match call(tier) {
            Err(PutError::NeedsCompaction) => drop(tier.poll(NOW, 16)),
            result => return result.unwrap_or_else(|error| panic!("{error}\n{:?}", tier.stats())),
        }
    }
    panic!("put off a thousand times");
}

fn value(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + seed * 13 + at / 251) as u8).collect()
}

/// Writes a value up to so many pieces; commits it where all were written.
fn write(tier: &mut Tier<'_>, key: &[u8], value: &[u8], pieces_max: usize) {
    tier.begin(NOW, key, None).unwrap();
    for piece in value.chunks(90).take(pieces_max) {
        taken(tier, |tier| tier.put_piece(NOW, key, piece));
    }
    if pieces_max >= value.len().div_ceil(90) {
        taken(tier, |tier| tier.commit(NOW, key));
    }
}

fn read(tier: &mut Tier<'_>, key: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    let len = tier.get_in_pieces(NOW, key, &mut [0; 90], |offset, piece| {
        assert_eq!(offset as usize, whole.len());
        whole.extend_from_slice(piece);
    });
    len.unwrap().map(|len| {
        assert_eq!(len as usize, whole.len());
        whole
    })
}

fn sweep(tier: &mut Tier<'_>) {
    while taken(tier, |tier| tier.sweep(NOW)) {}
}

#[test]
fn long_value_is_written_read_replaced_and_removed_in_pieces() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Flash::new(16));
    for round in 0..30 {
        let long = value(round, 2_500 + round * 17);
        write(&mut tier, b"firmware", &long, usize::MAX);
        assert_eq!(read(&mut tier, b"firmware"), Some(long.clone()), "round {round}");
        assert_eq!(tier.get(NOW, b"firmware", &mut [0; 90]), Err(GetError::InPieces(long.len() as u32)));
        sweep(&mut tier);
        assert_eq!((tier.len(), tier.stats().keys), (1, 1));
        // The head, and one entry a piece beside those that are still on the medium.
        let (mut cursor, mut out) = (Cursor::default(), [0; 90]);
        let found = tier.next_key(NOW, &mut cursor, &mut out).unwrap().unwrap();
        assert_eq!((found.key, found.value_bytes as usize), (b"firmware".as_slice(), long.len()));
        assert_eq!(tier.next_key(NOW, &mut cursor, &mut out), Ok(None));
    }
    let flash = tier.into_medium().into_flash();
    let mut tier = mounted(&mut memory, flash);
    assert_eq!(read(&mut tier, b"firmware"), Some(value(29, 2_500 + 29 * 17)));
    assert!(taken(&mut tier, |tier| tier.remove(NOW, b"firmware")));
    assert_eq!(read(&mut tier, b"firmware"), None);
    sweep(&mut tier);
    assert_eq!(tier.len(), 0);
    taken(&mut tier, |tier| tier.put(NOW, b"firmware", b"short"));
    assert_eq!(read(&mut tier, b"firmware"), Some(b"short".to_vec()));
}

#[test]
fn long_value_cut_after_any_piece_keeps_the_old_and_is_swept() {
    let mut memory = Memory::new();
    let mut flash = Flash::new(16);
    let old = value(1, 1_000);
    for pieces in 0..=12 {
        let mut tier = mounted(&mut memory, flash);
        write(&mut tier, b"k", &old, usize::MAX);
        write(&mut tier, b"k", &value(2, 1_040), pieces);
        // The power is cut: the tier forgets the value that was begun.
        flash = tier.into_medium().into_flash();
        let mut tier = mounted(&mut memory, flash);
        let found = if pieces < 12 { old.clone() } else { value(2, 1_040) };
        assert_eq!(read(&mut tier, b"k"), Some(found.clone()), "cut after {pieces} pieces");
        sweep(&mut tier);
        assert_eq!(read(&mut tier, b"k"), Some(found));
        assert_eq!(tier.put_piece(NOW, b"k", b"piece"), Err(PutError::NotBegun));
        assert_eq!(tier.len(), 1);
        flash = tier.into_medium().into_flash();
    }
}

#[test]
fn sweep_during_a_write_spares_it_and_refuses_piece_names() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Flash::new(16));
    let long = value(4, 450);
    tier.begin(NOW, b"k", Some(50)).unwrap();
    for piece in long.chunks(90) {
        taken(&mut tier, |tier| tier.put_piece(NOW, b"k", piece));
        sweep(&mut tier);
    }
    taken(&mut tier, |tier| tier.commit(NOW, b"k"));
    assert_eq!(read(&mut tier, b"k"), Some(long));
    let later = Now { wall_s: NOW.wall_s + 51, ..NOW };
    assert_eq!(tier.get_in_pieces(later, b"k", &mut [0; 90], |_, _| {}), Ok(None));
    let name = [&[0xFF, b'c', b'p', 0, 0, 0][..], b"k"].concat();
    assert_eq!(tier.put(NOW, &name, b"mine"), Err(PutError::Reserved));
    assert_eq!(tier.remove(NOW, &name), Err(PutError::Reserved));
    assert_eq!(tier.contains(NOW, &name), Ok(false));
    assert_eq!(tier.get(NOW, &name, &mut [0; 90]), Ok(None));
}

// The head of an expired value still names its pieces. If new ones were written over them, a cut before the commit and a clock
// set back at the next mount would mix both values.
#[test]
fn value_begun_over_an_expired_one_is_never_mixed_with_it() {
    for begun in 1..8 {
        let mut memory = Memory::new();
        let mut tier = mounted(&mut memory, Flash::new(16));
        let (old, new) = (value(1, 700), value(2, 700));
        tier.begin(NOW, b"key", Some(10)).unwrap();
        for piece in old.chunks(90) {
            taken(&mut tier, |tier| tier.put_piece(NOW, b"key", piece));
        }
        taken(&mut tier, |tier| tier.commit(NOW, b"key"));
        let later = Now { monotonic_ms: NOW.monotonic_ms + 11_000, wall_s: NOW.wall_s + 11 };
        assert_eq!(tier.get_in_pieces(later, b"key", &mut [0; 90], |_, _| ()), Ok(None), "it expired");
        tier.begin(later, b"key", None).unwrap();
        for piece in new.chunks(90).take(begun) {
            taken(&mut tier, |tier| tier.put_piece(later, b"key", piece));
        }
        let flash = tier.into_medium().into_flash();
        let mut memory = Memory::new();
        let mut tier = mounted(&mut memory, flash);
        assert_eq!(read(&mut tier, b"key"), Some(old.clone()), "{begun} pieces of the new value");
    }
}
