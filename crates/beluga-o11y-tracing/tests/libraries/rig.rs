//! What rig does with its spans, alike in all versions, and what is to come of it.

use serde_json::{Value, json};
use tracing::{Span, info_span};

use crate::{
    NO_ANSWER, only, records, records_beside_a_full_log, records_beside_a_log, records_of, seen,
    with,
};

/// The spans of one version of rig.
pub(crate) trait Rig {
    /// Whether a call says that it streams in a field, and keeps the id of its request.
    const HAS_STREAM: bool;
    /// Whether a turn has the definitions of tools.
    const HAS_TOOL_DEFINITIONS: bool;

    /// `SpanBuilder::build` where there is no turn to adopt.
    fn completion(
        operation: &str,
        provider: &str,
        model: &str,
        system: Option<&str>,
    ) -> Option<Span>;
    /// `build_chat_span!`
    fn turn(agent: &str, system: Option<&str>, stream: bool) -> Span;
    /// `acquire_agent_span` where no span is current.
    fn run(agent: &str, system: Option<&str>) -> Span;
    /// `new_execute_tool_span`
    fn tool() -> Span;
    fn record_tool_call_id(span: &Span, id: &str);
    /// `record_token_usage`
    fn record_usage(span: &Span, counts: Counts);
    /// The operation of a stream of a provider with an API of its own.
    fn streaming_operation() -> &'static str;
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) input: Option<u64>,
    pub(crate) output: Option<u64>,
    pub(crate) cache_read: Option<u64>,
    pub(crate) cache_write: Option<u64>,
    pub(crate) tool_use: Option<u64>,
    pub(crate) reasoning: Option<u64>,
}

impl Counts {
    pub(crate) fn new(input: u64, output: u64) -> Self {
        Self {
            input: Some(input),
            output: Some(output),
            ..Self::default()
        }
    }

    pub(crate) fn fields(self) -> [(&'static str, Option<u64>); 6] {
        [
            ("gen_ai.usage.input_tokens", self.input),
            ("gen_ai.usage.output_tokens", self.output),
            ("gen_ai.usage.cache_read.input_tokens", self.cache_read),
            ("gen_ai.usage.cache_creation.input_tokens", self.cache_write),
            ("gen_ai.usage.tool_use_prompt_tokens", self.tool_use),
            ("gen_ai.usage.reasoning_tokens", self.reasoning),
        ]
    }
}

/// What a provider answers.
#[derive(Clone, Copy, Default)]
pub(crate) struct Answer<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) model: Option<&'a str>,
    pub(crate) counts: Counts,
}

const ANSWER: Answer<'static> = Answer {
    id: Some("chatcmpl-1"),
    model: Some("gpt-4o-2024-08-06"),
    counts: Counts {
        input: Some(12),
        output: Some(3),
        cache_read: None,
        cache_write: None,
        tool_use: None,
        reasoning: None,
    },
};

/// The span of a call: that of the turn that is going on, else one of its own.
pub(crate) fn open<R: Rig>(operation: &str, provider: &str, model: &str, stream: bool) -> Span {
    open_with::<R>(operation, provider, model, stream, None)
}

fn open_with<R: Rig>(
    operation: &str,
    provider: &str,
    model: &str,
    stream: bool,
    system: Option<&str>,
) -> Span {
    let current = Span::current();
    let adopts = current
        .metadata()
        .is_some_and(|m| m.fields().field("rig.completion_parent").is_some());
    let span = if adopts {
        current.record("gen_ai.operation.name", operation);
        current.record("gen_ai.provider.name", provider);
        current.record("gen_ai.request.model", model);
        current
    } else {
        R::completion(operation, provider, model, system).unwrap()
    };
    if R::HAS_STREAM {
        span.record("gen_ai.request.stream", stream);
    }
    span
}

/// `record_response`
pub(crate) fn record_answer<R: Rig>(span: &Span, answer: Answer<'_>) {
    if let Some(id) = answer.id {
        span.record("gen_ai.response.id", id);
    }
    if let Some(model) = answer.model {
        span.record("gen_ai.response.model", model);
    }
    R::record_usage(span, answer.counts);
}

/// One call from request to answer, or to nothing.
fn call<R: Rig>(operation: &str, provider: &str, model: &str, answer: Option<Answer<'_>>) {
    let span = open::<R>(operation, provider, model, false);
    span.in_scope(|| {
        if R::HAS_STREAM {
            span.record("rig.provider_request_id", "req_1");
        }
        if let Some(answer) = answer {
            record_answer::<R>(&Span::current(), answer);
        }
    });
}

/// What every completion has in metadata and parameters.
fn base<R: Rig>(provider: &str, model: &str) -> Value {
    let mut record = json!({"provider": provider, "model": model});
    if R::HAS_STREAM {
        record["model_parameters"] = json!({"stream": false});
        record["metadata"] = json!({"rig.provider_request_id": "req_1"});
    }
    record
}

fn with_metadata(record: &Value, more: Value) -> Value {
    let mut record = record.clone();
    if record["metadata"].is_null() {
        record["metadata"] = json!({});
    }
    let metadata = record["metadata"].as_object_mut().unwrap();
    metadata.extend(more.as_object().unwrap().clone());
    record
}

pub(crate) fn plain_call<R: Rig>() {
    let expected = with_metadata(
        &with(
            &base::<R>("openai", "gpt-4o"),
            json!({"input_tokens": 12, "output_tokens": 3}),
        ),
        json!({"gen_ai.response.id": "chatcmpl-1", "gen_ai.response.model": "gpt-4o-2024-08-06"}),
    );
    let plain = only(|| call::<R>("chat", "openai", "gpt-4o", Some(ANSWER)));
    // 0.42 records all six counters as soon as one is not zero.
    let zeros = json!({"cache_read_tokens": 0, "cache_write_tokens": 0, "reasoning_tokens": 0});
    let expected = if R::HAS_STREAM {
        expected
    } else {
        with_metadata(
            &with(&expected, zeros),
            json!({"gen_ai.usage.tool_use_prompt_tokens": 0}),
        )
    };
    assert_eq!(plain, expected);
}

/// The model that answered stands apart only if it is another one.
pub(crate) fn same_model<R: Rig>() {
    let answer = Answer {
        id: None,
        model: Some("gpt-4o"),
        counts: Counts::default(),
    };
    let same = only(|| call::<R>("chat", "openai", "gpt-4o", Some(answer)));
    assert_eq!(same, base::<R>("openai", "gpt-4o"));
}

pub(crate) fn gemini_has_an_operation_of_its_own<R: Rig>() {
    let answer = Answer {
        id: Some("r"),
        ..Answer::default()
    };
    let gemini = only(|| {
        call::<R>(
            "generate_content",
            "gcp.gemini",
            "gemini-2.5-pro",
            Some(answer),
        )
    });
    let expected = with_metadata(
        &base::<R>("gcp.gemini", "gemini-2.5-pro"),
        json!({"gen_ai.operation.name": "generate_content", "gen_ai.response.id": "r"}),
    );
    assert_eq!(gemini, expected);
}

/// A stream is read poll by poll, long after it was opened.
pub(crate) fn streaming_call<R: Rig>() {
    let operation = R::streaming_operation();
    let calls = records(|| {
        let span = open::<R>(operation, "anthropic", "claude-sonnet-4-5", true);
        for _chunk in 0..3 {
            span.in_scope(|| {});
        }
        span.in_scope(|| {
            let answer = Answer {
                id: Some("msg_1"),
                model: None,
                counts: Counts::new(9, 4),
            };
            record_answer::<R>(&span, answer);
        });
    });
    assert_eq!(calls.len(), 1);
    let usage = (calls[0].usage.input_tokens, calls[0].usage.output_tokens);
    assert_eq!(usage, (Some(9), Some(4)));
    let record = &seen(&calls)[0];
    assert_eq!(record["model_parameters"], json!({"stream": true}));
    assert_eq!(record["metadata"].get("gen_ai.operation.name"), None);
    assert_eq!(record.get("error"), None);
}

/// A 429, and a call whose future was dropped: both leave no more than the request, as the library has it.
pub(crate) fn no_answer<R: Rig>() {
    let failed = with_metadata(
        &with(&base::<R>("openai", "gpt-4o"), json!({"error": NO_ANSWER})),
        json!({"error_inferred": true}),
    );
    assert_eq!(only(|| call::<R>("chat", "openai", "gpt-4o", None)), failed);
    let dropped = || open::<R>("chat", "openai", "gpt-4o", false).in_scope(|| {});
    assert_eq!(only(dropped)["error"], NO_ANSWER);
    // A turn of an agent is read to its end, also as a stream, and keeps what was sent.
    for stream in [false, true] {
        let turn = only(|| {
            let turn = R::turn("guide", None, stream);
            turn.record("gen_ai.input.messages", ASKED);
            turn.in_scope(|| {
                let operation = operation_of::<R>(stream);
                open::<R>(operation, "openai", "gpt-4o", stream);
            });
        });
        assert_eq!(turn["error"], NO_ANSWER);
        assert_eq!(turn["messages"].as_array().unwrap().len(), 2);
    }
}

fn operation_of<R: Rig>(stream: bool) -> &'static str {
    match stream {
        true => R::streaming_operation(),
        false => "chat",
    }
}

/// Since 0.44, the answer is recorded by `finish()`, which programs need not call: nothing may be a success.
pub(crate) fn a_stream_that_nobody_finishes<R: Rig>() {
    let call = only(|| {
        let span = open::<R>("chat", "openai", "gpt-4o", true);
        for _chunk in 0..3 {
            span.in_scope(|| {});
        }
    });
    let parameters = json!({"stream": true});
    let expected = json!({"provider": "openai", "model": "gpt-4o", "model_parameters": parameters});
    assert_eq!(call, expected);
}

/// A turn that was never sent: it has neither provider nor model.
pub(crate) fn a_turn_that_is_not_sent<R: Rig>() {
    let calls = records(|| drop(R::turn("guide", None, false)));
    assert!(calls.is_empty(), "no call was made");
}

/// A runtime's own turn that lacks fields is not adopted: the call gets a span in it, and is told once.
pub(crate) fn a_turn_that_is_not_adopted<R: Rig>() {
    let calls = records(|| {
        let turn = info_span!(
            target: "runtime",
            "chat",
            rig.completion_parent = true,
            gen_ai.operation.name = "chat",
            gen_ai.request.model = "gpt-4o",
        );
        turn.in_scope(|| {
            let span = R::completion("chat", "openai", "gpt-4o", None).unwrap();
            record_answer::<R>(&span, ANSWER);
        });
    });
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].usage.input_tokens, Some(12));
}

/// Of modalities nothing is inferred: images have neither a model nor counts.
pub(crate) fn modalities<R: Rig>() {
    for operation in [
        "embeddings",
        "rerank",
        "transcription",
        "image_generation",
        "audio_generation",
    ] {
        let open = || R::completion(operation, "openai", "m", None).unwrap();
        let metadata = json!({"gen_ai.operation.name": operation});
        let bare = json!({"provider": "openai", "model": "m", "metadata": metadata});
        assert_eq!(only(|| drop(open())), bare, "{operation}");
        let answered = only(|| {
            let span = open();
            span.in_scope(|| {
                // An embedding has no output, which is counted.
                let counts = Counts::new(8, 0);
                let answer = Answer {
                    model: Some("m-2"),
                    counts,
                    id: None,
                };
                record_answer::<R>(&span, answer);
            });
        });
        let expected = with_metadata(
            &with(&bare, json!({"input_tokens": 8, "output_tokens": 0})),
            json!({"gen_ai.response.model": "m-2"}),
        );
        assert_eq!(answered, expected, "{operation}");
    }
}

/// A modality in a turn does not adopt it: it is a call of its own kind.
pub(crate) fn embedding_in_a_turn<R: Rig>() {
    let calls = records(|| {
        let turn = R::turn("rag", None, false);
        turn.in_scope(|| {
            drop(R::completion("embeddings", "openai", "e", None));
            call::<R>("chat", "openai", "gpt-4o", Some(ANSWER));
        });
    });
    let models: Vec<_> = calls.iter().map(|call| call.model.as_str()).collect();
    assert_eq!(models, ["e", "gpt-4o"]);
}

/// A direct call records the system's instructions and nothing else.
pub(crate) fn content_of_a_direct_call<R: Rig>() {
    let call = only(|| {
        let span = open_with::<R>("chat", "openai", "gpt-4o", false, Some(SYSTEM));
        span.in_scope(|| record_answer::<R>(&span, ANSWER));
    });
    let messages = json!([{"role": "system", "content": "Tell the weather."}]);
    assert_eq!(call["messages"], messages);
    assert_eq!(call.get("response"), None);
}

// As rig's serde structs write them.
const SYSTEM: &str = r#"[{"type":"text","content":"Tell the weather."}]"#;
const ASKED: &str = r#"[{"role":"system","parts":[{"type":"text","content":"Tell the weather."}]},{"role":"user","parts":[{"type":"text","content":"Paris?"}]}]"#;
const CALLED: &str = r#"[{"role":"assistant","parts":[{"type":"reasoning","content":"A tool knows."},{"type":"tool_call","id":"call_1","name":"weather","arguments":{"city":"Paris"}}],"finish_reason":"tool_call"}]"#;
const TOLD: &str = r#"[{"role":"system","parts":[{"type":"text","content":"Tell the weather."}]},{"role":"user","parts":[{"type":"text","content":"Paris?"}]},{"role":"assistant","parts":[{"type":"reasoning","content":"A tool knows."},{"type":"tool_call","id":"call_1","name":"weather","arguments":{"city":"Paris"}}]},{"role":"user","parts":[{"type":"tool_call_response","id":"call_1","response":"sunny"}]}]"#;
const ANSWERED: &str = r#"[{"role":"assistant","parts":[{"type":"text","content":"Sunny."}],"finish_reason":"unknown"}]"#;
const TOOLS: &str = r#"[{"type":"function","name":"weather","description":"Tells it.","parameters":{"type":"object"}}]"#;

/// A run of an agent that calls a tool and then answers; `in_tool` is what the tool does.
pub(crate) fn agent<R: Rig>(name: &str, content: bool, stream: bool, in_tool: &dyn Fn()) {
    let system = content.then_some(SYSTEM);
    let ambient = Span::current();
    let (run, created) = if ambient.is_disabled() {
        (R::run(name, system), true)
    } else {
        (ambient, false)
    };
    let operation = operation_of::<R>(stream);
    let turn = |sent: &str, answered: &str, counts| {
        let turn = R::turn(name, system, stream);
        if content {
            turn.record("gen_ai.input.messages", sent);
            if R::HAS_TOOL_DEFINITIONS {
                turn.record("gen_ai.tool.definitions", TOOLS);
            }
        }
        turn.in_scope(|| {
            let span = open::<R>(operation, "openai", "gpt-4o", stream);
            span.in_scope(|| record_answer::<R>(&span, Answer { counts, ..ANSWER }));
        });
        if content {
            turn.record("gen_ai.output.messages", answered);
        }
        turn
    };
    if created && content {
        run.record("gen_ai.prompt", "Paris?");
    }
    run.in_scope(|| {
        let first = turn(ASKED, CALLED, Counts::new(10, 5));
        let first_id = first.id();
        drop(first);
        let tool = R::tool();
        // Only what does not stream is chained, to spans that are closed by then.
        if !stream {
            tool.follows_from(first_id);
        }
        tool.in_scope(|| {
            tool.record("gen_ai.tool.name", "weather");
            R::record_tool_call_id(&tool, "call_1");
            if content {
                tool.record("gen_ai.tool.call.arguments", r#"{"city":"Paris"}"#);
            }
            in_tool();
            tool.record("gen_ai.tool.call.outcome", "success");
            if content {
                tool.record("gen_ai.tool.call.result", "sunny");
            }
        });
        let tool_id = tool.id();
        drop(tool);
        let second = turn(TOLD, ANSWERED, Counts::new(20, 2));
        if !stream {
            second.follows_from(tool_id);
        }
    });
    if created {
        if content {
            run.record("gen_ai.completion", "Sunny.");
        }
        R::record_usage(&run, Counts::new(30, 7));
    }
}

/// A turn's record, without what the version decides.
fn turns(records: &[Value]) -> Vec<Value> {
    let records = records.iter().map(|record| {
        let metadata = json!({
            "gen_ai.agent.name": record["metadata"]["gen_ai.agent.name"],
            "gen_ai.tool.name": record["metadata"]["gen_ai.tool.name"],
        });
        let decided = json!({
            "metadata": metadata,
            "model_parameters": null,
            "cache_read_tokens": null,
            "cache_write_tokens": null,
            "reasoning_tokens": null,
        });
        with(record, decided)
    });
    records.collect()
}

fn turn_of(agent: &str, input: u64, output: u64) -> Value {
    json!({
        "provider": "openai",
        "model": "gpt-4o",
        "input_tokens": input,
        "output_tokens": output,
        "trace_id": 1,
        "parent_span_id": 1,
        "metadata": {"gen_ai.agent.name": agent, "gen_ai.tool.name": null},
    })
}

/// One record per turn, none of the run with its totals, nor of the tool.
pub(crate) fn agent_run<R: Rig>() {
    for stream in [false, true] {
        let calls = seen(&records(|| agent::<R>("guide", false, stream, &|| {})));
        let expected = [turn_of("guide", 10, 5), turn_of("guide", 20, 2)];
        assert_eq!(turns(&calls), expected, "stream: {stream}");
        let told = R::HAS_STREAM || stream;
        let parameters = told.then(|| json!({"stream": stream}));
        let parameters = parameters.as_ref();
        assert!(
            calls
                .iter()
                .all(|c| c.get("model_parameters") == parameters)
        );
    }
}

pub(crate) fn agent_run_with_content<R: Rig>() {
    let calls = seen(&records(|| agent::<R>("guide", true, false, &|| {})));
    let asked = [
        json!({"role": "system", "content": "Tell the weather."}),
        json!({"role": "user", "content": "Paris?"}),
    ];
    let called = json!({
        "role": "assistant",
        "reasoning_content": "A tool knows.",
        "tool_calls": [{
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": "{\"city\":\"Paris\"}"},
        }],
    });
    let told = json!({"role": "tool", "tool_call_id": "call_1", "content": "sunny"});
    assert_eq!(calls[0]["messages"], json!(asked));
    assert_eq!(calls[0]["response"], called);
    assert_eq!(
        calls[1]["messages"],
        json!([asked[0], asked[1], called, told])
    );
    assert_eq!(calls[1]["response"], "Sunny.");
    // rig says `unknown` wherever the model just stopped.
    let reasons = |call: &Value| {
        call["metadata"]
            .get("gen_ai.response.finish_reasons")
            .cloned()
    };
    let expected = [Some(json!(["tool_call"])), None];
    assert_eq!([reasons(&calls[0]), reasons(&calls[1])], expected);
    let tools: Option<Value> =
        R::HAS_TOOL_DEFINITIONS.then(|| serde_json::from_str(TOOLS).unwrap());
    let parameters = &calls[0]["model_parameters"];
    assert_eq!(parameters.get("tools"), tools.as_ref());

    let without = records_of(
        |layer| layer.with_content(false),
        || agent::<R>("guide", true, false, &|| {}),
    );
    let bare = records(|| agent::<R>("guide", false, false, &|| {}));
    assert_eq!(turns(&seen(&without)), turns(&seen(&bare)));
    let text = serde_json::to_string(&seen(&without)).unwrap();
    for content in ["Paris", "unny", "Tell the weather", "A tool knows"] {
        assert!(!text.contains(content), "{content}: {text}");
    }
}

/// In a span of the program's, rig opens no run: the turns share that span's trace, and are no parts of an agent.
pub(crate) fn run_in_a_span_of_the_program<R: Rig>() {
    let run =
        |span: fn() -> Span| move || span().in_scope(|| agent::<R>("guide", false, false, &|| {}));
    let expected = [turn_of("guide", 10, 5), turn_of("guide", 20, 2)]
        .map(|turn| with(&turn, json!({"parent_span_id": null})));
    // `Agent::chat`, which is no call in spite of its name.
    let chat = || info_span!(target: "rig_agent::agent::completion", "chat", agent_name = "guide");
    let calls = seen(&records_beside_a_full_log(run(chat)));
    assert_eq!(turns(&calls), expected);

    let session = || info_span!("request", beluga.session.id = "s1", beluga.tags = "a,b");
    let session_of = |call: &Value| with(call, json!({"session_id": "s1", "tags": ["a", "b"]}));
    let calls = seen(&records(run(session)));
    assert_eq!(turns(&calls), expected.each_ref().map(session_of));

    // Where nobody wants the program's span, it is not there, and rig opens its run.
    let unwanted = || info_span!("request");
    let calls = seen(&records(run(unwanted)));
    assert_eq!(turns(&calls).len(), 2);
    assert_eq!(calls[0]["trace_id"], calls[1]["trace_id"]);
}

/// The run of an agent that is a tool takes the tool's span as its own.
pub(crate) fn agent_as_a_tool<R: Rig>() {
    let inner = || agent::<R>("meteorologist", false, false, &|| {});
    let calls = seen(&records(|| agent::<R>("guide", false, false, &inner)));
    let in_tool = |input, output| {
        let turn = turn_of("meteorologist", input, output);
        let names = json!({"gen_ai.agent.name": "meteorologist", "gen_ai.tool.name": "weather"});
        with(&turn, json!({"parent_span_id": 2, "metadata": names}))
    };
    let expected = [
        turn_of("guide", 10, 5),
        in_tool(10, 5),
        in_tool(20, 2),
        turn_of("guide", 20, 2),
    ];
    assert_eq!(turns(&calls), expected);
}

/// Two runs are two traces; a call without any span around it has none.
pub(crate) fn traces<R: Rig>() {
    let calls = seen(&records(|| {
        agent::<R>("a", false, false, &|| {});
        agent::<R>("b", false, false, &|| {});
        call::<R>("chat", "openai", "gpt-4o", Some(ANSWER));
    }));
    let of = |field: &str| calls.iter().map(|c| c[field].as_u64()).collect::<Vec<_>>();
    let expected = [Some(1), Some(1), Some(2), Some(2), None];
    assert_eq!(of("trace_id"), expected);
    assert_eq!(of("parent_span_id"), expected);
}

/// Parts that are neither text nor of tools.
pub(crate) fn media<R: Rig>() {
    let sent = r#"[{"role":"user","parts":[{"type":"text","content":"What is it?"},{"type":"uri","mime_type":"image/png","modality":"image","uri":"https://example.org/a.png"},{"type":"blob","mime_type":"image/jpeg","modality":"image","content":"AA=="},{"type":"file","modality":"document","file_id":"f1"}]}]"#;
    let call = only(|| {
        let turn = R::turn("guide", None, false);
        turn.record("gen_ai.input.messages", sent);
        turn.in_scope(|| call::<R>("chat", "openai", "gpt-4o", Some(ANSWER)));
    });
    let content = json!([
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AA=="}},
        {"type": "file", "modality": "document", "file_id": "f1"},
    ]);
    assert_eq!(
        call["messages"],
        json!([{"role": "user", "content": content}])
    );
}

/// A day's work: as many records as requests went out, also beside a log that wants no spans.
pub(crate) fn no_doubles<R: Rig>() {
    let script = || {
        call::<R>("chat", "openai", "gpt-4o", Some(ANSWER));
        call::<R>("chat", "openai", "gpt-4o", None);
        agent::<R>("a", true, true, &|| {
            call::<R>("chat", "openai", "gpt-4o", Some(ANSWER));
            agent::<R>("b", true, false, &|| {});
        });
        info_span!(target: "rig_agent::agent::completion", "chat", agent_name = "c")
            .in_scope(|| agent::<R>("c", false, false, &|| {}));
    };
    let beside = [
        records as fn(_) -> _,
        records_beside_a_log,
        records_beside_a_full_log,
    ];
    for records in beside {
        assert_eq!(records(script).len(), 1 + 1 + (1 + (1 + 2) + 1) + 2);
    }
}

/// Since 0.44, for every provider.
pub(crate) fn counts_that_include_what_is_cached<R: Rig>() {
    let counts = Counts {
        cache_read: Some(80),
        cache_write: Some(15),
        tool_use: Some(7),
        reasoning: Some(30),
        ..Counts::new(195, 70)
    };
    for provider in ["anthropic", "aws_bedrock", "gcp.gemini", "openai"] {
        let answer = Answer {
            counts,
            ..Answer::default()
        };
        let expected = json!({
            "input_tokens": 195,
            "output_tokens": 70,
            "cache_read_tokens": 80,
            "cache_write_tokens": 15,
            "reasoning_tokens": 30,
        });
        let expected = with_metadata(
            &with(&base::<R>(provider, "m"), expected),
            json!({"gen_ai.usage.tool_use_prompt_tokens": 7}),
        );
        let call = only(|| call::<R>("chat", provider, "m", Some(answer)));
        assert_eq!(call, expected, "{provider}");
    }
}

/// Since 0.44: what a provider does not report stays unset.
pub(crate) fn a_zero_is_a_count<R: Rig>() {
    for (input, output) in [
        (None, None),
        (Some(0), Some(0)),
        (Some(0), None),
        (Some(5), Some(1)),
    ] {
        let counts = Counts {
            input,
            output,
            ..Counts::default()
        };
        let answer = Answer { counts, ..ANSWER };
        let calls = records(|| call::<R>("chat", "openai", "gpt-4o", Some(answer)));
        let usage = calls[0].usage;
        assert_eq!((usage.input_tokens, usage.output_tokens), (input, output));
        assert_eq!(
            (usage.cache_read_tokens, usage.reasoning_tokens),
            (None, None)
        );
        assert_eq!(calls[0].error, None);
    }
}

/// Tests that are the same for each version.
macro_rules! rig_tests {
    ($version:ty: $($test:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                crate::rig::$test::<$version>();
            }
        )*
    };
}
pub(crate) use rig_tests;
