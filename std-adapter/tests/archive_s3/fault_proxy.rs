//! A proxy in front of an HTTP server: it refuses, cuts and delays some of the requests.

use core::net::SocketAddr;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread;

/// The fault that a request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered by this status, and the server does not see it.
    Refused(u16),
    /// The server does it, and this status is the answer.
    Answered(u16),
    /// The server sees half of it, and the connection ends.
    HalfSent,
    /// The server does it, and the connection ends without an answer.
    Unanswered,
    /// Half of the body of the answer comes, and the connection ends.
    HalfAnswered,
    /// The body of the answer comes in small pieces, with a pause behind each.
    Slow,
}

/// The requests that are hit: one of so many, or those that begin with a method and have a text in their path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hit {
    /// Each n-th one of all.
    Each(u64),
    /// The n-th one alone, counted from 0.
    Only(u64),
    /// The first one with this method whose path has this text.
    First(&'static str, &'static str),
}

/// Bytes of a piece of a slow answer, and the pause behind it.
const PIECE_BYTES: usize = 4 << 10;
const PAUSE: Duration = Duration::from_millis(1);

/// The plan of a proxy. It is never freed: the threads of its connections look at it as long as they like.
pub(crate) struct FaultProxy {
    pub(crate) address: SocketAddr,
    server: SocketAddr,
    plan: Mutex<Option<(Hit, Fault)>>,
    requests: AtomicU64,
    hits: AtomicU64,
}

/// A request or an answer.
struct HttpMessage {
    head: String,
    body: Vec<u8>,
}

impl HttpMessage {
    /// Reads one; `None` where the connection ended.
    fn read(stream: &mut BufReader<TcpStream>, is_headless: bool) -> io::Result<Option<Self>> {
        let mut head = String::new();
        loop {
            let before = head.len();
            if stream.read_line(&mut head)? == 0 {
                return Ok(None);
            }
            if &head[before..] == "\r\n" {
                break;
            }
        }
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        let mut body = Vec::new();
        match header("content-length").and_then(|bytes| bytes.parse().ok()) {
            _ if is_headless => {}
            Some(bytes) => {
                body.resize(bytes, 0);
                stream.read_exact(&mut body)?;
            }
            // An answer without a length ends with its connection.
            None if head.starts_with("HTTP/") => drop(stream.read_to_end(&mut body)?),
            None => {}
        }
        Ok(Some(Self { head, body }))
    }

    /// The head, with another header behind its first line.
    fn head_with(&self, header: &str) -> String {
        self.head.replacen("\r\n", &format!("\r\n{header}\r\n"), 1)
    }
}

impl FaultProxy {
    pub(crate) fn start(server: SocketAddr) -> &'static Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let this: &'static Self = Box::leak(Box::new(Self {
            address: listener.local_addr().unwrap(),
            server,
            plan: Mutex::new(None),
            requests: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        }));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                thread::spawn(move || this.serve(client));
            }
        });
        this
    }

    /// Begins a plan, and counts from 0 again.
    pub(crate) fn begin(&self, plan: Option<(Hit, Fault)>) {
        *self.plan.lock().unwrap() = plan;
        self.requests.store(0, SeqCst);
        self.hits.store(0, SeqCst);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(SeqCst)
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(SeqCst)
    }

    /// The fault of a request.
    fn fault(&self, request: &HttpMessage) -> Option<Fault> {
        let at = self.requests.fetch_add(1, SeqCst);
        let (hit, fault) = (*self.plan.lock().unwrap())?;
        let is_hit = match hit {
            Hit::Each(count) => at % count == count - 1,
            Hit::Only(wanted) => at == wanted,
            Hit::First(method, part) => {
                let line = request.head.lines().next().unwrap_or_default();
                line.starts_with(method) && line.contains(part) && self.hits.load(SeqCst) == 0
            }
        };
        if !is_hit {
            return None;
        }
        self.hits.fetch_add(1, SeqCst);
        Some(fault)
    }

    /// Serves a connection of a client, to its end.
    fn serve(&self, client: TcpStream) {
        let Ok(reader) = client.try_clone() else { return };
        let (mut reader, mut client) = (BufReader::new(reader), client);
        while let Ok(Some(request)) = HttpMessage::read(&mut reader, false) {
            let fault = self.fault(&request);
            match self.carry_out(&request, fault, &mut client) {
                Ok(true) => {}
                Ok(false) | Err(_) => break,
            }
        }
        let _ = client.shutdown(Shutdown::Both);
    }

    /// Carries a request out; tells whether the connection goes on.
    fn carry_out(
        &self,
        request: &HttpMessage,
        fault: Option<Fault>,
        client: &mut TcpStream,
    ) -> io::Result<bool> {
        if let Some(Fault::Refused(status)) = fault {
            return refuse(client, status);
        }
        let mut server = TcpStream::connect(self.server)?;
        let body = match fault {
            Some(Fault::HalfSent) => &request.body[..request.body.len() / 2],
            _ => &request.body,
        };
        server.write_all(request.head_with("Connection: close").as_bytes())?;
        server.write_all(body)?;
        if fault == Some(Fault::HalfSent) {
            return Ok(false);
        }
        let is_headless = request.head.starts_with("HEAD ");
        let Some(answer) = HttpMessage::read(&mut BufReader::new(server), is_headless)? else {
            return Ok(false);
        };
        match fault {
            Some(Fault::Unanswered) => return Ok(false),
            Some(Fault::Answered(status)) => return refuse(client, status),
            _ => {}
        }
        client.write_all(answer.head.as_bytes())?;
        match fault {
            Some(Fault::HalfAnswered) if !answer.body.is_empty() => {
                client.write_all(&answer.body[..answer.body.len() / 2])?;
                return Ok(false);
            }
            Some(Fault::Slow) => {
                for piece in answer.body.chunks(PIECE_BYTES) {
                    client.write_all(piece)?;
                    thread::sleep(PAUSE);
                }
            }
            _ => client.write_all(&answer.body)?,
        }
        // The server said that it closes the connection, so the client does not use it again.
        Ok(false)
    }
}

/// Answers by a status, as S3 does where it is busy or fails.
fn refuse(client: &mut TcpStream, status: u16) -> io::Result<bool> {
    let (line, code) = match status {
        503 => ("503 Slow Down", "SlowDown"),
        _ => ("500 Internal Server Error", "InternalError"),
    };
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    let head =
        format!("HTTP/1.1 {line}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())?;
    Ok(true)
}
