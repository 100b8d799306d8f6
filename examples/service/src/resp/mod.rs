//! The Redis-protocol port: connections, their buffers, and the turns in which commands are answered.
//!
//! A connection has one buffer in and one buffer out. It reads what is there, answers every whole command in it, and writes all
//! answers at once. The first command that may wait for the disk, or for capacity, moves the connection to a thread for blocking
//! work, which answers it and those behind it.

mod command;
mod replies;
mod session;

use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::pin::pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

pub(crate) use self::command::Command;
pub(crate) use self::replies::Replies;
use self::session::{Session, Step};
use crate::metrics::Counters;
use crate::run::accept;
use crate::service::Service;

/// How long a connection that ends waits for its client to end it too.
const PARTING_TIME_MAX: Duration = Duration::from_millis(500);

/// Takes connections until the service closes.
pub(crate) async fn listen(service: &'static Service, listener: TcpListener) {
    while let Some((stream, peer)) = accept(service, &listener).await {
        let counters = &service.counters;
        match service.resp_places.try_acquire() {
            Ok(place) => {
                Counters::add(&counters.resp_connections, 1);
                tokio::spawn(async move {
                    if let Err(error) = serve(service, stream, peer).await {
                        tracing::debug!(%peer, %error, "a connection of the Redis port broke off");
                    }
                    drop(place);
                });
            }
            Err(_) => {
                Counters::add(&counters.resp_refused, 1);
                // The socket of a new connection has space for this line; if not, the client sees it closed.
                let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
            }
        }
    }
}

/// Serves one connection until it ends, is idle for too long, or the service closes.
async fn serve(service: &'static Service, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let limit = service.config.limits.idle;
    let mut session = Box::new(Session::new(service, peer));
    let mut closing = pin!(service.closing());
    let mut idle = pin!(sleep(limit));
    let mut heard = Instant::now();
    loop {
        let input = session.space();
        let read = loop {
            tokio::select! {
                biased;
                read = stream.read_buf(input) => break read?,
                () = &mut closing => return Ok(()),
                () = idle.as_mut() => {
                    // The timer is set anew only when it runs out, not for each command.
                    if heard.elapsed() >= limit {
                        Counters::add(&service.counters.idle_closed, 1);
                        return Ok(());
                    }
                    idle.as_mut().reset(heard + limit);
                }
            }
        };
        if read == 0 {
            return Ok(());
        }
        heard = Instant::now();
        Counters::add(&service.counters.resp_bytes_in, read);
        loop {
            let mut step = session.turn(false);
            if step == Step::Thread {
                Counters::add(&service.counters.thread_turns, 1);
                let turn = move || {
                    let step = session.turn(true);
                    (session, step)
                };
                (session, step) = tokio::task::spawn_blocking(turn).await.map_err(io::Error::other)?;
            }
            if !write(service, &mut stream, session.answers()).await? {
                Counters::add(&service.counters.idle_closed, 1);
                return Ok(());
            }
            session.written();
            match step {
                Step::Read => break,
                Step::Close => return part(&mut stream).await,
                Step::More | Step::Thread => tokio::task::yield_now().await,
            }
        }
        if service.is_closing() {
            return Ok(());
        }
    }
}

/// Ends a connection so that its last answer arrives: a socket that is closed with unread bytes discards what it was to send.
async fn part(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut unread = [0; 4096];
    let read_all = async { while stream.read(&mut unread).await.is_ok_and(|read| read > 0) {} };
    // A client that goes on sending is cut off.
    let _ = timeout(PARTING_TIME_MAX, read_all).await;
    Ok(())
}

/// Writes the answers; `false` where the client does not take them in time.
async fn write(service: &Service, stream: &mut TcpStream, answers: &[u8]) -> io::Result<bool> {
    if answers.is_empty() {
        return Ok(true);
    }
    Counters::add(&service.counters.resp_bytes_out, answers.len());
    // Mostly the socket takes all of it at once, and no timer is needed.
    let taken = match stream.try_write(answers) {
        Ok(taken) => taken,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    let rest = answers.get(taken..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(true);
    }
    match timeout(service.config.limits.idle, stream.write_all(rest)).await {
        Ok(written) => written.map(|()| true),
        Err(_) => Ok(false),
    }
}
