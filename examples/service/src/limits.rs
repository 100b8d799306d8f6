//! The limits on what a client may send, and the check of a command against them before it is read whole.

use core::fmt;
use core::time::Duration;

use crate::config::Options;
use crate::errors::ServiceError;

/// Arguments of one command.
pub(crate) const ARGUMENTS_MAX: usize = 16_384;
/// Bytes of a command that is typed as a line.
pub(crate) const LINE_BYTES_MAX: usize = 64 << 10;
/// Commands that are answered before their answers are written, and others get their turn.
pub(crate) const TURN_COMMANDS_MAX: usize = 1024;
/// Answers of this length are written before the next command is answered.
pub(crate) const TURN_BYTES_MAX: usize = 256 << 10;
/// Bytes of the headers of an HTTP request, its first line included.
pub(crate) const HEADER_BYTES_MAX: usize = 16 << 10;
/// How long the headers of an HTTP request may take.
pub(crate) const HEADER_TIME_MAX: Duration = Duration::from_secs(15);
/// Bytes that frame the longest value: the rest of its command.
const FRAME_BYTES: u64 = 4 << 10;
/// Digits of a length, its sign included.
const DIGITS_MAX: usize = 20;

/// The limits that the options set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) key_bytes: usize,
    pub(crate) value_bytes: usize,
    pub(crate) buffer_bytes: usize,
    pub(crate) connections: usize,
    pub(crate) idle: Duration,
}

impl Limits {
    pub(crate) fn new(options: &Options) -> Result<Self, ServiceError> {
        let refuse = |text: String| Err(ServiceError::Option(text));
        if options.key_bytes == 0 || options.value_bytes == 0 || options.value_bytes > 1 << 29 {
            return refuse("--key-bytes and --value-bytes take 1 byte to 512 MiB".to_owned());
        }
        let least = options.value_bytes + u64::from(options.key_bytes) + FRAME_BYTES;
        if options.buffer_bytes < least || options.buffer_bytes > 1 << 30 {
            return refuse(format!(
                "--buffer-bytes takes {least} (the longest value and key, framed) to 1 GiB"
            ));
        }
        if options.connections == 0 || options.connections > 1 << 20 {
            return refuse("--connections takes 1 to 1048576".to_owned());
        }
        if options.idle.is_zero() {
            return refuse("--idle takes more than zero".to_owned());
        }
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Ok(Self {
            key_bytes: size(options.key_bytes.into()),
            value_bytes: size(options.value_bytes),
            buffer_bytes: size(options.buffer_bytes),
            connections: size(options.connections.into()),
            idle: options.idle,
        })
    }

    /// The longest argument: of a value, or of a key.
    const fn argument_bytes(&self) -> usize {
        if self.value_bytes > self.key_bytes { self.value_bytes } else { self.key_bytes }
    }

    /// Finds the end of the command at the start of `bytes`: `None` while it is not all there.
    ///
    /// Only lengths are read, so the decoder behind it sees whole and flat commands alone.
    pub(crate) fn command_end(&self, bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let Some((count, mut at)) = length(bytes, 0, ProtocolError::Count)? else {
            return Ok(None);
        };
        // A count of zero or less is a command of no words.
        let count = usize::try_from(count).unwrap_or(0);
        if count > ARGUMENTS_MAX {
            return Err(ProtocolError::Arguments);
        }
        for _ in 0..count {
            match bytes.get(at) {
                None => return self.within(bytes),
                Some(b'$') => {}
                Some(&other) => return Err(ProtocolError::NoString(other)),
            }
            let Some((bulk, start)) = length(bytes, at, ProtocolError::Length)? else {
                return self.within(bytes);
            };
            let bulk = usize::try_from(bulk).map_err(|_| ProtocolError::Length)?;
            if bulk > self.argument_bytes() {
                return Err(ProtocolError::Long { bytes: bulk, max: self.argument_bytes() });
            }
            at = start + bulk + 2;
            if at > self.buffer_bytes {
                return Err(ProtocolError::Buffer(self.buffer_bytes));
            }
            if at > bytes.len() {
                return self.within(bytes);
            }
        }
        Ok(Some(at))
    }

    const fn within(&self, bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
        if bytes.len() > self.buffer_bytes {
            return Err(ProtocolError::Buffer(self.buffer_bytes));
        }
        Ok(None)
    }
}

/// Reads the length behind the mark at `at`; returns it and the place after its line.
fn length(bytes: &[u8], at: usize, error: ProtocolError) -> Result<Option<(i64, usize)>, ProtocolError> {
    let rest = bytes.get(at + 1..).unwrap_or_default();
    let line = rest.get(..rest.len().min(DIGITS_MAX + 2)).unwrap_or_default();
    let Some(end) = line.iter().position(|&byte| byte == b'\r') else {
        return if line.len() > DIGITS_MAX { Err(error) } else { Ok(None) };
    };
    match rest.get(end + 1) {
        None => return Ok(None),
        Some(b'\n') => {}
        Some(_) => return Err(error),
    }
    let digits = line.get(..end).and_then(|digits| core::str::from_utf8(digits).ok()).unwrap_or_default();
    let length = digits.parse::<i64>().map_err(|_| error)?;
    Ok(Some((length, at + 1 + end + 2)))
}

/// Why a connection is closed: its bytes are no commands within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProtocolError {
    /// The count of arguments is no number.
    Count,
    /// The length of an argument is no number.
    Length,
    /// There are too many arguments.
    Arguments,
    /// An argument is no bulk string.
    NoString(u8),
    /// An argument is longer than a value may be.
    Long { bytes: usize, max: usize },
    /// The whole command is longer than a connection may have waiting.
    Buffer(usize),
    /// A line does not end.
    Line,
    /// The quotes of a line do not match.
    Quotes,
    /// The decoder refused it.
    Malformed,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            Self::Count => f.write_str("invalid multibulk length"),
            Self::Length => f.write_str("invalid bulk length"),
            Self::Arguments => {
                write!(f, "invalid multibulk length: a command has at most {ARGUMENTS_MAX} arguments")
            }
            Self::NoString(byte) => write!(f, "expected '$', got '{}'", byte.escape_ascii()),
            Self::Long { bytes, max } => write!(f, "invalid bulk length: {bytes} bytes, the limit is {max}"),
            Self::Buffer(max) => write!(f, "a command has at most {max} bytes"),
            Self::Line => f.write_str("too big inline request"),
            Self::Quotes => f.write_str("unbalanced quotes in request"),
            Self::Malformed => f.write_str("malformed request"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        key_bytes: 8,
        value_bytes: 16,
        buffer_bytes: 64,
        connections: 1,
        idle: Duration::from_secs(1),
    };

    #[test]
    fn end_of_a_command_is_found_once_it_is_there() {
        let command = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        for end in 0..command.len() {
            assert_eq!(LIMITS.command_end(&command[..end]), Ok(None), "{end}");
        }
        assert_eq!(LIMITS.command_end(command), Ok(Some(command.len())));
        assert_eq!(LIMITS.command_end(&[&command[..], b"*1\r\n"].concat()), Ok(Some(command.len())));
        assert_eq!(LIMITS.command_end(b"*0\r\n"), Ok(Some(4)));
        assert_eq!(LIMITS.command_end(b"*-1\r\n"), Ok(Some(5)));
    }

    #[test]
    fn command_beyond_a_limit_is_refused_by_its_lengths() {
        let cases: [(&[u8], ProtocolError); 8] = [
            (b"*x\r\n", ProtocolError::Count),
            (b"*1\r\n$x\r\n", ProtocolError::Length),
            (b"*1\r\n$-1\r\n", ProtocolError::Length),
            (b"*99999\r\n", ProtocolError::Arguments),
            (b"*1\r\n:1\r\n", ProtocolError::NoString(b':')),
            (b"*1\r\n$17\r\n", ProtocolError::Long { bytes: 17, max: 16 }),
            (
                b"*5\r\n$16\r\n0123456789abcdef\r\n$16\r\n0123456789abcdef\r\n$16\r\n",
                ProtocolError::Buffer(64),
            ),
            (b"*111111111111111111111111", ProtocolError::Count),
        ];
        for (bytes, error) in cases {
            assert_eq!(LIMITS.command_end(bytes), Err(error), "{}", bytes.escape_ascii());
        }
    }
}
