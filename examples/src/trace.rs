//! Reads block I/O traces in the CSV form of CloudPhysics, line by line.
//!
//! The first line names the columns, `version,time,op,size,lbn`; every other line is one SCSI request. Writes
//! (`2a`) and reads (`28`) are replayed, other operations are counted and skipped.
//!
//! A line that cannot be read is an error with its number, and so is a last line without its line feed: a
//! file that was cut short ends in a number that still looks like one, and replaying a wrong block address
//! would make wrong figures. [`survey`] reads the whole file before anything is written, so such a
//! file is refused with nothing half-done.

use core::fmt;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// The header that such a file starts with.
pub const HEADER: &str = "version,time,op,size,lbn";

/// No line is longer; a file of other content is found out before it fills the memory.
const LINE_BYTES_MAX: u64 = 256;

/// The largest request that is replayed, in bytes.
pub const SIZE_MAX: u32 = 8 << 20;

/// The operation of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceOp {
    /// SCSI WRITE(10), `2a`.
    Write,
    /// SCSI READ(10), `28`.
    Read,
    /// Any other operation code.
    Other(u8),
}

/// One line of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceRow {
    /// The operation.
    pub op: TraceOp,
    /// Bytes written or read.
    pub size: u32,
    /// The logical block address: the key.
    pub lbn: u64,
}

/// Columns of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The version of the format.
    Version,
    /// The time of the request, in ticks of the trace.
    Time,
    /// The operation code, in hexadecimal.
    Op,
    /// The size in bytes, from 1 to [`SIZE_MAX`].
    Size,
    /// The logical block address.
    Lbn,
}

/// Why a trace can't be read, with the line, counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be opened or read.
    Io(io::ErrorKind),
    /// The first line is not [`HEADER`].
    Header,
    /// The line has too few or too many columns.
    Columns {
        /// The line.
        line: u64,
    },
    /// A column does not hold what it should.
    Field {
        /// The line.
        line: u64,
        /// The column.
        column: Column,
    },
    /// The line is longer than any line of a trace.
    LineTooLong {
        /// The line.
        line: u64,
    },
    /// The last line does not end: the file was cut short.
    Truncated {
        /// The line.
        line: u64,
    },
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(kind) => write!(f, "the trace cannot be read: {kind}"),
            Self::Header => write!(f, "line 1 is not the header `{HEADER}`"),
            Self::Columns { line } => write!(f, "line {line} does not have five columns"),
            Self::Field { line, column } => write!(f, "line {line}: the column {column:?} cannot be read"),
            Self::LineTooLong { line } => write!(f, "line {line} has more than {LINE_BYTES_MAX} bytes"),
            Self::Truncated { line } => {
                write!(f, "line {line} does not end in a line feed: the trace was cut short")
            }
        }
    }
}

impl core::error::Error for TraceError {}

/// Reads a trace line by line; an error is the last item.
#[derive(Debug)]
pub struct TraceReader<R> {
    input: R,
    line: u64,
    text: Vec<u8>,
    is_over: bool,
}

impl TraceReader<BufReader<File>> {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    ///
    /// [`TraceError::Io`] or [`TraceError::Header`].
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let file = File::open(path).map_err(|error| TraceError::Io(error.kind()))?;
        Self::new(BufReader::with_capacity(1 << 16, file))
    }
}

impl<R: BufRead> TraceReader<R> {
    /// Takes any input and checks its header.
    ///
    /// # Errors
    ///
    /// [`TraceError::Io`] or [`TraceError::Header`].
    pub fn new(input: R) -> Result<Self, TraceError> {
        let mut reader = Self { input, line: 0, text: Vec::new(), is_over: false };
        match reader.next_line() {
            Ok(true) if reader.text == HEADER.as_bytes() => Ok(reader),
            Err(TraceError::Io(kind)) => Err(TraceError::Io(kind)),
            _ => Err(TraceError::Header),
        }
    }

    /// Reads the next line, without its end, into `text`; `false` at the end of the file.
    fn next_line(&mut self) -> Result<bool, TraceError> {
        self.text.clear();
        self.line += 1;
        let line = self.line;
        let mut limited = io::Read::take(&mut self.input, LINE_BYTES_MAX + 1);
        let read = limited.read_until(b'\n', &mut self.text).map_err(|error| TraceError::Io(error.kind()))?;
        if read == 0 {
            return Ok(false);
        }
        if self.text.pop_if(|byte| *byte == b'\n').is_none() {
            let is_long = self.text.len() as u64 > LINE_BYTES_MAX;
            return Err(if is_long {
                TraceError::LineTooLong { line }
            } else {
                TraceError::Truncated { line }
            });
        }
        self.text.pop_if(|byte| *byte == b'\r');
        Ok(true)
    }
}

impl<R: BufRead> Iterator for TraceReader<R> {
    type Item = Result<TraceRow, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let row = match self.next_line() {
            Ok(true) => parse(&self.text, self.line),
            Ok(false) => {
                self.is_over = true;
                return None;
            }
            Err(error) => Err(error),
        };
        self.is_over = row.is_err();
        Some(row)
    }
}

fn parse(text: &[u8], line: u64) -> Result<TraceRow, TraceError> {
    let text = core::str::from_utf8(text).map_err(|_| TraceError::Columns { line })?;
    let mut fields = text.split(',');
    let mut next = || fields.next().ok_or(TraceError::Columns { line });
    let (version, time, op, size, lbn) = (next()?, next()?, next()?, next()?, next()?);
    if fields.next().is_some() {
        return Err(TraceError::Columns { line });
    }
    let field = |column| TraceError::Field { line, column };
    let number = |text: &str, column| text.parse::<u64>().map_err(|_| field(column));
    number(version, Column::Version)?;
    number(time, Column::Time)?;
    let op = match u8::from_str_radix(op, 16).map_err(|_| field(Column::Op))? {
        0x2A => TraceOp::Write,
        0x28 => TraceOp::Read,
        other => TraceOp::Other(other),
    };
    let size = u32::try_from(number(size, Column::Size)?).map_err(|_| field(Column::Size))?;
    let is_replayed = !matches!(op, TraceOp::Other(_));
    if is_replayed && !(1..=SIZE_MAX).contains(&size) {
        return Err(field(Column::Size));
    }
    Ok(TraceRow { op, size, lbn: number(lbn, Column::Lbn)? })
}

/// The counts of a whole trace, found by reading it once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survey {
    /// Writes.
    pub writes: u64,
    /// Reads.
    pub reads: u64,
    /// Lines with other operations, which are skipped.
    pub skipped: u64,
    /// Distinct keys that are written.
    pub keys: u64,
    /// Bytes of all values at the moment when they were most.
    pub live_bytes_peak: u64,
    /// The largest value.
    pub size_peak: u32,
}

/// Reads a whole trace to learn how much it asks for and that every line can be read.
///
/// # Errors
///
/// The first [`TraceError`] of the file.
///
/// # Bounds
///
/// Memory grows with the distinct keys, about 40 bytes each.
pub fn survey<R: BufRead>(reader: TraceReader<R>) -> Result<Survey, TraceError> {
    let mut survey = Survey::default();
    let mut sizes = HashMap::new();
    let mut live_bytes = 0;
    for row in reader {
        let row = row?;
        match row.op {
            TraceOp::Read => survey.reads += 1,
            TraceOp::Other(_) => survey.skipped += 1,
            TraceOp::Write => {
                survey.writes += 1;
                live_bytes += u64::from(row.size);
                live_bytes -= u64::from(sizes.insert(row.lbn, row.size).unwrap_or(0));
                survey.live_bytes_peak = survey.live_bytes_peak.max(live_bytes);
                survey.size_peak = survey.size_peak.max(row.size);
            }
        }
    }
    survey.keys = sizes.len() as u64;
    Ok(survey)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lines: &str) -> Vec<Result<TraceRow, TraceError>> {
        let text = format!("{HEADER}\n{lines}");
        TraceReader::new(text.as_bytes()).unwrap().collect()
    }

    fn only_error(lines: &str) -> TraceError {
        *rows(lines).last().unwrap().as_ref().unwrap_err()
    }

    #[test]
    fn lines_of_all_kinds_are_read() {
        let rows = rows("1,5633898,2a,512,42932745\n1,5,28,69632,1\r\n1,5,35,0,0\n");
        let row = |op, size, lbn| Ok(TraceRow { op, size, lbn });
        assert_eq!(
            rows,
            [
                row(TraceOp::Write, 512, 42_932_745),
                row(TraceOp::Read, 69_632, 1),
                row(TraceOp::Other(0x35), 0, 0)
            ]
        );
    }

    #[test]
    fn odd_line_is_an_error_with_its_number_and_the_last_item() {
        let field = |column| TraceError::Field { line: 3, column };
        for (line, error) in [
            ("", TraceError::Columns { line: 3 }),
            ("1,5,2a,512", TraceError::Columns { line: 3 }),
            ("1,5,2a,512,7,8", TraceError::Columns { line: 3 }),
            ("x,5,2a,512,7", field(Column::Version)),
            ("1,-5,2a,512,7", field(Column::Time)),
            ("1,5,write,512,7", field(Column::Op)),
            ("1,5,2a,0,7", field(Column::Size)),
            ("1,5,2a,8388609,7", field(Column::Size)),
            ("1,5,2a,99999999999,7", field(Column::Size)),
            ("1,5,2a,512,", field(Column::Lbn)),
        ] {
            let items = rows(&format!("1,5,2a,512,7\n{line}\n1,5,2a,512,7\n"));
            assert_eq!(items.len(), 2, "{line}");
            assert_eq!(items[1], Err(error), "{line}");
        }
    }

    #[test]
    fn file_cut_anywhere_in_its_last_line_is_truncated() {
        let line = "1,5633898,2a,512,42932745";
        for cut in 1..=line.len() {
            assert_eq!(only_error(&line[..cut]), TraceError::Truncated { line: 2 });
        }
    }

    #[test]
    fn file_without_line_ends_is_refused_before_it_is_held() {
        assert_eq!(only_error(&"1".repeat(1 << 20)), TraceError::LineTooLong { line: 2 });
    }

    #[test]
    fn file_of_another_kind_is_refused_by_its_header() {
        for text in ["", "version,time,op,size,lbn", "time,op\n1,2\n", "\u{0}\u{1}\n"] {
            assert_eq!(TraceReader::new(text.as_bytes()).unwrap_err(), TraceError::Header);
        }
        let missing = TraceReader::open(Path::new("no such file")).unwrap_err();
        assert_eq!(missing, TraceError::Io(io::ErrorKind::NotFound));
    }

    #[test]
    fn survey_of_a_trace_counts_its_requests() {
        let text = format!("{HEADER}\n1,1,2a,100,1\n1,1,2a,300,2\n1,1,2a,50,2\n1,1,28,8,1\n1,1,00,8,1\n");
        let survey = survey(TraceReader::new(text.as_bytes()).unwrap()).unwrap();
        let expected =
            Survey { writes: 3, reads: 1, skipped: 1, keys: 2, live_bytes_peak: 400, size_peak: 300 };
        assert_eq!(survey, expected);
    }
}
