//! genai with its feature `otel`, made to call `llm_server.py`, and what the backends have stored of it: `PROGRAM URL`, with
//! content as `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` has it.

#[path = "../../stored.rs"]
mod stored;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use beluga_o11y::{CallError, Usage};
use futures_util::StreamExt;
use genai::adapter::AdapterKind;
use genai::chat::{ChatMessage, ChatOptions, ChatRequest, ChatStreamEvent, Tool, ToolResponse};
use genai::otel::agent::{AgentSpan, ExecuteToolSpan, execute_tool_span};
use genai::resolver::{AuthData, Endpoint, ServiceTargetResolver};
use genai::{Client, ModelIden, ServiceTarget};
use serde_json::json;
use tracing::{Instrument, info_span};

use crate::stored::{
    ANSWER, Backends, PREAMBLE, QUESTION, Wanted, cancelled, expect_answer, expect_error,
};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: PROGRAM URL")?;
    // Without its slash at the end genai would replace the last part of the path.
    let endpoint = Endpoint::from_owned(url + "/");
    let resolver = ServiceTargetResolver::from_resolver_fn(
        move |target: ServiceTarget| -> Result<ServiceTarget, genai::resolver::Error> {
            Ok(ServiceTarget {
                endpoint: endpoint.clone(),
                auth: AuthData::from_single("no key"),
                model: ModelIden::new(AdapterKind::OpenAI, target.model.model_name),
            })
        },
    );
    let client = Client::builder()
        .with_service_target_resolver(resolver)
        .build()?;
    let mut backends = Backends::start()?;
    let switch = if genai::otel::capture_content() {
        "on"
    } else {
        "off"
    };
    println!("   -- content {switch}");
    answers(&client, &mut backends).await;
    streams(&client, &mut backends).await;
    tools(&client, &mut backends).await;
    failures(&client, &mut backends).await;
    embeddings(&client, &mut backends).await;
    Ok(backends.end())
}

async fn answers(client: &Client, backends: &mut Backends) {
    let options = ChatOptions::default()
        .with_temperature(0.5)
        .with_max_tokens(200)
        .with_top_p(0.25)
        .with_seed(7)
        .with_stop_sequences(vec!["END".to_owned()]);
    let run = async {
        let answer = client
            .exec_chat("plain-model", request(), Some(&options))
            .await?;
        expect_answer(answer.first_text().unwrap_or_default())
    };
    let span = info_span!(
        "request",
        beluga.session.id = "session-1",
        beluga.user.id = "user-1",
        beluga.tags = "live,test"
    );
    let wanted = content(stored::answered("plain-model"))
        .with_session_id("session-1")
        .with_user_id("user-1")
        .with_tag("live")
        .with_tag("test")
        .with_metadata("gen_ai.response.model", "plain-model-2026-11-01")
        .with_metadata("gen_ai.response.finish_reasons", ["stop"])
        .with_model_parameters(json!({
            "temperature": 0.5, "max_tokens": 200, "top_p": 0.25, "seed": 7, "stop": ["END"], "stream": false
        }));
    backends
        .case(
            "a chat in a span of ours",
            run.instrument(span),
            vec![wanted],
        )
        .await;
}

async fn streams(client: &Client, backends: &mut Backends) {
    let capturing = ChatOptions::default()
        .with_capture_usage(true)
        .with_capture_content(true);
    let read = async |options: Option<&ChatOptions>| {
        let mut stream = client
            .exec_chat_stream("plain-model", request(), options)
            .await?
            .stream;
        while let Some(event) = stream.next().await {
            event?;
        }
        Ok(())
    };
    let timed = |wanted: Wanted| wanted.with_time_to_first_token(Duration::ZERO);
    let wanted = timed(content(stored::streamed("plain-model")));
    backends
        .case("a stream", read(Some(&capturing)), vec![wanted])
        .await;

    // Without these options genai keeps neither usage nor answer.
    let wanted = timed(asked(stored::unknown("plain-model")))
        .with_metadata("gen_ai.response.finish_reasons", ["stop"]);
    backends
        .case("a stream, nothing captured", read(None), vec![wanted])
        .await;
}

async fn tools(client: &Client, backends: &mut Backends) {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let tool = Tool::new("weather")
        .with_description("Tells the weather of a city.")
        .with_schema(parameters);
    let run = async {
        let request = request().with_tools(vec![tool.clone()]);
        let answer = client
            .exec_chat("plain-model", request.clone(), None)
            .await?;
        let calls = answer.into_tool_calls();
        let call = calls.first().ok_or("no tool is called")?;
        let span = execute_tool_span(call);
        let result = span.in_scope(|| "Rain in Paris.");
        ExecuteToolSpan::record_result(&span, result);
        drop(span);
        let response = ToolResponse::new(call.call_id.clone(), result);
        let request = request
            .append_message(ChatMessage::from(calls))
            .append_message(response);
        let answer = client.exec_chat("plain-model", request, None).await?;
        expect_answer(answer.first_text().unwrap_or_default())
    };
    let span = AgentSpan::invoke_agent()
        .internal()
        .with_name("forecaster")
        .start();
    let turn = stored::answered("plain-model")
        .with_trace_id("run")
        .with_parent_span_id("run")
        .with_metadata("gen_ai.agent.name", "forecaster");
    let first = if_on(turn.clone(), |turn| {
        turn.with_messages(stored::question())
            .with_response(stored::tool_call())
    });
    let second = if_on(turn, |turn| {
        let messages = stored::with_tool_result("Rain in Paris.");
        turn.with_messages(messages).with_response(ANSWER)
    });
    let run = run.instrument(span);
    backends
        .case("an agent that calls a tool", run, vec![first, second])
        .await;
}

async fn failures(client: &Client, backends: &mut Backends) {
    let failed = |kind| {
        let error = CallError::new("").with_kind(kind);
        asked(Wanted::new("openai", "busy-model")).with_error(error)
    };
    let run = async { expect_error(client.exec_chat("busy-model", request(), None).await) };
    backends.case("status 429", run, vec![failed("429")]).await;

    let run = async {
        let mut stream = client
            .exec_chat_stream("busy-model", request(), None)
            .await?
            .stream;
        while let Some(event) = stream.next().await {
            if event.is_err() {
                return Ok(());
            }
        }
        Err("it should have failed".into())
    };
    // genai does not tell the status here.
    backends
        .case("status 429, streamed", run, vec![failed("web_stream")])
        .await;

    let run = cancelled(async { drop(client.exec_chat("slow-model", request(), None).await) });
    let wanted = asked(stored::interrupted(stored::unanswered("slow-model")));
    backends.case("cancelled", run, vec![wanted]).await;

    let run = async {
        let answer = client
            .exec_chat_stream("slow-model", request(), None)
            .await?;
        let mut stream = answer.stream;
        while !matches!(
            stream.next().await,
            Some(Ok(ChatStreamEvent::Chunk(_))) | None
        ) {}
        cancelled(stream.for_each(|_| async {})).await
    };
    let wanted = asked(stored::interrupted(stored::unanswered("slow-model")))
        .with_time_to_first_token(Duration::ZERO);
    backends
        .case("cancelled in a stream", run, vec![wanted])
        .await;
}

async fn embeddings(client: &Client, backends: &mut Backends) {
    let run = async {
        client.embed("embed-model", QUESTION, None).await?;
        Ok(())
    };
    let mut usage = Usage::default();
    usage.input_tokens = Some(7);
    let wanted = Wanted::new("openai", "embed-model").with_usage(usage);
    backends.case("embeddings", run, vec![wanted]).await;

    let run = async { expect_error(client.embed("busy-model", QUESTION, None).await) };
    let error = CallError::new("").with_kind("429");
    let wanted = Wanted::new("openai", "busy-model").with_error(error);
    backends
        .case("embeddings, status 429", run, vec![wanted])
        .await;

    let run = cancelled(async { drop(client.embed("slow-model", QUESTION, None).await) });
    let wanted = stored::interrupted(stored::unanswered("slow-model"));
    backends
        .case("embeddings, cancelled", run, vec![wanted])
        .await;
}

fn request() -> ChatRequest {
    ChatRequest::new(vec![ChatMessage::user(QUESTION)]).with_system(PREAMBLE)
}

/// With what was asked, if content is on.
fn asked(wanted: Wanted) -> Wanted {
    if_on(wanted, |wanted| wanted.with_messages(stored::question()))
}

/// With what was asked and answered, if content is on.
fn content(wanted: Wanted) -> Wanted {
    if_on(asked(wanted), |wanted| wanted.with_response(ANSWER))
}

fn if_on(wanted: Wanted, more: impl FnOnce(Wanted) -> Wanted) -> Wanted {
    match genai::otel::capture_content() {
        true => more(wanted),
        false => wanted,
    }
}
