//! A twemproxy in front of services, for one test.

use core::net::SocketAddr;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use crate::client::{Answer, Resp};
use crate::started::wait_for;

/// The name of the program.
const PROGRAM: &str = "nutcracker";
/// How often another port is tried: another program may have taken the one that was free.
const TRIES: usize = 5;

/// A running proxy; a drop ends it.
pub(crate) struct Proxy {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Proxy {
    /// Starts a proxy that shares keys out among the nodes by their names; `None` where the program is missing.
    pub(crate) fn start(nodes: &[(&str, SocketAddr)], settings: &str) -> Option<Self> {
        for _ in 0..TRIES {
            let dir = tempfile::tempdir().unwrap();
            let (address, stats) = (free_address(), free_address());
            let mut config = format!(
                "nodes:\n  listen: {address}\n  redis: true\n  hash: murmur\n  distribution: ketama\n"
            );
            settings.split(", ").for_each(|setting| config.push_str(&format!("  {setting}\n")));
            config.push_str("  servers:\n");
            for (name, node) in nodes {
                config.push_str(&format!("    - {node}:1 {name}\n"));
            }
            let path = |name: &str| dir.path().join(name);
            std::fs::write(path("nutcracker.yml"), config).unwrap();
            let mut command = Command::new(PROGRAM);
            command
                .arg("-c")
                .arg(path("nutcracker.yml"))
                .arg("-p")
                .arg(path("pid"))
                .arg("-o")
                .arg(path("log"));
            command.args(["-a", "127.0.0.1", "-s", &stats.port().to_string()]).stdin(Stdio::null());
            let mut child = match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    eprintln!("SKIPPED: {PROGRAM} is not installed");
                    return None;
                }
                child => child.unwrap(),
            };
            let mut is_over = false;
            wait_for("the proxy listens", || {
                is_over = child.try_wait().unwrap().is_some();
                is_over || std::net::TcpStream::connect(address).is_ok()
            });
            if !is_over {
                return Some(Self { child, address, _dir: dir });
            }
        }
        panic!("{PROGRAM} ended at once, {TRIES} times");
    }

    pub(crate) fn client(&self) -> Resp {
        Resp::to(self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Asks on a connection of its own.
    pub(crate) fn run(&self, command: &str) -> Answer {
        self.client().run(command)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
