//! A client small enough to see every byte, and records that Opik takes.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use beluga_o11y_sandbox::{OpikCloud, Sandbox};
use chrono::Utc;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use uuid::{NoContext, Timestamp, Uuid};

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Of a stream: one object a line.
    pub(crate) fn lines(&self) -> Vec<Value> {
        assert_eq!(
            self.header("content-type"),
            Some("application/octet-stream")
        );
        let text = self.text();
        let lines = text.split_terminator("\r\n");
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

/// A request on a connection of its own.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET",
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn post(path: impl Into<String>, body: &Value) -> Self {
        Self {
            method: "POST",
            body: body.to_string().into_bytes(),
            ..Self::get(path)
        }
        .header("Content-Type", "application/json")
    }

    pub(crate) fn patch(path: impl Into<String>, body: &Value) -> Self {
        Self {
            method: "PATCH",
            ..Self::post(path, body)
        }
    }

    pub(crate) fn put(path: impl Into<String>, body: &Value) -> Self {
        Self {
            method: "PUT",
            ..Self::post(path, body)
        }
    }

    pub(crate) fn traces(traces: &[Value]) -> Self {
        Self::post(
            "/opik/api/v1/private/traces/batch",
            &json!({"traces": traces}),
        )
    }

    pub(crate) fn spans(spans: &[Value]) -> Self {
        Self::post("/opik/api/v1/private/spans/batch", &json!({"spans": spans}))
    }

    pub(crate) fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    pub(crate) fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    pub(crate) fn gzip(self) -> Self {
        let body = gzip(&self.body);
        self.body(body).header("Content-Encoding", "gzip")
    }

    /// As the account of [`two_workspaces`], in one of them.
    pub(crate) fn of(self, workspace: &str) -> Self {
        self.header("Authorization", "key")
            .header("Comet-Workspace", workspace)
    }

    /// Sends it and leaves the connection open.
    pub(crate) fn open(&self, sandbox: &Sandbox) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(sandbox.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n",
            self.method,
            self.path,
            sandbox.address()
        );
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!(
            "Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(&self.body)?;
        Ok(stream)
    }

    pub(crate) fn try_send(&self, sandbox: &Sandbox) -> io::Result<Reply> {
        read_reply(self.open(sandbox)?)
    }

    pub(crate) fn send(&self, sandbox: &Sandbox) -> Reply {
        self.try_send(sandbox).unwrap()
    }
}

pub(crate) fn read_reply(mut stream: TcpStream) -> io::Result<Reply> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok(Reply {
        status,
        head,
        body: bytes[end + 4..].to_vec(),
    })
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A cloud with an account that has the workspaces `one` and `two`.
pub(crate) fn two_workspaces() -> Sandbox {
    let account = OpikCloud::new("key").with_workspace("one");
    let builder = Sandbox::builder().with_cloud(account.with_workspace("two"));
    builder.start().unwrap()
}

pub(crate) fn id() -> Uuid {
    Uuid::now_v7()
}

/// An id whose time is that many seconds from now.
pub(crate) fn id_at(seconds: i64) -> Uuid {
    let seconds = u64::try_from(Utc::now().timestamp() + seconds).unwrap();
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, 0))
}

/// A trace that Opik takes, with every field there is.
pub(crate) fn trace() -> Value {
    json!({
        "id": id(), "project_name": "beluga-demo", "name": "chat",
        "start_time": "2026-11-22T21:52:14.072279Z", "end_time": "2026-11-22T21:52:14.912279Z",
        "input": {"messages": [{"role": "user", "content": "hi"}]}, "output": {"text": "hello"},
        "metadata": {"k": "v"}, "tags": ["prod"], "thread_id": "conv-1", "ttft": 120.5,
        "error_info": {"exception_type": "RateLimitError", "message": "429", "traceback": "RateLimitError: 429"},
        "last_updated_at": "2026-11-22T21:52:14.912279Z", "source": "sdk", "environment": "test",
    })
}

/// A span that Opik takes, with every field there is.
pub(crate) fn span() -> Value {
    let mut span = trace();
    span.as_object_mut().unwrap().remove("thread_id");
    let own = json!({
        "trace_id": id(), "parent_span_id": id(), "type": "llm", "model": "gpt-4o", "provider": "openai",
        "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}, "total_estimated_cost": 0.00123,
    });
    with(span, own)
}

/// A record with some fields set; null takes a field away.
pub(crate) fn with(mut record: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else {
        panic!("no object")
    };
    for (name, value) in fields {
        let record = record.as_object_mut().unwrap();
        match value {
            Value::Null => drop(record.remove(&name)),
            value => drop(record.insert(name, value)),
        }
    }
    record
}

pub(crate) fn id_of(record: &Value) -> Uuid {
    serde_json::from_value(record["id"].clone()).unwrap()
}
