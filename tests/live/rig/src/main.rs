//! rig, made to call `llm_server.py`, and what the backends have stored of it: `PROGRAM URL`.

#[path = "../../stored.rs"]
mod stored;

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;

use beluga_o11y::{CallError, Usage};
use beluga_o11y_tracing::CallScope;
use futures_util::StreamExt;
use rig::agent::tool::{Tool, ToolContext};
use rig::completion::CompletionRequest;
use rig::providers::openai::{OpenAI, OpenAIConfig};
use rig::{Agent, AgentBuilder};
use serde_json::{Value, json};
use tracing::{Instrument, info_span};

use crate::stored::{
    ANSWER, Backends, PREAMBLE, QUESTION, Wanted, cancelled, expect_answer, expect_error,
};

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: PROGRAM URL")?;
    let openai = OpenAIConfig::new("no key").with_base_url(url).client();
    let mut backends = Backends::start()?;
    answers(&openai, &mut backends).await;
    streams(&openai, &mut backends).await;
    tools(&openai, &mut backends).await;
    failures(&openai, &mut backends).await;
    embeddings(&openai, &mut backends).await;
    Ok(backends.end())
}

async fn answers(openai: &OpenAI, backends: &mut Backends) {
    let with_content = agent(openai, "plain-model", true);
    let run = async {
        expect_answer(&with_content.prompt(QUESTION).await?.to_string())?;
        expect_answer(&with_content.prompt(QUESTION).await?.to_string())
    };
    // rig makes no span for an agent's run inside a span of ours: that one is the trace.
    let span = info_span!(
        "request",
        beluga.session.id = "session-1",
        beluga.user.id = "user-1"
    );
    let wanted = content(answered("plain-model"))
        .with_session_id("session-1")
        .with_user_id("user-1")
        .with_trace_id("request");
    let wanted = vec![wanted.clone(), wanted];
    backends
        .case(
            "two prompts in a span of ours",
            run.instrument(span),
            wanted,
        )
        .await;

    let without_content = agent(openai, "plain-model", false);
    let run = async { expect_answer(&without_content.prompt(QUESTION).await?.to_string()) };
    let wanted = in_agent("run", answered("plain-model"));
    backends
        .case("a prompt, content off", run, vec![wanted])
        .await;

    let agent = AgentBuilder::new(openai.completion("plain-model"))
        .preamble(PREAMBLE)
        .record_content_telemetry(true)
        .build();
    let run = async { expect_answer(&agent.prompt(QUESTION).await?.to_string()) };
    let wanted = in_agent("run", content(answered("plain-model")));
    backends
        .case("a prompt through the responses API", run, vec![wanted])
        .await;

    let model = openai.chat("plain-model");
    let run = async { expect_answer(&model.call(request()).await?.text()) };
    backends
        .case(
            "the model called directly",
            run,
            vec![answered("plain-model")],
        )
        .await;

    // rig tells nothing of the content of such a call: the program does.
    let run = async {
        let scope = CallScope::new();
        scope.messages(stored::question());
        let reply = scope.run(model.call(request())).await?;
        scope.response(reply.text());
        Ok(())
    };
    let wanted = content(answered("plain-model"));
    backends
        .case("the model called directly in a scope", run, vec![wanted])
        .await;
}

async fn streams(openai: &OpenAI, backends: &mut Backends) {
    let agent = agent(openai, "plain-model", true);
    let run = async {
        let mut stream = agent.prompt(QUESTION).stream();
        while let Some(item) = stream.next().await {
            item?;
        }
        Ok(())
    };
    let wanted = in_agent("run", content(streamed("plain-model")));
    backends.case("an agent's stream", run, vec![wanted]).await;

    let model = openai.chat("plain-model");
    let run = async {
        let mut stream = model.stream(request())?;
        while let Some(item) = stream.next().await {
            item?;
        }
        expect_answer(&stream.finish().await?.text())
    };
    backends
        .case(
            "a model's stream, finished",
            run,
            vec![streamed("plain-model")],
        )
        .await;

    // Then rig records neither the answer nor its usage: it is no different from a stream that failed or was cancelled.
    let run = async {
        let mut stream = model.stream(request())?;
        while let Some(item) = stream.next().await {
            item?;
        }
        Ok(())
    };
    let wanted = stored::unknown("plain-model").with_model_parameters(json!({"stream": true}));
    backends
        .case(
            "a model's stream, read to its end and not finished",
            run,
            vec![wanted],
        )
        .await;
}

async fn tools(openai: &OpenAI, backends: &mut Backends) {
    let with_content = forecaster(openai, "one", true);
    let run = async {
        expect_answer(
            &with_content
                .prompt(QUESTION)
                .max_turns(3)
                .await?
                .to_string(),
        )
    };
    let turn = in_agent("run", answered("plain-model")).with_metadata("gen_ai.agent.name", "one");
    let first = turn
        .clone()
        .with_messages(stored::question())
        .with_response(stored::tool_call());
    let second = turn
        .clone()
        .with_messages(stored::with_tool_result("Rain in Paris."))
        .with_response(ANSWER);
    backends
        .case("an agent that calls a tool", run, vec![first, second])
        .await;

    let without_content = forecaster(openai, "one", false);
    let run = async {
        expect_answer(
            &without_content
                .prompt(QUESTION)
                .max_turns(3)
                .await?
                .to_string(),
        )
    };
    let wanted = vec![turn.clone(), turn];
    backends
        .case("an agent that calls a tool, content off", run, wanted)
        .await;

    let (one, two) = (
        forecaster(openai, "one", false),
        forecaster(openai, "two", false),
    );
    let run = async {
        let (one, two) = tokio::join!(async { one.prompt(QUESTION).max_turns(3).await }, async {
            two.prompt(QUESTION).max_turns(3).await
        });
        expect_answer(&one?.to_string())?;
        expect_answer(&two?.to_string())
    };
    let turn =
        |name| in_agent(name, answered("plain-model")).with_metadata("gen_ai.agent.name", name);
    let wanted = vec![turn("one"), turn("one"), turn("two"), turn("two")];
    backends
        .case("two agents at the same time", run, wanted)
        .await;

    // On other threads, each in a span of ours.
    let run = async {
        let ask = |name: &'static str| {
            let agent = forecaster(openai, name, false);
            let run = async move { agent.prompt(QUESTION).max_turns(3).await };
            tokio::spawn(run.instrument(info_span!("request", beluga.session.id = name)))
        };
        let (one, two) = (ask("one"), ask("two"));
        expect_answer(&one.await??.to_string())?;
        expect_answer(&two.await??.to_string())
    };
    let turn = |name| {
        answered("plain-model")
            .with_trace_id(name)
            .with_session_id(name)
    };
    let wanted = vec![turn("one"), turn("one"), turn("two"), turn("two")];
    backends
        .case("two agents in tasks of their own", run, wanted)
        .await;
}

async fn failures(openai: &OpenAI, backends: &mut Backends) {
    let busy = agent(openai, "busy-model", true);
    let run = async { expect_error(busy.prompt(QUESTION).await) };
    let wanted = in_agent(
        "run",
        stored::unanswered("busy-model").with_messages(stored::question()),
    );
    backends.case("status 429", run, vec![wanted]).await;

    let model = openai.chat("busy-model");
    let run = async { expect_error(model.call(request()).await) };
    let wanted = stored::unanswered("busy-model");
    backends
        .case("status 429, the model called directly", run, vec![wanted])
        .await;

    let run = async {
        let scope = CallScope::new();
        match scope.run(model.call(request())).await {
            Ok(_) => Err("it should have failed".into()),
            Err(error) => {
                scope.fail(CallError::from_error(&error).with_kind("busy"));
                Ok(())
            }
        }
    };
    let error = CallError::new("429 Too Many Requests").with_kind("busy");
    let wanted = stored::unknown("busy-model").with_error(error);
    backends
        .case("status 429, told to a scope", run, vec![wanted])
        .await;

    let run = async {
        let mut stream = model.stream(request())?;
        expect_error(stream.next().await.ok_or("the stream is empty")?)
    };
    backends
        .case(
            "status 429, streamed",
            run,
            vec![stored::unknown("busy-model")],
        )
        .await;

    let slow = agent(openai, "slow-model", false);
    let run = async { cancelled(async { drop(slow.prompt(QUESTION).await) }).await };
    let wanted = in_agent("run", stored::interrupted(stored::unanswered("slow-model")));
    backends.case("cancelled", run, vec![wanted]).await;

    let model = openai.chat("slow-model");
    let run = async {
        let mut stream = model.stream(request())?;
        stream.next().await.ok_or("the stream is empty")??;
        cancelled(stream.for_each(|_| async {})).await
    };
    backends
        .case(
            "cancelled in a stream",
            run,
            vec![stored::interrupted(stored::unknown("slow-model"))],
        )
        .await;
}

async fn embeddings(openai: &OpenAI, backends: &mut Backends) {
    let run = async {
        openai
            .embedding("embed-model", Some(3))
            .embed_text(QUESTION)
            .await?;
        Ok(())
    };
    let wanted = Wanted::new("openai", "embed-model").with_usage(Usage::new(7, 0));
    backends.case("embeddings", run, vec![wanted]).await;

    let run = async {
        expect_error(
            openai
                .embedding("busy-model", Some(3))
                .embed_text(QUESTION)
                .await,
        )
    };
    backends
        .case(
            "embeddings, status 429",
            run,
            vec![stored::unknown("busy-model")],
        )
        .await;
}

fn agent(openai: &OpenAI, model: &str, content: bool) -> Agent {
    AgentBuilder::new(openai.chat(model))
        .preamble(PREAMBLE)
        .record_content_telemetry(content)
        .build()
}

fn forecaster(openai: &OpenAI, name: &str, content: bool) -> Agent {
    AgentBuilder::new(openai.chat("plain-model"))
        .name(name)
        .preamble(PREAMBLE)
        .tool(Weather)
        .record_content_telemetry(content)
        .build()
}

fn request() -> CompletionRequest {
    CompletionRequest::new(QUESTION).preamble(PREAMBLE)
}

fn answered(model: &str) -> Wanted {
    stored::answered(model).with_model_parameters(json!({"stream": false}))
}

fn streamed(model: &str) -> Wanted {
    stored::streamed(model).with_model_parameters(json!({"stream": true}))
}

fn content(wanted: Wanted) -> Wanted {
    wanted
        .with_messages(stored::question())
        .with_response(ANSWER)
}

/// In the run of an agent.
fn in_agent(run: &str, wanted: Wanted) -> Wanted {
    wanted.with_trace_id(run).with_parent_span_id(run)
}

struct Weather;

impl Tool for Weather {
    const NAME: &'static str = "weather";
    type Args = Value;
    type Output = String;
    type Error = Infallible;

    fn description(&self) -> String {
        "Tells the weather of a city.".to_owned()
    }

    fn parameters(&self) -> Value {
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
    }

    async fn call(&self, _: &mut ToolContext, arguments: Value) -> Result<String, Infallible> {
        Ok(format!(
            "Rain in {}.",
            arguments["city"].as_str().unwrap_or("?")
        ))
    }
}
