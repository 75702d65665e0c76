//! A stand-in for OpenAI's responses API, so that the example runs without an account. Nothing to learn here.

use std::io;

use rig::providers::openai::{OpenAI, OpenAIConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A client of a server in this process, which runs as long as the program.
pub async fn openai() -> io::Result<OpenAI> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    println!("No OPENAI_API_KEY: the answers are canned.");
    Ok(OpenAIConfig::new("no key").with_base_url(url).client())
}

/// One request, one connection.
async fn serve(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap_or(0);
            }
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let (status, answer) = answer(&serde_json::from_slice(&body).unwrap_or_default());
    let body = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    stream.flush().await
}

fn answer(request: &Value) -> (&'static str, Value) {
    let model = request["model"].as_str().unwrap_or_default();
    if model == "gpt-0" {
        let message = "The model `gpt-0` does not exist or you do not have access to it.";
        let error =
            json!({"message": message, "type": "invalid_request_error", "code": "model_not_found"});
        return ("404 Not Found", json!({"error": error}));
    }
    let has_result = request["input"].as_array().is_some_and(|items| {
        items
            .iter()
            .any(|item| item["type"] == "function_call_output")
    });
    // First the tool is called, then its result becomes the answer.
    let (item, input, output) = match has_result {
        false => {
            let arguments = r#"{"city":"Paris"}"#;
            let call = json!({
                "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather",
                "arguments": arguments, "status": "completed"
            });
            (call, 68, 15)
        }
        true => {
            let text =
                json!({"type": "output_text", "text": "Yes, until noon.", "annotations": []});
            let message = json!({
                "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]
            });
            (message, 95, 6)
        }
    };
    let answer = json!({
        "id": "resp_1",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "completed",
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "max_output_tokens": null,
        "model": format!("{model}-2024-07-18"),
        "output": [item],
        "tools": [],
        "usage": {
            "input_tokens": input,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": input + output,
        },
    });
    ("200 OK", answer)
}
