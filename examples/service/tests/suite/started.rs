//! A service that runs for one test.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Http, Resp};

/// The longest wait for the service to do anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running service; a drop kills it.
pub(crate) struct Started {
    child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) resp: SocketAddr,
}

/// The program with these arguments, on free ports.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coldpress-service"));
    command.args(["--http", "127.0.0.1:0", "--resp", "127.0.0.1:0", "--capacity", "64m", "--memory", "32m"]);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Started {
    /// Starts the program and waits until it says where it listens.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let mut child = program(arguments).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |scheme: &str| {
            let line = lines.next().and_then(Result::ok).unwrap_or_default();
            let text = line.split_once(scheme).map(|(_, text)| text.trim_end_matches('/').to_owned());
            text.and_then(|text| text.parse().ok())
        };
        let (http, resp) = (address("http://"), address("redis://"));
        let (Some(http), Some(resp)) = (http, resp) else {
            let mut said = String::new();
            child.wait().unwrap();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("the service did not start: {said}");
        };
        Self { child, http, resp }
    }

    pub(crate) fn client(&self) -> Resp {
        Resp::to(self.resp)
    }

    /// Asks once over HTTP, on a connection of its own.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Http {
        Http::ask(self.http, method, path, headers, body)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Ends the process as a crash does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end of the process; returns its exit code.
    pub(crate) fn exit_code(self) -> Option<i32> {
        self.ended().0
    }

    /// As [`exit_code`](Self::exit_code), with the log of the process.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut log = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
                return (status.code(), log);
            }
            assert!(Instant::now() < deadline, "the service did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds.
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
