//! The table of commands, which `COMMAND` shows too.

use super::{Flow, Turn, connection, info, keys, scan, strings};
use crate::metrics::Kind;
use crate::resp::Command;

/// One command.
pub(super) struct Entry {
    /// In small letters.
    pub(super) name: &'static str,
    /// How many words it has with its name; at least so many where it is negative.
    pub(super) arity: i32,
    pub(super) flags: &'static [&'static str],
    /// The first key, the last one (from the end where it is negative), and the step between keys.
    pub(super) key_places: (i32, i32, i32),
    pub(super) group: &'static str,
    pub(super) summary: &'static str,
    pub(super) kind: Kind,
    pub(super) run: fn(&mut Turn<'_>, Command<'_>) -> Flow,
}

impl Entry {
    pub(super) fn takes(&self, words: usize) -> bool {
        let least = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { words >= least } else { words == least }
    }

    pub(super) fn is_before_auth(&self) -> bool {
        self.flags.contains(&"no_auth")
    }

    /// The places of the keys among so many words.
    pub(super) fn keys(&self, words: usize) -> impl Iterator<Item = usize> + use<> {
        let (first, last, step) = self.key_places;
        let words = i32::try_from(words).unwrap_or(i32::MAX);
        let end = if last < 0 { words + last } else { last };
        let end = if first > 0 { end } else { 0 };
        (first.max(1)..=end).step_by(step.unsigned_abs().max(1) as usize).map(|at| at.unsigned_abs() as usize)
    }
}

const NONE: (i32, i32, i32) = (0, 0, 0);
const ONE: (i32, i32, i32) = (1, 1, 1);
const ALL: (i32, i32, i32) = (1, -1, 1);
const PAIRS: (i32, i32, i32) = (1, -1, 2);

const READ: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write", "fast"];
const STORE: &[&str] = &["write", "denyoom"];
const CONNECTION: &[&str] = &["loading", "stale", "fast"];
const BEFORE_AUTH: &[&str] = &["loading", "stale", "fast", "no_auth"];
const ADMIN: &[&str] = &["loading", "stale"];

macro_rules! table {
    ($($name:literal $arity:literal $flags:ident $keys:ident $kind:ident $group:literal $run:path, $summary:literal;)+) => {
        /// All commands, the most frequent ones first.
        pub(super) static TABLE: &[Entry] = &[$(Entry {
            name: $name, arity: $arity, flags: $flags, key_places: $keys, group: $group, summary: $summary,
            kind: Kind::$kind, run: $run,
        },)+];
    };
}

table! {
    "get" 2 READ ONE Get "string" strings::get, "Returns the value of a key.";
    "set" -3 STORE ONE Set "string" strings::set, "Sets the value of a key, with options for its lifetime and a condition.";
    "mget" -2 READ ALL Get "string" strings::mget, "Returns the values of several keys.";
    "mset" -3 STORE PAIRS Set "string" strings::mset, "Sets the values of several keys, one after the other.";
    "del" -2 WRITE ALL Remove "generic" keys::del, "Removes keys.";
    "exists" -2 READ ALL Get "generic" keys::exists, "Counts the keys that have a value.";
    "getex" -2 WRITE ONE Get "string" strings::getex, "Returns the value of a key, then sets its lifetime.";
    "expire" -3 WRITE ONE Set "generic" keys::expire, "Sets the lifetime of a key in seconds.";
    "pexpire" -3 WRITE ONE Set "generic" keys::pexpire, "Sets the lifetime of a key in milliseconds.";
    "ttl" 2 READ ONE Get "generic" keys::ttl, "Returns how long a key still lives, in seconds.";
    "pttl" 2 READ ONE Get "generic" keys::pttl, "Returns how long a key still lives, in milliseconds.";
    "persist" 2 WRITE ONE Set "generic" keys::persist, "Has a key live for ever.";
    "scan" -2 READ NONE Other "generic" scan::scan, "Returns some of the keys, and a cursor for the next ones.";
    "dbsize" 1 READ NONE Other "server" keys::dbsize, "Returns the number of keys.";
    "flushdb" -1 WRITE NONE Other "server" keys::flushdb, "Removes all keys.";
    "ping" -1 CONNECTION NONE Other "connection" connection::ping, "Answers with the message, or with PONG.";
    "echo" 2 CONNECTION NONE Other "connection" connection::echo, "Answers with the message.";
    "select" 2 CONNECTION NONE Other "connection" connection::select, "Chooses the database; there is one, 0.";
    "auth" -2 BEFORE_AUTH NONE Other "connection" connection::auth, "Shows the token.";
    "hello" -1 BEFORE_AUTH NONE Other "connection" connection::hello, "Chooses the version of the protocol.";
    "quit" -1 BEFORE_AUTH NONE Other "connection" connection::quit, "Ends the connection.";
    "client" -2 ADMIN NONE Other "connection" connection::client, "Names the connection, or describes it.";
    "info" -1 ADMIN NONE Other "server" info::info, "Describes the service.";
    "config" -2 ADMIN NONE Other "server" info::config, "Shows the configuration.";
    "command" -1 ADMIN NONE Other "server" info::command, "Describes the commands.";
}

/// Finds a command by its name, in letters of any case.
pub(super) fn find(name: &[u8]) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.name.as_bytes().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_case_are_found_once() {
        assert!(find(b"GET").is_some_and(|entry| entry.name == "get"));
        assert!(find(b"gEtEx").is_some() && find(b"").is_none() && find(b"incr").is_none());
        for entry in TABLE {
            assert_eq!(TABLE.iter().filter(|other| other.name == entry.name).count(), 1, "{}", entry.name);
        }
    }

    #[test]
    fn keys_are_where_the_table_says() {
        let keys = |name: &[u8], words| find(name).unwrap().keys(words).collect::<Vec<_>>();
        assert_eq!(keys(b"get", 2), [1]);
        assert_eq!(keys(b"mget", 4), [1, 2, 3]);
        assert_eq!(keys(b"mset", 5), [1, 3]);
        assert_eq!(keys(b"ping", 2), [0; 0]);
        assert!(find(b"mget").unwrap().takes(9) && !find(b"mget").unwrap().takes(1));
        assert!(!find(b"get").unwrap().takes(3));
    }
}
