//! An Opik that is empty, keeps what it is asked, and answers as a test says where that matters.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use beluga_o11y_opik::{OpikDataset, OpikExporter, OpikExporterBuilder};
use httpmock::{HttpMockRequest, HttpMockResponse, MockServer};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) const DATASET: Uuid = Uuid::from_u128(0x01a2_053e_d7e5_7c63_a7ee_bd5a_764f_8e70);

/// What it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Without `/api`.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Asked {
    /// `PUT /v1/private/datasets/items`, in short.
    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path.strip_prefix("/v1/private") == Some(path)
    }

    /// The elements of a list in the body.
    pub(crate) fn list(&self, name: &str) -> Vec<Value> {
        self.body[name].as_array().cloned().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(known, _)| known == name);
        header.map(|(_, value)| value.as_str())
    }
}

/// What it answers.
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

pub(crate) fn reply(status: u16) -> Reply {
    Reply {
        status,
        headers: Vec::new(),
        body: String::new(),
    }
}

impl Reply {
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }
}

pub(crate) struct Scripted {
    mock: MockServer,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Scripted {
    pub(crate) async fn start(
        script: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let mock = MockServer::start_async().await;
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let log = asked.clone();
        mock.mock_async(|when, then| {
            when.any_request();
            then.respond_with(move |request: &HttpMockRequest| {
                let request = read(request);
                let reply = script(&request).unwrap_or_else(|| usual(&request));
                log.lock().unwrap().push(request);
                let mut response = HttpMockResponse::builder().status(reply.status);
                for (name, value) in reply.headers {
                    response = response.header(name, value);
                }
                response.body(reply.body).build()
            });
        })
        .await;
        Self { mock, asked }
    }

    pub(crate) fn builder(&self) -> OpikExporterBuilder {
        OpikExporter::builder()
            .with_base_url(self.mock.url("/api"))
            .with_gzip(false)
    }

    pub(crate) fn exporter(&self) -> OpikExporter {
        self.builder().build().unwrap()
    }

    /// A dataset that is there.
    pub(crate) async fn dataset(&self) -> OpikDataset {
        let dataset = self.exporter().dataset("capitals").await.unwrap();
        self.asked.lock().unwrap().clear();
        dataset
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn asked_of(&self, method: &str, path: &str) -> Vec<Asked> {
        let mut asked = self.asked();
        asked.retain(|asked| asked.is(method, path));
        asked
    }
}

/// What an Opik with nothing in it answers.
fn usual(asked: &Asked) -> Reply {
    if asked.is("POST", "/datasets/retrieve") {
        return reply(200).json(&json!({"id": DATASET, "name": asked.body["dataset_name"]}));
    }
    if asked.path.ends_with("/stream") {
        return reply(200).header("content-type", "application/octet-stream");
    }
    if asked.method == "GET" {
        return reply(200).json(&json!({"page": 1, "size": 0, "total": 0, "content": []}));
    }
    reply(204)
}

fn read(request: &HttpMockRequest) -> Asked {
    let uri = request.uri();
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    Asked {
        method: request.method().to_string(),
        path: uri.path().strip_prefix("/api").unwrap().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers,
        body: serde_json::from_slice(request.body_ref()).unwrap_or_default(),
    }
}

/// Answers each connection with the next of these, byte for byte, then none; gives what it was asked, without headers.
pub(crate) fn raw(answers: Vec<String>) -> (String, Arc<Mutex<Vec<Asked>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api", listener.local_addr().unwrap());
    let asked = Arc::<Mutex<Vec<Asked>>>::default();
    let log = asked.clone();
    thread::spawn(move || {
        for answer in answers {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = BufReader::new(connection.try_clone().unwrap());
            let mut head = Vec::new();
            while !head.ends_with(&[String::new()]) {
                let mut line = String::new();
                assert!(request.read_line(&mut line).unwrap() > 0);
                head.push(line.trim().to_owned());
            }
            let length = head.iter().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                let length = name.eq_ignore_ascii_case("content-length");
                length.then(|| value.parse().unwrap())
            });
            let mut body = vec![0; length.unwrap_or(0)];
            request.read_exact(&mut body).unwrap();
            let mut first = head[0].split(' ');
            let (method, target) = (first.next().unwrap(), first.next().unwrap());
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            log.lock().unwrap().push(Asked {
                method: method.to_owned(),
                path: path.strip_prefix("/api").unwrap().to_owned(),
                query: query.to_owned(),
                headers: Vec::new(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            });
            connection.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, asked)
}

/// An answer that says how long it is, for [`raw`].
pub(crate) fn http(length: usize, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}
