//! Clients that people use: redis-cli, redis-benchmark, curl.

use std::process::{Command, Output};

use crate::started::Started;

/// Runs a program; `None` where this machine lacks it.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output: Output = match Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: {program} is not installed");
            return None;
        }
        Err(error) => panic!("{program}: {error}"),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(text)
}

#[test]
fn redis_cli_works_in_both_versions() {
    let service = Started::with(&[]);
    let port = service.resp.port().to_string();
    for version in ["-2", "-3"] {
        let cli = |words: &[&str]| run("redis-cli", &[&["-p", &port, version, "-e"], words].concat());
        let Some(answer) = cli(&["SET", "k", "v", "EX", "100"]) else { return };
        assert_eq!(answer, "OK\n");
        assert_eq!(cli(&["GET", "k"]).unwrap(), "v\n");
        assert!(["100\n", "99\n"].contains(&cli(&["TTL", "k"]).unwrap().as_str()));
        assert_eq!(cli(&["MGET", "k", "none"]).unwrap(), "v\n\n");
        assert_eq!(cli(&["--scan", "--pattern", "k*"]).unwrap(), "k\n");
        assert!(cli(&["INFO"]).unwrap().contains("redis_version"));
        assert!(cli(&["COMMAND", "DOCS", "GET"]).unwrap().contains("summary"));
        assert!(cli(&["CONFIG", "GET", "*"]).unwrap().contains("maxclients"));
    }
}

#[test]
fn redis_cli_sends_many_commands_by_pipe() {
    let service = Started::with(&[]);
    let port = service.resp.port().to_string();
    let script = "for i in $(seq 2000); do echo \"SET key:$i value:$i\"; done | redis-cli -p \"$0\" --pipe";
    if run("redis-cli", &["--version"]).is_none() {
        return;
    }
    let said = run("sh", &["-c", script, &port]).unwrap();
    assert!(said.contains("errors: 0, replies: 2000"), "{said}");
    assert_eq!(run("redis-cli", &["-p", &port, "DBSIZE"]).unwrap(), "2000\n");
}

#[test]
fn redis_benchmark_runs_to_its_end() {
    let service = Started::with(&[]);
    let port = service.resp.port().to_string();
    for pipeline in ["1", "16"] {
        let arguments = [
            "-p",
            &port,
            "-t",
            "set,get,ping",
            "-n",
            "20000",
            "-c",
            "20",
            "-d",
            "1024",
            "-r",
            "1000",
            "-P",
            pipeline,
            "--csv",
        ];
        let Some(table) = run("redis-benchmark", &arguments) else { return };
        for test in ["\"SET\"", "\"GET\"", "\"PING_INLINE\"", "\"PING_MBULK\""] {
            assert!(table.lines().any(|line| line.starts_with(test)), "{test}: {table}");
        }
    }
    let stats = service.ask("GET", "/stats", &[], b"").json();
    assert_eq!(stats["counters"]["command_errors"], 0);
    assert_eq!(stats["counters"]["protocol_errors"], 0);
}

#[test]
fn curl_puts_gets_and_deletes() {
    let service = Started::with(&[]);
    let url = format!("http://{}/kv/key", service.http);
    let status = ["-s", "-o", "/dev/null", "-w", "%{http_code}"];
    let curl = |words: &[&str]| run("curl", &[&status[..], words, &[&url]].concat());
    let Some(put) = curl(&["-X", "PUT", "-H", "TTL: 60", "--data-binary", "value"]) else { return };
    assert_eq!(put, "204");
    assert_eq!(run("curl", &["-s", &url]).unwrap(), "value");
    assert_eq!(curl(&["-X", "DELETE"]).unwrap(), "204");
    assert_eq!(curl(&[]).unwrap(), "404");
    let long = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(long.path(), vec![b'x'; (1 << 20) + 1]).unwrap();
    // It asks before it sends a body of this length.
    assert_eq!(curl(&["-T", long.path().to_str().unwrap()]).unwrap(), "413");
}
