use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};

use super::{Change, Flash, FlashError, Tear};

type Small = Flash<4, 64>;

fn read(flash: &mut Small, at: u32) -> Result<[u8; 4], FlashError> {
    let mut bytes = [0; 4];
    flash.read(at, &mut bytes)?;
    Ok(bytes)
}

#[test]
fn operations_are_counted_by_kind_and_erases_by_sector() {
    let mut flash = Small::new(3, 0xFF);
    flash.write(64, &[1; 8]).unwrap();
    flash.erase(64, 192).unwrap();
    flash.write(64, &[2; 4]).unwrap();
    assert_eq!(read(&mut flash, 64), Ok([2; 4]));
    assert_eq!(read(&mut flash, 68), Ok([0xFF; 4]));
    let counts = flash.counts();
    let got = [counts.programs, counts.programmed_bytes, counts.erases, counts.reads, counts.read_bytes];
    assert_eq!(got, [2, 12, 2, 2, 8]);
    assert_eq!(flash.erases(), [0, 1, 1]);
}

#[test]
#[should_panic(expected = "I-LOG-1: the unit at 4 of sector 1 is programmed twice")]
fn second_program_of_a_unit_panics_even_where_it_reads_blank() {
    let mut flash = Small::new(2, 0xFF);
    flash.write(64, &[0xFF; 8]).unwrap();
    flash.write(68, &[0; 4]).unwrap();
}

#[test]
#[should_panic(expected = "the write unit is 4")]
fn program_of_part_of_a_unit_panics() {
    Small::new(2, 0xFF).write(0, &[1; 6]).unwrap();
}

#[test]
#[should_panic(expected = "sectors have 64 bytes")]
fn erase_of_part_of_a_sector_panics() {
    Small::new(2, 0xFF).erase(0, 32).unwrap();
}

#[test]
fn cut_tears_its_change_and_fails_all_until_power_is_back() {
    let mut flash = Small::new(2, 0);
    flash.cut_after(1, 6);
    flash.write(0, &[1; 8]).unwrap();
    assert_eq!(flash.write(8, &[2; 8]), Err(FlashError::NoPower));
    assert_eq!(read(&mut flash, 0), Err(FlashError::NoPower));
    assert_eq!(flash.erase(0, 64), Err(FlashError::NoPower));
    flash.power_on();
    assert_eq!(read(&mut flash, 8), Ok([2; 4]));
    assert_eq!(read(&mut flash, 12), Ok([2, 2, 0, 0]));
}

#[test]
fn torn_program_leaves_old_or_new_bits_in_its_units_alone() {
    let mut flash = Small::new(2, 0xFF);
    flash.write(0, &[7; 4]).unwrap();
    flash.keep_tape();
    flash.write(4, &[0x0F; 8]).unwrap();
    let tape = flash.take_tape();
    assert_eq!(tape.len(), 1);
    assert_eq!(tape[0].change(), &Change::Program { at: 4, bytes: vec![0x0F; 8] });
    for tear in tape[0].tears() {
        let torn = tape[0].torn(tear);
        assert_eq!(torn.bytes()[..4], [7; 4], "{tear:?}");
        assert!(torn.bytes()[12..].iter().all(|byte| *byte == 0xFF), "{tear:?}");
        let is_between = |byte: &u8| byte & 0x0F == 0x0F;
        assert!(torn.bytes()[4..12].iter().all(is_between), "{tear:?}: {:?}", torn.bytes());
    }
    assert_eq!(tape[0].torn(Tear::First(8)).bytes(), flash.bytes());
}

#[test]
#[should_panic(expected = "programmed twice")]
fn faint_unit_reads_blank_and_takes_no_program() {
    let mut flash = Small::new(2, 0xFF);
    flash.keep_tape();
    flash.write(0, &[1; 8]).unwrap();
    let mut torn = flash.take_tape()[0].torn(Tear::Faint(4));
    assert_eq!(read(&mut torn, 0), Ok([1; 4]));
    assert_eq!(read(&mut torn, 4), Ok([0xFF; 4]));
    torn.write(8, &[1; 4]).unwrap();
    torn.write(4, &[1; 4]).unwrap();
}

#[test]
fn torn_erase_unless_whole_leaves_no_unit_to_program() {
    let mut flash = Small::new(2, 0xFF);
    flash.write(0, &[7; 64]).unwrap();
    flash.keep_tape();
    flash.erase(0, 64).unwrap();
    let moment = &flash.take_tape()[0];
    for tear in moment.tears() {
        let torn = moment.torn(tear);
        let is_whole = matches!(tear, Tear::First(64) | Tear::Last(64));
        assert_eq!(torn.image.programmed[..16].contains(&false), is_whole || is_partly(tear), "{tear:?}");
        assert!(torn.bytes()[..64].iter().all(|byte| byte & 7 == 7), "{tear:?}");
    }
    let faint = moment.torn(Tear::Faint(0));
    assert!(faint.bytes().iter().all(|byte| *byte == 0xFF));
}

/// Some tears leave the first units erased well.
const fn is_partly(tear: Tear) -> bool {
    matches!(tear, Tear::Faint(16..))
}

#[test]
fn unit_torn_beyond_its_ecc_fails_reads_until_erased() {
    let mut flash = Small::new(2, 0xFF);
    flash.keep_tape();
    flash.write(0, &[1; 8]).unwrap();
    let mut torn = flash.take_tape()[0].torn(Tear::Unreadable(4));
    assert_eq!(read(&mut torn, 0), Ok([1; 4]));
    assert_eq!(read(&mut torn, 4), Err(FlashError::Unreadable));
    assert_eq!(read(&mut torn, 8), Ok([0xFF; 4]));
    torn.erase(0, 64).unwrap();
    assert_eq!(read(&mut torn, 4), Ok([0xFF; 4]));
}
