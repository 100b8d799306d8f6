//! Small clients of both ports, which show the answers as they are.

use core::net::SocketAddr;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use crate::started::PATIENCE;

/// An answer of the Redis port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Answer>),
    Map(Vec<Answer>),
}

impl Answer {
    pub(crate) fn ok() -> Self {
        Self::Simple("OK".to_owned())
    }

    pub(crate) fn bulk(text: &str) -> Self {
        Self::Bulk(text.as_bytes().to_vec())
    }

    pub(crate) fn error(&self) -> &str {
        match self {
            Self::Error(text) => text,
            other => panic!("no error: {other:?}"),
        }
    }

    pub(crate) fn array(self) -> Vec<Self> {
        match self {
            Self::Array(items) | Self::Map(items) => items,
            other => panic!("no array: {other:?}"),
        }
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Simple(text) | Self::Error(text) => text.clone(),
            other => panic!("no text: {other:?}"),
        }
    }
}

/// A connection to the Redis port.
pub(crate) struct Resp {
    pub(crate) stream: BufReader<TcpStream>,
}

impl Resp {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends a command of words between spaces, and returns its answer.
    pub(crate) fn run(&mut self, command: &str) -> Answer {
        let words: Vec<_> = command.split(' ').map(str::as_bytes).collect();
        self.ask(&words).unwrap()
    }

    pub(crate) fn ask(&mut self, words: &[&[u8]]) -> io::Result<Answer> {
        self.send(&frame(words))?;
        self.answer()
    }

    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end_matches("\r\n");
        let (mark, text) = line.split_at(1);
        let number = || text.parse::<i64>().unwrap();
        let items = |this: &mut Self, count| (0..count).map(|_| this.answer()).collect::<io::Result<_>>();
        Ok(match mark {
            "+" => Answer::Simple(text.to_owned()),
            "-" => Answer::Error(text.to_owned()),
            ":" => Answer::Integer(number()),
            "_" => Answer::Null,
            "$" if number() < 0 => Answer::Null,
            "$" => {
                let mut bytes = vec![0; usize::try_from(number()).unwrap() + 2];
                self.stream.read_exact(&mut bytes)?;
                assert_eq!(bytes.split_off(bytes.len() - 2), b"\r\n");
                Answer::Bulk(bytes)
            }
            "*" | "~" => Answer::Array(items(self, number())?),
            "%" => Answer::Map(items(self, 2 * number())?),
            _ => panic!("no answer: {line}"),
        })
    }

    /// Tells whether the service ended the connection, once what it wrote was read.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// The bytes of a command.
pub(crate) fn frame(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Http {
    /// Asks once, on a connection that ends with the answer.
    pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|header| header.to_lowercase().starts_with("host:")) {
            request.push_str(&format!("Host: {address}\r\n"));
        }
        if !body.is_empty() || method == "PUT" {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        headers.iter().for_each(|header| request.push_str(&format!("{header}\r\n")));
        request.push_str("\r\n");
        // The service may refuse the request before it has read all of it.
        let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.write_all(body));
        Self::read(&mut stream)
    }

    /// Reads an answer up to the end of the connection.
    pub(crate) fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A refused body can be answered by a reset, behind the answer.
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").expect("an answer with a head");
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Self { status, headers, body: bytes[end + 4..].to_vec() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}
