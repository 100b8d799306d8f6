//! The state of a connection, and its turns.

use core::net::SocketAddr;
use std::time::Instant;

use coldpress_std::Durability;

use super::command::{self, Command};
use super::replies::Replies;
use crate::commands::{self, Client, Flow, Tally, Turn};
use crate::limits::{ProtocolError, TURN_BYTES_MAX, TURN_COMMANDS_MAX};
use crate::metrics::Counters;
use crate::service::Service;

/// Bytes that are read at a time, and that an idle connection keeps of a buffer.
const READ_BYTES: usize = 16 << 10;
/// Bytes that a busy connection keeps of a buffer.
const KEPT_BYTES: usize = 64 << 10;

/// How a connection goes on after a turn, once its answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// With a read: every whole command was answered.
    Read,
    /// With another turn: this one reached its limit.
    More,
    /// With a turn on a thread for blocking work: the next command may wait.
    Thread,
    /// With its end.
    Close,
}

/// The state of a connection.
#[derive(Debug)]
pub(super) struct Session {
    service: &'static Service,
    client: Client,
    input: Vec<u8>,
    /// Commands before this place were answered.
    at: usize,
    replies: Replies,
}

impl Session {
    pub(super) fn new(service: &'static Service, peer: SocketAddr) -> Self {
        Self {
            service,
            client: Client::new(service, peer),
            input: Vec::new(),
            at: 0,
            replies: Replies::new(),
        }
    }

    /// The buffer to read into, with space.
    pub(super) fn space(&mut self) -> &mut Vec<u8> {
        if self.at == self.input.len() {
            self.input.clear();
            self.input.shrink_to(KEPT_BYTES);
        } else {
            self.input.drain(..self.at);
        }
        self.at = 0;
        if self.input.capacity() - self.input.len() < READ_BYTES {
            // A command that is not all there grows the buffer, up to its limit and one read more.
            let more = self.input.len().clamp(READ_BYTES, 1 << 20);
            self.input.reserve_exact(more);
        }
        &mut self.input
    }

    pub(super) fn answers(&self) -> &[u8] {
        self.replies.bytes()
    }

    /// Forgets the answers, which are written.
    pub(super) fn written(&mut self) {
        self.replies.clear(KEPT_BYTES);
    }

    /// Answers commands until one is not all there, a limit is reached, or one may wait and `may_wait` is not set.
    pub(super) fn turn(&mut self, may_wait: bool) -> Step {
        let mut first_write = None;
        let mut tally = Tally::default();
        let mut answered = 0;
        let mut step = Step::More;
        while answered < TURN_COMMANDS_MAX && self.replies.len() < TURN_BYTES_MAX {
            match self.answer(may_wait, &mut first_write, &mut tally) {
                Ok(None) => answered += 1,
                Ok(Some(other)) => {
                    step = other;
                    break;
                }
                Err(error) => {
                    Counters::add(&self.service.counters.protocol_errors, 1);
                    self.replies.error(format_args!("ERR {error}"));
                    step = Step::Close;
                    break;
                }
            }
        }
        tally.publish(&self.service.counters);
        Counters::add(&self.service.counters.commands, answered);
        if self.replies.errors > 0 {
            Counters::add(&self.service.counters.command_errors, self.replies.errors);
        }
        match first_write {
            Some(written_at) if may_wait => self.make_durable(written_at, step),
            _ => step,
        }
    }

    /// One wait makes all writes of a turn as durable as configured, before any of them is answered.
    fn make_durable(&mut self, written_at: usize, step: Step) -> Step {
        let durability = self.service.config.durability;
        if durability == Durability::Buffered {
            return step;
        }
        match self.service.store.flush(durability) {
            Ok(()) => step,
            Err(error) => {
                // Nothing from the first write on is acknowledged. The client can't match answers to commands any more, so it ends.
                self.replies.truncate(written_at);
                self.replies.error(format_args!("ERR writes were taken and are not {durability:?}: {error}"));
                Step::Close
            }
        }
    }

    /// Answers the next command. `None` goes on with the one behind it.
    fn answer(
        &mut self,
        may_wait: bool,
        first_write: &mut Option<usize>,
        tally: &mut Tally,
    ) -> Result<Option<Step>, ProtocolError> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let line;
        let (bytes, words, length) = match rest.first() {
            None => return Ok(Some(Step::Read)),
            Some(b'*') => match command::decode(rest, &self.service.config.limits)? {
                Some((words, length)) => (rest, words, length),
                None => return Ok(Some(Step::Read)),
            },
            Some(_) => {
                let Some((frame, length)) = command::frame_line(rest)? else { return Ok(Some(Step::Read)) };
                line = frame;
                match command::decode(&line, &self.service.config.limits)? {
                    Some((words, _)) => (line.as_slice(), words, length),
                    None => return Err(ProtocolError::Malformed),
                }
            }
        };
        if words.is_empty() {
            self.at += length;
            return Ok(None);
        }
        let begun = Instant::now();
        let before = self.replies.len();
        let command = Command::new(bytes, &words);
        let mut turn = Turn {
            service: self.service,
            client: &mut self.client,
            out: &mut self.replies,
            may_wait,
            has_written: false,
            tally,
        };
        let (flow, kind) = commands::answer(&mut turn, command);
        let has_written = turn.has_written;
        if flow == Flow::Wait {
            self.replies.truncate(before);
            return Ok(Some(Step::Thread));
        }
        if has_written && first_write.is_none() {
            *first_write = Some(before);
        }
        if self.replies.len() - before > self.service.config.limits.buffer_bytes {
            let max = self.service.config.limits.buffer_bytes;
            self.replies.truncate(before);
            self.replies
                .error(format_args!("ERR the answer is longer than {max} bytes: ask for less at once"));
        }
        self.at += length;
        self.service.latency(kind).record(begun.elapsed());
        Ok((flow == Flow::Close).then_some(Step::Close))
    }
}
