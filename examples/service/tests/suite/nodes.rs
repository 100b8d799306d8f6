//! Several services behind a proxy that shares keys out among them.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::path::{Path, PathBuf};
use std::thread;

use coldpress_std::ColdTier;
use coldpress_std::archive::object_store::local::LocalFileSystem;
use coldpress_std::archive::object_store::path::Path as Prefix;
use coldpress_std::archive::{self, RestorePoint};
use coldpress_std::inspect::TierFacts;
use rustix::process::Signal;

use crate::client::{Answer, Resp};
use crate::proxy::Proxy;
use crate::started::{Started, wait_for};

const NAMES: [&str; 4] = ["one", "two", "three", "four"];
const KEYS: usize = 600;
/// Keys keep their node while it is away.
const STAY: &str = "auto_eject_hosts: false, timeout: 5000";
/// A node is left out after its first failure, and asked again half a second later.
const EJECT: &str =
    "auto_eject_hosts: true, server_failure_limit: 1, server_retry_timeout: 500, timeout: 5000";

/// A service with a directory, which comes back at the same address.
struct Node {
    dir: PathBuf,
    address: SocketAddr,
    service: Option<Started>,
}

impl Node {
    fn new(base: &Path, name: &str) -> Self {
        let dir = base.join(name);
        std::fs::create_dir(&dir).unwrap();
        let service = Started::with(&["--dir", dir.to_str().unwrap()]);
        Self { dir, address: service.resp, service: Some(service) }
    }

    fn start(&mut self) {
        let address = self.address.to_string();
        self.service = Some(Started::with(&["--dir", self.dir.to_str().unwrap(), "--resp", &address]));
    }

    fn client(&self) -> Resp {
        Resp::to(self.address)
    }

    /// Ends the service as a crash does.
    fn kill(&mut self) {
        self.service.take().unwrap().kill();
    }

    /// Ends the service in order.
    fn stop(&mut self) {
        let service = self.service.take().unwrap();
        service.signal(Signal::TERM);
        assert_eq!(service.exit_code(), Some(0));
    }

    /// The keys that it has.
    fn held(&self) -> Vec<bool> {
        let mut client = self.client();
        (0..KEYS).map(|at| client.run(&format!("EXISTS {}", key(at))) == Answer::Integer(1)).collect()
    }
}

fn nodes(base: &Path, count: usize) -> Vec<Node> {
    NAMES[..count].iter().map(|name| Node::new(base, name)).collect()
}

fn proxy(nodes: &[Node], settings: &str) -> Option<Proxy> {
    let named: Vec<_> = NAMES.into_iter().zip(nodes.iter().map(|node| node.address)).collect();
    Proxy::start(&named, settings)
}

fn key(at: usize) -> String {
    format!("key:{at}")
}

fn value(at: usize, version: u32) -> String {
    format!("{at}:{version}:{}", "x".repeat(at % 700))
}

fn set(client: &mut Resp, keys: impl Iterator<Item = usize>, version: u32) {
    for at in keys {
        assert_eq!(client.run(&format!("SET {} {}", key(at), value(at, version))), Answer::ok());
    }
}

/// The places at which something holds.
fn places(of: &[bool]) -> impl Iterator<Item = usize> + '_ {
    of.iter().enumerate().filter(|(_, holds)| **holds).map(|(at, _)| at)
}

fn wait<T>(job: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(job)
}

fn archive_of(base: &Path, name: &str) -> LocalFileSystem {
    let path = base.join(format!("{name}.archive"));
    std::fs::create_dir_all(&path).unwrap();
    LocalFileSystem::new_with_prefix(path).unwrap()
}

/// Backs up a service that was stopped, as `coldpress backup` does.
fn back_up(node: &Node, store: &LocalFileSystem) {
    let config = TierFacts::read(&node.dir.join("service")).unwrap().config().unwrap();
    let tier = ColdTier::with_own_pools(config.base_dir(&node.dir).build().unwrap(), "service").unwrap();
    wait(archive::backup(&tier.handle(), store, &Prefix::default())).unwrap();
    tier.close().unwrap();
}

#[test]
fn killed_node_restored_from_its_archive_has_the_backup() {
    let base = tempfile::tempdir().unwrap();
    let mut nodes = nodes(base.path(), 3);
    let Some(proxy) = proxy(&nodes, STAY) else { return };
    set(&mut proxy.client(), 0..KEYS, 1);
    let held: Vec<_> = nodes.iter().map(Node::held).collect();
    for (at, name) in NAMES[..3].iter().enumerate() {
        let count = places(&held[at]).count();
        assert!((KEYS / 8..KEYS / 2).contains(&count), "node {name} has {count} keys");
    }
    for at in 0..KEYS {
        assert_eq!(held.iter().filter(|held| held[at]).count(), 1, "{} lies on one node", key(at));
    }

    let store = archive_of(base.path(), "one");
    nodes[0].stop();
    back_up(&nodes[0], &store);
    nodes[0].start();
    // These writes to the first node are in no backup.
    set(&mut proxy.client(), 0..KEYS, 2);

    let (others, is_over): (Vec<_>, _) =
        ((0..KEYS).filter(|at| !held[0][*at]).collect(), AtomicBool::new(false));
    thread::scope(|scope| {
        let reads = scope.spawn(|| {
            let (mut client, mut rounds) = (proxy.client(), 0);
            while !is_over.load(Relaxed) {
                for at in &others {
                    assert_eq!(client.run(&format!("GET {}", key(*at))), Answer::bulk(&value(*at, 2)));
                }
                rounds += 1;
            }
            rounds
        });
        nodes[0].kill();
        for at in places(&held[0]).take(20) {
            let said = proxy.run(&format!("GET {}", key(at)));
            assert!(matches!(said, Answer::Error(_)), "its node is away: {said:?}");
            let said = proxy.run(&format!("SET {} lost", key(at)));
            assert!(matches!(said, Answer::Error(_)), "no other node takes it: {said:?}");
        }
        std::fs::remove_dir_all(&nodes[0].dir).unwrap();
        std::fs::create_dir(&nodes[0].dir).unwrap();
        let to = nodes[0].dir.join("service");
        wait(archive::restore(&store, &Prefix::default(), &to, RestorePoint::Newest)).unwrap();
        nodes[0].start();
        let first = places(&held[0]).next().unwrap();
        wait_for("the proxy reaches the node again", || {
            !matches!(proxy.run(&format!("GET {}", key(first))), Answer::Error(_))
        });
        let mut client = proxy.client();
        for at in places(&held[0]) {
            assert_eq!(client.run(&format!("GET {}", key(at))), Answer::bulk(&value(at, 1)), "{}", key(at));
        }
        is_over.store(true, Relaxed);
        assert!(reads.join().unwrap() > 0);
    });
    set(&mut proxy.client(), 0..KEYS, 3);
    for (node, held) in nodes.iter().zip(&held) {
        assert!(node.held() == *held, "each key is where it was");
    }
}

#[test]
fn commands_through_a_proxy_reach_every_node() {
    let base = tempfile::tempdir().unwrap();
    let nodes = nodes(base.path(), 3);
    let Some(proxy) = proxy(&nodes, STAY) else { return };
    let mut client = proxy.client();
    assert_eq!(client.run("PING"), Answer::Simple("PONG".into()));
    assert_eq!(client.run("MSET a 1 b 2 c 3 d 4 e 5"), Answer::ok());
    let found = client.run("MGET a none b c d e").array();
    let expected = ["1", "", "2", "3", "4", "5"];
    let expected = expected.map(|text| if text.is_empty() { Answer::Null } else { Answer::bulk(text) });
    assert_eq!(found, expected);
    assert_eq!(client.run("EXISTS a"), Answer::Integer(1));
    assert_eq!(client.run("TTL a"), Answer::Integer(-1));
    assert_eq!(client.run("EXPIRE a 100"), Answer::Integer(1));
    let Answer::Integer(left) = client.run("TTL a") else { panic!() };
    assert!((95..=100).contains(&left), "{left}");
    assert_eq!(client.run("SET f 6 EX 100"), Answer::ok());
    assert_eq!(client.run("SET f 7 XX KEEPTTL"), Answer::ok());
    assert_eq!(client.run("PERSIST f"), Answer::Integer(1));
    assert_eq!(client.run("GETEX f EX 100"), Answer::bulk("7"));
    assert_eq!(client.run("DEL a b c d e f none"), Answer::Integer(6));
    assert_eq!(client.run("MGET a f").array(), [Answer::Null, Answer::Null]);
    let sizes = nodes.iter().map(|node| node.client().run("DBSIZE"));
    assert!(sizes.clone().all(|size| size == Answer::Integer(0)), "{:?}", sizes.collect::<Vec<_>>());
}

#[test]
fn proxy_with_a_token_shows_it_to_every_node() {
    let token = ["--token", "correct horse battery"];
    let services = [(); 3].map(|()| Started::with(&token));
    let named: Vec<_> = NAMES.into_iter().zip(services.iter().map(|service| service.resp)).collect();
    let with_token = format!("{STAY}, redis_auth: {}", "correct horse battery");
    let Some(proxy) = Proxy::start(&named, &with_token) else { return };
    let mut client = proxy.client();
    assert!(client.run("GET k").error().starts_with("NOAUTH"));
    let said = client.ask(&[b"AUTH", b"correct horse battery"]).unwrap();
    assert_eq!(said, Answer::ok());
    for at in 0..30 {
        assert_eq!(client.run(&format!("SET {} v", key(at))), Answer::ok());
    }
    let sizes = services.iter().map(|service| {
        let mut client = service.client();
        assert_eq!(client.ask(&[b"AUTH", b"correct horse battery"]).unwrap(), Answer::ok());
        client.run("DBSIZE")
    });
    assert!(sizes.into_iter().all(|size| matches!(size, Answer::Integer(keys) if keys > 0)));
}

#[test]
fn redis_benchmark_runs_through_a_proxy() {
    let base = tempfile::tempdir().unwrap();
    let nodes = nodes(base.path(), 3);
    let Some(proxy) = proxy(&nodes, STAY) else { return };
    let port = proxy.port().to_string();
    for pipeline in ["1", "16"] {
        let arguments = [
            "-p", &port, "-t", "set,get", "-n", "20000", "-c", "20", "-d", "1024", "-r", "1000", "--csv",
            "-P", pipeline,
        ];
        let Some(table) = crate::programs::run("redis-benchmark", &arguments) else { return };
        for test in ["\"SET\"", "\"GET\""] {
            assert!(table.lines().any(|line| line.starts_with(test)), "{test}: {table}");
        }
    }
    for node in &nodes {
        let stats = node.service.as_ref().unwrap().ask("GET", "/stats", &[], b"").json();
        assert_eq!(stats["counters"]["command_errors"], 0);
        assert_eq!(stats["counters"]["protocol_errors"], 0);
        assert!(matches!(node.client().run("DBSIZE"), Answer::Integer(keys) if keys > 100));
    }
}

/// A hazard of the proxy that the page of operators names, as a warning to those who turn ejection on.
#[test]
fn ejected_node_that_returns_shows_its_older_values() {
    let base = tempfile::tempdir().unwrap();
    let mut nodes = nodes(base.path(), 3);
    let Some(proxy) = proxy(&nodes, EJECT) else { return };
    set(&mut proxy.client(), 0..KEYS, 1);
    let held = nodes[0].held();
    let at = places(&held).next().unwrap();
    let (get, newer) = (format!("GET {}", key(at)), format!("SET {} {}", key(at), value(at, 2)));
    nodes[0].stop();
    // The first request fails; from then on another node takes the key.
    wait_for("another node takes the key", || proxy.run(&newer) == Answer::ok());
    assert_eq!(proxy.run(&get), Answer::bulk(&value(at, 2)));
    nodes[0].start();
    wait_for("the node is asked again", || proxy.run(&get) != Answer::bulk(&value(at, 2)));
    assert_eq!(proxy.run(&get), Answer::bulk(&value(at, 1)), "the write of the outage is hidden");

    // A node that comes back empty shows no older value; nothing hides that the key is missing.
    nodes[0].stop();
    wait_for("another node has the key", || proxy.run(&get) == Answer::bulk(&value(at, 2)));
    std::fs::remove_dir_all(nodes[0].dir.join("service")).unwrap();
    nodes[0].start();
    wait_for("the node is asked again", || proxy.run(&get) != Answer::bulk(&value(at, 2)));
    assert_eq!(proxy.run(&get), Answer::Null);
}

#[test]
fn added_node_takes_about_its_share_of_the_keys() {
    let base = tempfile::tempdir().unwrap();
    let mut nodes = nodes(base.path(), 3);
    let Some(before) = proxy(&nodes, STAY) else { return };
    set(&mut before.client(), 0..KEYS, 1);
    drop(before);
    nodes.push(Node::new(base.path(), NAMES[3]));
    let after = proxy(&nodes, STAY).unwrap();
    let mut client = after.client();
    let mut missing = Vec::new();
    for at in 0..KEYS {
        match client.run(&format!("GET {}", key(at))) {
            Answer::Null => missing.push(at),
            found => assert_eq!(found, Answer::bulk(&value(at, 1)), "{}", key(at)),
        }
    }
    let share = KEYS / nodes.len();
    assert!((share / 2..share * 2).contains(&missing.len()), "{} keys have moved", missing.len());
    // Written again, they lie on the new node; their older copies stay where they were.
    set(&mut client, missing.iter().copied(), 2);
    let moved = nodes[3].held();
    assert!(places(&moved).eq(missing.iter().copied()));
    drop(after);
    let last = nodes.pop().unwrap();
    let removed = proxy(&nodes, STAY).unwrap();
    for at in &missing {
        assert_eq!(removed.run(&format!("GET {}", key(*at))), Answer::bulk(&value(*at, 1)));
    }
    drop(last);
}

#[test]
fn idle_connection_of_a_proxy_is_made_again() {
    let service = Started::with(&["--idle", "1s"]);
    let Some(proxy) = Proxy::start(&[(NAMES[0], service.resp)], STAY) else { return };
    assert_eq!(proxy.run("SET k v"), Answer::ok());
    for _ in 0..2 {
        wait_for("the service ends the idle connection", || {
            service.ask("GET", "/stats", &[], b"").json()["connections"]["resp"] == 0
        });
        assert_eq!(proxy.run("GET k"), Answer::bulk("v"));
    }
}
