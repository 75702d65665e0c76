//! A server that takes everything and keeps nothing: HTTP/1.1, 204, over connections that stay open.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// Starts one in threads of this process, for as long as that lives. Each answer comes after the latency, whatever else
/// is being answered. Adds what it reads, in the bodies of requests, to `bytes`.
pub(crate) fn start(latency: Duration, bytes: Arc<AtomicU64>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let bytes = Arc::clone(&bytes);
            // An error is the end of a connection.
            thread::spawn(move || answer(stream, latency, &bytes));
        }
    });
    Ok(address)
}

fn answer(stream: TcpStream, latency: Duration, bytes: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::with_capacity(256 * 1024, stream);
    while let Some(length) = read_head(&mut requests)? {
        skip(&mut requests, length)?;
        thread::sleep(latency);
        bytes.fetch_add(length, Ordering::Relaxed);
        answers.write_all(ANSWER)?;
    }
    Ok(())
}

/// The length of the body that follows; none at the end of the connection.
fn read_head(from: &mut impl BufRead) -> io::Result<Option<u64>> {
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            None if line == "\r\n" => return Ok(Some(length)),
            _ => {}
        }
    }
}

fn skip(from: &mut impl BufRead, mut bytes: u64) -> io::Result<()> {
    while bytes > 0 {
        let read = (from.fill_buf()?.len() as u64).min(bytes);
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        from.consume(read as usize);
        bytes -= read;
    }
    Ok(())
}
