//! Reads an ELF file: the size of the firmware, and the table that decodes its log.

use std::fs;
use std::io;
use std::path::Path;

use defmt_decoder::{DecodeError, Table};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, SectionKind, elf};

/// The bytes of flash and RAM that a firmware takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Code, constants and the initial values of statics, which are flashed.
    pub flash_bytes: u64,
    /// Statics, initialised or not; the stack is beside them.
    pub ram_bytes: u64,
}

/// Adds up the sections of an ELF file that are loaded.
///
/// # Errors
/// When it can't be read, or is none.
pub fn sizes(elf: &Path) -> io::Result<Sizes> {
    let bytes = fs::read(elf)?;
    let file = object::File::parse(&*bytes).map_err(io::Error::other)?;
    let mut sizes = Sizes::default();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        // One runtime makes the rest of the RAM a section.
        if sh_flags & u64::from(elf::SHF_ALLOC) == 0 || section.name() == Ok(".stack") {
            continue;
        }
        let is_ram = sh_flags & u64::from(elf::SHF_WRITE) != 0;
        let is_blank = section.kind() == SectionKind::UninitializedData;
        sizes.ram_bytes += if is_ram { section.size() } else { 0 };
        sizes.flash_bytes += if is_blank { 0 } else { section.size() };
    }
    Ok(sizes)
}

/// Adds up the statics in RAM whose symbol contains each of `parts`.
///
/// # Errors
/// When the file can't be read, or is none.
pub fn statics(elf: &Path, parts: &[&str]) -> io::Result<u64> {
    static_bytes(elf, parts, |_| true)
}

/// Adds up those of them that are zero at first, and so lie in RAM alone.
///
/// # Errors
/// When the file can't be read, or is none.
pub fn blank_statics(elf: &Path, parts: &[&str]) -> io::Result<u64> {
    static_bytes(elf, parts, |kind| kind == SectionKind::UninitializedData)
}

fn static_bytes(elf: &Path, parts: &[&str], counts: impl Fn(SectionKind) -> bool) -> io::Result<u64> {
    let bytes = fs::read(elf)?;
    let file = object::File::parse(&*bytes).map_err(io::Error::other)?;
    let in_ram = |symbol: &object::Symbol<'_, '_>| {
        let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
        section.is_some_and(|section| {
            let SectionFlags::Elf { sh_flags } = section.flags() else { return false };
            sh_flags & u64::from(elf::SHF_WRITE) != 0 && counts(section.kind())
        })
    };
    let named = file.symbols().filter(|symbol| {
        in_ram(symbol) && symbol.name().is_ok_and(|name| parts.iter().all(|part| name.contains(part)))
    });
    Ok(named.map(|symbol| symbol.size()).sum())
}

/// Decodes a log with the table in the firmware that wrote it.
pub(super) fn decode(elf: &Path, bytes: &[u8]) -> io::Result<Vec<String>> {
    let elf = fs::read(elf)?;
    let table = Table::parse(&elf).map_err(io::Error::other)?;
    let table = table.ok_or_else(|| io::Error::other("the firmware logs nothing"))?;
    let mut decoder = table.new_stream_decoder();
    decoder.received(bytes);
    let mut lines = Vec::new();
    loop {
        match decoder.decode() {
            Ok(frame) => {
                let level = frame.level().map_or("", |level| level.as_str());
                lines.push(format!("{level} {}", frame.display_message()));
            }
            Err(DecodeError::UnexpectedEof) => return Ok(lines),
            Err(DecodeError::Malformed) => return Err(io::Error::other(format!("no log after {lines:#?}"))),
        }
    }
}
