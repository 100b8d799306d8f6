//! Positional access to a device in memory that can cut transfers, end early and fail.

use core::convert::Infallible;
use core::fmt;

use coldpress_embedded::{AccessError, IoMedium};
use embedded_io::{Error, ErrorKind, ErrorType, Read, Seek, SeekFrom, Write};

/// The error of a broken device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl core::error::Error for Broken {}

impl Error for Broken {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// A device of fixed length.
struct Device {
    bytes: Vec<u8>,
    at: usize,
    /// The most one transfer moves.
    piece: usize,
    /// Transfers, seeks and flushes until it breaks for good.
    calls_left: usize,
    calls: usize,
}

impl Device {
    fn new(length: usize) -> Self {
        Self { bytes: vec![0; length], at: 0, piece: usize::MAX, calls_left: usize::MAX, calls: 0 }
    }

    fn call(&mut self) -> Result<(), Broken> {
        self.calls += 1;
        self.calls_left = self.calls_left.checked_sub(1).ok_or(Broken)?;
        Ok(())
    }

    fn range(&mut self, length: usize) -> core::ops::Range<usize> {
        let start = self.at.min(self.bytes.len());
        let end = start + length.min(self.piece).min(self.bytes.len() - start);
        self.at = end;
        start..end
    }
}

impl ErrorType for Device {
    type Error = Broken;
}

impl Read for Device {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, Broken> {
        self.call()?;
        let range = self.range(out.len());
        out[..range.len()].copy_from_slice(&self.bytes[range.clone()]);
        Ok(range.len())
    }
}

impl Write for Device {
    fn write(&mut self, data: &[u8]) -> Result<usize, Broken> {
        self.call()?;
        let range = self.range(data.len());
        self.bytes[range.clone()].copy_from_slice(&data[..range.len()]);
        Ok(range.len())
    }

    fn flush(&mut self) -> Result<(), Broken> {
        self.call()
    }
}

impl Seek for Device {
    fn seek(&mut self, to: SeekFrom) -> Result<u64, Broken> {
        self.call()?;
        self.at = match to {
            SeekFrom::Start(at) => at as usize,
            SeekFrom::End(by) => self.bytes.len().checked_add_signed(by as isize).ok_or(Broken)?,
            SeekFrom::Current(by) => self.at.checked_add_signed(by as isize).ok_or(Broken)?,
        };
        Ok(self.at as u64)
    }
}

#[test]
fn whole_device_access_finds_each_byte_where_it_was_put() {
    let mut medium = IoMedium::whole(Device::new(64)).unwrap();
    assert_eq!(medium.size_bytes(), 64);
    medium.write_at(40, b"later").unwrap();
    medium.write_at(3, b"sooner").unwrap();
    medium.flush().unwrap();
    let (mut later, mut sooner) = ([0; 5], [0; 6]);
    medium.read_at(3, &mut sooner).unwrap();
    medium.read_at(40, &mut later).unwrap();
    assert_eq!((&later, &sooner), (b"later", b"sooner"));
    let device = medium.into_device();
    assert_eq!(device.bytes.iter().filter(|byte| **byte != 0).count(), 11);
}

#[test]
fn cut_transfers_are_carried_on_within_the_stated_calls() {
    let mut medium = IoMedium::new(Device { piece: 3, ..Device::new(64) }, 64);
    medium.write_at(10, b"eight by").unwrap();
    let mut bytes = [0; 8];
    medium.read_at(10, &mut bytes).unwrap();
    assert_eq!(&bytes, b"eight by");
    // A seek and three pieces, twice.
    assert_eq!(medium.into_device().calls, 8);
}

#[test]
fn out_of_bounds_access_never_touches_the_device() {
    let mut medium = IoMedium::new(Device::new(64), 32);
    let mut bytes = [7; 4];
    for position in [29, 32, 33, u64::MAX - 1, u64::MAX] {
        assert_eq!(medium.read_at(position, &mut bytes), Err(AccessError::OutOfBounds));
        assert_eq!(medium.write_at(position, &bytes), Err(AccessError::OutOfBounds));
    }
    assert_eq!(medium.read_at(28, &mut bytes), Ok(()));
    assert_eq!(medium.read_at(32, &mut []), Ok(()));
    let device = medium.into_device();
    assert_eq!(device.calls, 3);
    assert!(device.bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn ended_device_access_says_how_far_it_came() {
    let mut medium = IoMedium::new(Device { piece: 4, ..Device::new(30) }, 64);
    let mut bytes = [7; 8];
    assert_eq!(medium.read_at(24, &mut bytes), Err(AccessError::ShortRead { read: 6 }));
    assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 7, 7]);
    assert_eq!(medium.write_at(25, &bytes), Err(AccessError::ShortWrite { written: 5 }));
    assert_eq!(medium.read_at(30, &mut bytes), Err(AccessError::ShortRead { read: 0 }));
    // The position is not trusted after that.
    assert_eq!(medium.read_at(0, &mut bytes), Ok(()));
    assert_eq!(bytes, [0; 8]);
}

#[test]
fn medium_failing_at_any_call_is_reported_and_not_retried() {
    for calls_left in 0..6 {
        let device = Device { piece: 4, calls_left, ..Device::new(64) };
        let mut medium = IoMedium::new(device, 64);
        // A seek, two writes, a flush, a seek, a read: the one that breaks is the last one made.
        let run = medium.write_at(0, &[1; 8]).and_then(|()| medium.flush());
        let run = run.and_then(|()| medium.read_at(0, &mut [0; 4]));
        assert_eq!(run, Err(AccessError::Device(Broken)), "{calls_left} calls left");
        assert_eq!(medium.into_device().calls, calls_left + 1);
    }
    assert!(matches!(
        IoMedium::whole(Device { calls_left: 0, ..Device::new(1) }),
        Err(AccessError::Device(Broken))
    ));
}

#[test]
fn errors_shown_describe_the_failure() {
    let shown = |error: AccessError<Infallible>| error.to_string();
    assert_eq!(shown(AccessError::OutOfBounds), "the range lies outside the medium");
    assert_eq!(shown(AccessError::ShortRead { read: 6 }), "the device ended after 6 bytes");
    assert_eq!(shown(AccessError::ShortWrite { written: 5 }), "the device took no more after 5 bytes");
    assert_eq!(AccessError::Device(Broken).to_string(), "the device failed: broken");
}
