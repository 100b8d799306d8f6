//! Commands that describe the service.

use core::fmt::Write as _;
use core::sync::atomic::Ordering::Relaxed;

use super::connection::REDIS_VERSION;
use super::table::{Entry, TABLE, find};
use super::{Flow, Turn};
use crate::glob::matches;
use crate::resp::{Command, Replies};
use crate::service::Service;

/// The sections of INFO.
const SECTIONS: [&str; 6] = ["server", "clients", "memory", "persistence", "stats", "keyspace"];

/// INFO [section ...]
pub(super) fn info(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    if !turn.may_wait {
        return Flow::Wait;
    }
    let is_all = command.len() == 1
        || command.words(1).any(|word| {
            ["all", "default", "everything"].iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
        });
    let mut text = String::new();
    for section in SECTIONS {
        if is_all || command.words(1).any(|word| word.eq_ignore_ascii_case(section.as_bytes())) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            describe(turn.service, section, &mut text);
        }
    }
    turn.out.bulk(text.as_bytes());
    Flow::Done
}

fn describe(service: &Service, section: &str, text: &mut String) {
    let view = service.store.view();
    let (tier, pools) = (&view.tier, &view.pools);
    let counters = &service.counters;
    let connected = service.config.limits.connections - service.resp_places.available_permits();
    let mut title = section.to_owned();
    title.get_mut(..1).map(str::make_ascii_uppercase);
    let _ = write!(text, "# {title}\r\n");
    let mut line = |name: &str, value: &dyn core::fmt::Display| {
        let _ = write!(text, "{name}:{value}\r\n");
    };
    match section {
        "server" => {
            let uptime = service.started.elapsed().as_secs();
            line("redis_version", &REDIS_VERSION);
            line("redis_mode", &"standalone");
            line("coldpress_version", &env!("CARGO_PKG_VERSION"));
            line("process_id", &std::process::id());
            line("tcp_port", &service.config.resp.port());
            line("uptime_in_seconds", &uptime);
            line("uptime_in_days", &(uptime / 86_400));
        }
        "clients" => {
            line("connected_clients", &connected);
            line("maxclients", &service.config.limits.connections);
            line("blocked_clients", &0);
        }
        "memory" => {
            line("used_memory", &(pools.committed_bytes + tier.index_bytes + tier.pending_bytes));
            line("used_memory_index", &tier.index_bytes);
            line("used_memory_pools", &pools.committed_bytes);
            line("maxmemory", &service.config.memory_bytes);
            line("maxmemory_policy", &if service.config.evicts { "allkeys-lru" } else { "noeviction" });
            line("mem_fragmentation_ratio", &ratio(pools.committed_bytes, pools.live_bytes));
            line("mem_allocator", &"coldpress");
        }
        "persistence" => {
            let failed = service.sync_error.lock().is_some();
            line("loading", &0);
            line("aof_enabled", &1);
            line("aof_last_write_status", &if failed { "err" } else { "ok" });
            line("aof_current_size", &tier.occupied_bytes);
            line("aof_pending_bytes", &tier.pending_bytes);
            line("coldpress_live_bytes", &tier.live_bytes);
            line("coldpress_stale_bytes", &tier.stale_bytes);
        }
        "stats" => {
            line("total_connections_received", &counters.resp_connections.load(Relaxed));
            line("total_commands_processed", &counters.commands.load(Relaxed));
            line("total_net_input_bytes", &counters.resp_bytes_in.load(Relaxed));
            line("total_net_output_bytes", &counters.resp_bytes_out.load(Relaxed));
            line("rejected_connections", &counters.resp_refused.load(Relaxed));
            line("expired_keys", &tier.expired_records);
            line("evicted_keys", &tier.evicted_records);
            line("keyspace_hits", &counters.found.load(Relaxed));
            line("keyspace_misses", &counters.missed.load(Relaxed));
            line("total_error_replies", &counters.command_errors.load(Relaxed));
        }
        _ if tier.keys > 0 => line("db0", &format_args!("keys={},expires=0,avg_ttl=0", tier.keys)),
        _ => {}
    }
}

#[expect(clippy::cast_precision_loss, reason = "two digits behind the point are shown")]
fn ratio(whole: u64, part: u64) -> String {
    format!("{:.2}", if part == 0 { 1.0 } else { whole as f64 / part as f64 })
}

/// CONFIG GET pattern [pattern ...]
pub(super) fn config(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    if !command.word(1).eq_ignore_ascii_case(b"GET") || command.len() < 3 {
        turn.unknown_subcommand("CONFIG", command);
        return Flow::Done;
    }
    let config = &turn.service.config;
    let durability = match config.durability {
        coldpress_std::Durability::Synced => "always",
        _ if config.sync_every.is_zero() => "no",
        _ => "everysec",
    };
    let rows = [
        ("save", String::new()),
        ("appendonly", "yes".to_owned()),
        ("appendfsync", durability.to_owned()),
        ("databases", "1".to_owned()),
        ("maxclients", config.limits.connections.to_string()),
        ("maxmemory", config.memory_bytes.to_string()),
        ("maxmemory-policy", if config.evicts { "allkeys-lru" } else { "noeviction" }.to_owned()),
        ("proto-max-bulk-len", config.limits.value_bytes.to_string()),
        ("timeout", config.limits.idle.as_secs().to_string()),
        ("port", config.resp.port().to_string()),
    ];
    let is_asked =
        |name: &str| command.words(2).any(|pattern| matches(&pattern.to_ascii_lowercase(), name.as_bytes()));
    let found: Vec<_> = rows.iter().filter(|(name, _)| is_asked(name)).collect();
    turn.out.map(found.len());
    for (name, value) in found {
        turn.out.bulk(name.as_bytes());
        turn.out.bulk(value.as_bytes());
    }
    Flow::Done
}

/// COMMAND [COUNT | LIST | INFO [name ...] | DOCS [name ...]]
pub(super) fn command(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    let asked = command.word(1);
    let is = |name: &[u8]| asked.eq_ignore_ascii_case(name);
    let out = &mut *turn.out;
    if command.len() == 1 || is(b"INFO") && command.len() == 2 {
        out.array(TABLE.len());
        TABLE.iter().for_each(|entry| shape(out, entry));
    } else if is(b"COUNT") && command.len() == 2 {
        out.count(TABLE.len() as u64);
    } else if is(b"LIST") && command.len() == 2 {
        out.array(TABLE.len());
        TABLE.iter().for_each(|entry| out.bulk(entry.name.as_bytes()));
    } else if is(b"INFO") {
        out.array(command.len() - 2);
        for name in command.words(2) {
            match find(name) {
                Some(entry) => shape(out, entry),
                None => out.null(),
            }
        }
    } else if is(b"DOCS") {
        let is_named = |entry: &&Entry| {
            command.len() == 2
                || command.words(2).any(|name| name.eq_ignore_ascii_case(entry.name.as_bytes()))
        };
        let named: Vec<_> = TABLE.iter().filter(is_named).collect();
        out.map(named.len());
        named.into_iter().for_each(|entry| document(out, entry));
    } else {
        turn.unknown_subcommand("COMMAND", command);
    }
    Flow::Done
}

/// The row of a command: name, arity, flags, keys, and four lists that have nothing to say here.
fn shape(out: &mut Replies, entry: &Entry) {
    out.array(10);
    out.bulk(entry.name.as_bytes());
    out.integer(entry.arity.into());
    out.set(entry.flags.len());
    entry.flags.iter().for_each(|flag| out.simple(flag));
    let (first, last, step) = entry.key_places;
    [first, last, step].iter().for_each(|&place| out.integer(place.into()));
    out.set(0);
    out.set(0);
    out.array(0);
    out.array(0);
}

fn document(out: &mut Replies, entry: &Entry) {
    out.bulk(entry.name.as_bytes());
    out.map(3);
    for (key, value) in [("summary", entry.summary), ("since", "1.0.0"), ("group", entry.group)] {
        out.bulk(key.as_bytes());
        out.bulk(value.as_bytes());
    }
}
