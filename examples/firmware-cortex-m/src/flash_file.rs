//! The file of the host in which the flash lies while the board is off.

use semihosting::fs::File;
use semihosting::io::{Read as _, Write as _};

const NAME: &core::ffi::CStr = c"flash.img";

/// Fills `flash` from the file; where there is none, it is blank.
pub(crate) fn load(flash: &mut [u8]) {
    flash.fill(0xFF);
    let Ok(mut file) = File::open(NAME) else { return };
    let mut at = 0;
    while let Some(rest) = flash.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) | Err(_) => return,
            Ok(read) => at += read,
        }
    }
}

/// Writes the file; `None` when that failed.
pub(crate) fn save(flash: &[u8]) -> Option<()> {
    File::create(NAME).ok()?.write_all(flash).ok()
}
