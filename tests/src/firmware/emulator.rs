//! One run of an emulator, with an end.

use core::time::Duration;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use super::Firmware;

/// A firmware that hangs is stopped after this; one that works takes a few seconds, and more on a machine that is slow and busy.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Runs `elf`; returns its exit code, if it came to one, and what it wrote.
pub(super) fn run(firmware: &Firmware, elf: &Path, folder: &Path) -> io::Result<(Option<i32>, Vec<u8>)> {
    let mut child = Command::new(firmware.emulator)
        .args(["-machine", firmware.machine, "-nographic", "-monitor", "none", "-serial", "none"])
        .args(firmware.options)
        .args(["-semihosting-config", "enable=on,target=native"])
        .args(["-icount", &format!("shift={},align=off,sleep=off", firmware.shift)])
        .arg("-kernel")
        .arg(elf)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pipe = child.stdout.take().ok_or_else(|| io::Error::other("no pipe to the emulator"))?;
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).map(|_| bytes)
    });
    let deadline = Instant::now() + PATIENCE;
    let code = loop {
        if let Some(status) = child.try_wait()? {
            break status.code();
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(10));
    };
    let bytes = reader.join().map_err(|_| io::Error::other("the reader of the log panicked"))??;
    Ok((code, bytes))
}
