//! A huge answer costs next to nothing. In a process of its own, since it looks at the peak of it.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use beluga_o11y_http::{HttpRequest, HttpSender};

/// The most memory that this process ever had, in KiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().strip_suffix(" kB").unwrap();
    number.parse().unwrap()
}

/// Serves bodies of the size that the path says, for as long as anybody reads.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let block = [b'x'; 64 * 1024];
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 1024];
            let n = stream.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(head.get(..n).unwrap()).into_owned();
            let size = head.split(['/', ' ']).nth(2).unwrap();
            let size: usize = size.parse().unwrap();
            let head =
                format!("HTTP/1.1 500 Oops\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
            let mut left = size;
            while left > 0 {
                match stream.write(block.get(..left.min(block.len())).unwrap()) {
                    Ok(n) => left -= n,
                    Err(_) => break,
                }
            }
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_400_mb_error_body_costs_less_than_1_mb() {
    #[cfg(all(feature = "rustls-no-provider", not(feature = "rustls")))]
    let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
    let sender = HttpSender::builder(server()).build().unwrap();
    for _ in 0..3 {
        let response = sender.send(HttpRequest::get("100")).await.unwrap();
        assert_eq!(response.body().len(), 100);
    }
    let before = peak();
    let response = sender.send(HttpRequest::get("400000000")).await.unwrap();
    assert_eq!(response.body().len(), 64 * 1024);
    let grown = peak() - before;
    assert!(grown < 1024, "{grown} KiB");
}
