//! The commands of the Redis port: which there are, and the checks before one is answered.

mod arguments;
mod connection;
mod info;
mod keys;
mod scan;
mod strings;
mod table;

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use coldpress_std::Durability;

use self::table::find;
use crate::metrics::{Counters, Kind};
use crate::resp::{Command, Replies};
use crate::service::Service;
use crate::store::{Remedy, StoreError};

/// How a connection goes on after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It was answered.
    Done,
    /// It may wait for the disk or for capacity, and nothing was done yet.
    Wait,
    /// It was answered, and the connection ends.
    Close,
}

/// The state that the service keeps of a client.
#[derive(Debug)]
pub(crate) struct Client {
    id: u64,
    peer: SocketAddr,
    name: Vec<u8>,
    is_authenticated: bool,
}

impl Client {
    pub(crate) fn new(service: &Service, peer: SocketAddr) -> Self {
        let is_authenticated = service.config.token.is_none();
        Self { id: service.next_client(), peer, name: Vec::new(), is_authenticated }
    }
}

/// All that a command works with.
pub(crate) struct Turn<'a> {
    pub(crate) service: &'static Service,
    pub(crate) client: &'a mut Client,
    pub(crate) out: &'a mut Replies,
    /// Whether it runs on a thread that may wait.
    pub(crate) may_wait: bool,
    /// Whether it wrote something whose durability is to be waited for.
    pub(crate) has_written: bool,
    pub(crate) tally: &'a mut Tally,
}

/// Counts of a turn, which are added to those of the service at its end: threads then meet once a turn, not once a command.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    found: usize,
    missed: usize,
    memory_reads: usize,
}

impl Tally {
    pub(crate) fn publish(&self, counters: &Counters) {
        let rows = [
            (self.found, &counters.found),
            (self.missed, &counters.missed),
            (self.memory_reads, &counters.memory_reads),
        ];
        rows.into_iter()
            .filter(|(count, _)| *count > 0)
            .for_each(|(count, counter)| Counters::add(counter, count));
    }
}

/// The durability of a write before the wait for all writes of a turn.
const EACH: Durability = Durability::Buffered;

impl Turn<'_> {
    /// Answers with an error of the store.
    fn fail(&mut self, error: &StoreError, name: &str) -> Flow {
        match error.remedy() {
            Remedy::Lifetime => self.out.error(format_args!("ERR invalid expire time in '{name}' command")),
            Remedy::Space => self.out.error(format_args!("OOM {error}")),
            Remedy::TooLong | Remedy::Later | Remedy::Operator => self.out.error(format_args!("ERR {error}")),
        }
        Flow::Done
    }

    fn syntax_error(&mut self) -> Flow {
        self.out.error("ERR syntax error");
        Flow::Done
    }

    fn not_an_integer(&mut self) -> Flow {
        self.out.error("ERR value is not an integer or out of range");
        Flow::Done
    }

    fn wrong_arity(&mut self, name: &str) -> Flow {
        self.out.error(format_args!("ERR wrong number of arguments for '{name}' command"));
        Flow::Done
    }

    /// Counts keys that were asked for.
    const fn count(&mut self, is_found: bool) {
        if is_found {
            self.tally.found += 1;
        } else {
            self.tally.missed += 1;
        }
    }

    /// Answers with an error where a key is too long; `false` where none is.
    fn refuses_long_key(&mut self, key: &[u8]) -> bool {
        let max = self.service.config.limits.key_bytes;
        if key.len() > max {
            self.out.error(format_args!("ERR a key of {} bytes: the limit is {max}", key.len()));
        }
        key.len() > max
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Answers one command, and says which latency it counts in.
pub(crate) fn answer(turn: &mut Turn<'_>, command: Command<'_>) -> (Flow, Kind) {
    let name = command.word(0);
    let Some(entry) = find(name) else {
        return (unknown(turn, command), Kind::Other);
    };
    if !turn.client.is_authenticated && !entry.is_before_auth() {
        add(&turn.service.counters.denied);
        turn.out.error("NOAUTH Authentication required.");
        return (Flow::Done, Kind::Other);
    }
    if !entry.takes(command.len()) {
        return (turn.wrong_arity(entry.name), entry.kind);
    }
    let keys = entry.keys(command.len()).map(|at| command.word(at));
    for key in keys {
        if turn.refuses_long_key(key) {
            return (Flow::Done, entry.kind);
        }
    }
    ((entry.run)(turn, command), entry.kind)
}

/// Answers a command that there is not. A browser that was lured here speaks HTTP, whose first line is none: it gets no more.
fn unknown(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    let name = command.word(0);
    if name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"Host:") {
        tracing::warn!(peer = %turn.client.peer, "an HTTP request came to the Redis port; its connection is closed");
        return Flow::Close;
    }
    let shown =
        |bytes: &[u8]| bytes.get(..bytes.len().min(128)).unwrap_or_default().escape_ascii().to_string();
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", shown(name));
    for word in command.words(1).take(20) {
        if text.len() > 256 {
            break;
        }
        text.push_str(&format!("'{}' ", shown(word)));
    }
    turn.out.error(text);
    Flow::Done
}
