//! What the work costs at least: the same JSON by serde_json alone, the same bytes by a socket alone.

use std::{
    hint::black_box,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use beluga_o11y::LLMCallData;
use beluga_o11y_opik::OpikExporter;
use serde_json::Value;

use crate::{Result, cpu::Cpu, delivery::Cost};

type Bodies = (Vec<u8>, Vec<u8>);

/// Serialises the traces and the spans of these calls in turn, finished `serde_json::Value`s, into a reused buffer.
pub(crate) fn serialise(
    exporter: &OpikExporter,
    calls: &[LLMCallData],
    count: usize,
) -> Result<Cost> {
    let mut finished = Vec::new();
    for call in calls {
        let (trace, span) = encode(exporter, std::slice::from_ref(call))?;
        finished.push((
            serde_json::from_slice::<Value>(&trace)?,
            serde_json::from_slice::<Value>(&span)?,
        ));
    }
    let (mut traces, mut spans) = Bodies::default();
    let before = Cpu::now()?;
    for (trace, span) in finished.iter().cycle().take(count) {
        traces.clear();
        spans.clear();
        serde_json::to_writer(&mut traces, black_box(trace))?;
        serde_json::to_writer(&mut spans, black_box(span))?;
        black_box((&traces, &spans));
    }
    Ok(Cost::of(Cpu::now()? - before, count))
}

/// Writes traces and spans, encoded beforehand, to a connection each, and waits for both answers: these calls as one
/// batch, over and over.
pub(crate) fn socket(
    exporter: &OpikExporter,
    calls: &[LLMCallData],
    count: usize,
    sink: SocketAddr,
) -> Result<Cost> {
    let (traces, spans) = encode(exporter, calls)?;
    let mut connections = Vec::new();
    for body in [traces, spans] {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: sink\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        connections.push((TcpStream::connect(sink)?, head, body));
    }
    let mut answer = [0; 256];
    let before = Cpu::now()?;
    for _ in 0..count / calls.len() {
        for (connection, head, body) in &mut connections {
            connection.write_all(head.as_bytes())?;
            connection.write_all(body)?;
        }
        for (connection, ..) in &mut connections {
            // It is short, and comes in one piece.
            if connection.read(&mut answer)? == 0 {
                return Err("the sink has gone".into());
            }
        }
    }
    Ok(Cost::of(Cpu::now()? - before, count))
}

fn encode(exporter: &OpikExporter, calls: &[LLMCallData]) -> Result<Bodies> {
    let (mut traces, mut spans) = Bodies::default();
    for call in calls {
        exporter.encode(call, &mut traces, &mut spans)?;
    }
    Ok((traces, spans))
}
