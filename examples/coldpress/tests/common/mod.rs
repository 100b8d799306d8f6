//! Runs the tool, and makes tiers for it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use coldpress_std::{ColdTier, ColdTierConfig, ColdTierConfigBuilder, Durability, PutOptions, Ttl};

const HELD_DIR: &str = "COLDPRESS_TOOL_HELD_DIR";

/// The tool with its arguments, not run yet.
pub(crate) struct Call {
    command: Command,
    input: Vec<u8>,
}

/// The outcome of a run.
pub(crate) struct Run {
    pub(crate) stdout: Vec<u8>,
    stderr: Vec<u8>,
    code: Option<i32>,
}

/// Calls the tool; `DIR` in the arguments is the directory.
pub(crate) fn tool(dir: &Path, args: &[&str]) -> Call {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coldpress"));
    command.args(args.iter().map(|arg| arg.replace("DIR", dir.to_str().unwrap())));
    Call { command, input: Vec::new() }
}

impl Call {
    pub(crate) fn input(mut self, input: &str) -> Self {
        self.input = input.as_bytes().to_vec();
        self
    }

    /// Runs it, and checks the exit code.
    pub(crate) fn expect(mut self, code: i32) -> Run {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let written = child.stdin.take().unwrap().write_all(&self.input);
        assert!(written.is_ok() || code != 0, "{written:?}");
        Run::of(child.wait_with_output().unwrap()).expect(code)
    }
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        Self { stdout: output.stdout, stderr: output.stderr, code: output.status.code() }
    }

    pub(crate) fn expect(self, code: i32) -> Self {
        let (out, err) = (String::from_utf8_lossy(&self.stdout), self.err());
        assert_eq!(self.code, Some(code), "\n{out}\n{err}");
        self
    }

    pub(crate) fn out(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8(self.stderr.clone()).unwrap()
    }
}

/// The one JSON object of an output.
pub(crate) fn json(run: &Run) -> serde_json::Value {
    let all = lines(run);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

/// The JSON objects of an output, one a line.
pub(crate) fn lines(run: &Run) -> Vec<serde_json::Value> {
    run.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn small() -> ColdTierConfigBuilder {
    ColdTierConfig::builder().capacity_bytes(4 << 20)
}

pub(crate) fn open(base_dir: &Path, name: &str, config: &ColdTierConfigBuilder) -> ColdTier {
    let config = config.clone().base_dir(base_dir).build().unwrap();
    ColdTier::with_own_pools(config, name).unwrap()
}

pub(crate) fn value(key: u32, round: u32) -> Vec<u8> {
    format!("value {key} of round {round}, {}", "cold ".repeat(key as usize % 50)).into_bytes()
}

/// Makes a tier in which each key was put twice.
pub(crate) fn fill(base_dir: &Path, name: &str, config: &ColdTierConfigBuilder, keys: u32) {
    let tier = open(base_dir, name, config);
    for round in 0..2 {
        for key in 0..keys {
            tier.put(format!("key {key}").as_bytes(), &value(key, round)).unwrap();
        }
        tier.flush_to(Durability::Synced).unwrap();
    }
    tier.close().unwrap();
}

/// A process that has the tier `test` open.
pub(crate) struct Holder(Child);

impl Holder {
    /// Starts this test program again, which runs the one test that holds the tier.
    pub(crate) fn start(base_dir: &Path, test: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads", "1"])
            .env(HELD_DIR, base_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.as_mut().unwrap());
        assert!(out.lines().any(|line| line.unwrap() == "held"), "the child did not open the tier");
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may be over already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Holds a tier open in the child; elsewhere there is nothing to do.
pub(crate) fn hold_tier() {
    let Some(dir) = std::env::var_os(HELD_DIR).map(PathBuf::from) else { return };
    let tier = open(&dir, "test", &small());
    let synced = PutOptions { ttl: Ttl::Never, durability: Some(Durability::Synced) };
    tier.put_with(b"held", b"by the child", synced).unwrap();
    println!("\nheld");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    tier.close().unwrap();
}
