//! Whatever an agent has done, what is sent is one tree that Opik takes.

use std::{collections::HashSet, time::Duration};

use beluga_o11y::{ExportErrorKind, Usage};
use chrono::TimeDelta;
use futures_util::FutureExt;
use proptest::{collection, option, prelude::*};
use serde_json::{Value, json};

use super::*;

const MAX_RECORD_BYTES: usize = 30_000;

fn target() -> Target {
    Target {
        project: Some("demo".into()),
        environment: Some("prod".into()),
        source: "sdk",
        max_record_bytes: MAX_RECORD_BYTES,
    }
}

fn now() -> DateTime<Utc> {
    "2026-11-22T22:00:00Z".parse().unwrap()
}

fn v7(random: u128, time: DateTime<Utc>) -> Uuid {
    id::with_time(Uuid::from_u128(random), id::millis(time))
}

fn deep() -> Value {
    (0..101).fold(json!(1), |inner, _| Value::Array(vec![inner]))
}

fn too_large() -> String {
    "x".repeat(MAX_RECORD_BYTES)
}

/// The elements, out of requests of at most so many bytes.
fn sent(elements: &Elements, open: &str, max_bytes: usize) -> Vec<Value> {
    let all = std::sync::Mutex::new(Vec::new());
    let send = async |body: Vec<u8>| {
        let body: Value = serde_json::from_slice(&body).unwrap();
        let [(_, list)]: [(String, Value); 1] = Vec::from_iter(body.as_object().unwrap().clone())
            .try_into()
            .unwrap();
        all.lock()
            .unwrap()
            .extend(list.as_array().unwrap().iter().cloned());
        Ok(())
    };
    let outcome = elements.send(open, max_bytes, send).now_or_never().unwrap();
    assert!(outcome.refused.is_empty() && outcome.stopped.is_none());
    all.into_inner().unwrap()
}

/// A run's trace and its spans.
fn read(encoded: &Encoded, max_bytes: usize) -> (Value, Vec<Value>) {
    let [trace] = sent(&encoded.trace, "{\"traces\":[", max_bytes)
        .try_into()
        .unwrap();
    (trace, sent(&encoded.spans, "{\"spans\":[", max_bytes))
}

fn encode(tree: &AgentTree) -> (Value, Vec<Value>, Vec<ExportError>) {
    let encoded = tree.encode(&target(), now()).unwrap();
    let (trace, spans) = read(&encoded, 1_000_000);
    (trace, spans, encoded.refused)
}

fn tree() -> AgentTree {
    let mut tree = AgentTree::new("agent".into(), now() - TimeDelta::seconds(10));
    tree.id = v7(1, tree.work.start);
    tree
}

fn step(tree: &mut AgentTree, parent: Option<usize>, kind: &'static str, work: Work) -> usize {
    let place = tree.nodes.len();
    let id = v7(1_000 + place as u128, work.start);
    let work = Box::new(work);
    let what = What::Step { id, kind, work };
    tree.nodes.push(Node { parent, what });
    place
}

fn call() -> LLMCallData {
    LLMCallData::new("openai", "gpt-4o")
        .with_start_time(now() - TimeDelta::seconds(5))
        .with_duration(Duration::from_secs(1))
}

/// What Opik would not take of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Cost or content that nobody takes.
    Invalid,
    Content,
    Metadata,
    Tokens,
    Environment,
    Size,
    /// A time that Opik does not take.
    Start,
    End,
}

#[derive(Clone, Debug)]
struct Plan {
    is_call: bool,
    fault: Fault,
    /// Which one of the steps before it, and the run, it belongs to.
    parent: prop::sample::Index,
    id: Id,
    bits: u128,
    /// Seconds before now.
    start: i64,
    /// Milliseconds; unknown of a call, or not over.
    duration: Option<u64>,
    absurd: i64,
    content: Option<Value>,
    text: String,
    tokens: Option<[u32; 2]>,
    cost: Option<u32>,
    failed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Id {
    V4,
    Fresh,
    Old,
    Future,
    Any,
}

fn content() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    use Fault::{Content, End, Environment, Invalid, Metadata, None, Size, Start, Tokens};
    let faults = vec![
        Invalid,
        Content,
        Metadata,
        Tokens,
        Environment,
        Size,
        Start,
        End,
    ];
    prop_oneof![3 => Just(None), 2 => prop::sample::select(faults)]
}

fn start() -> impl Strategy<Value = i64> {
    prop_oneof![
        -10..4_000_i64,
        Just(-7 * 3_600),
        // The first and the last times that Opik takes are below and above these.
        Just(1_700_000_000),
        Just(-7_000_000_000),
        -1_000_000..1_000_000_i64,
    ]
}

prop_compose! {
    fn plan()(
        is_call: bool,
        fault in fault(),
        parent: prop::sample::Index,
        id in prop::sample::select(vec![Id::V4, Id::Fresh, Id::Old, Id::Future, Id::Any]),
        bits: u128,
        start in start(),
        duration in option::of(prop_oneof![0..5_000_u64, Just(90_000_000), Just(400_000_000)]),
        absurd in prop::sample::select(vec![-1, -3_000_000_000, 9_223_372_036, 32_503_680_000]),
        content in option::of(content()),
        text: String,
        tokens in option::of(any::<[u16; 2]>().prop_map(|counts| counts.map(u32::from))),
        cost in option::of(0..1_000_u32),
        failed: bool,
    ) -> Plan {
        // A step has no tokens and no environment of its own.
        let fault = match fault {
            Fault::Tokens | Fault::Environment | Fault::Invalid if !is_call => Fault::Content,
            Fault::End if !is_call => Fault::Start,
            fault => fault,
        };
        Plan { is_call, fault, parent, id, bits, start, duration, absurd, content, text, tokens, cost, failed }
    }
}

/// Several, none with the id of another.
fn plans() -> impl Strategy<Value = Vec<Plan>> {
    collection::vec(plan(), 0..14).prop_map(|mut plans| {
        for (place, plan) in plans.iter_mut().enumerate() {
            plan.bits = plan.bits & !0xff | place as u128;
        }
        plans
    })
}

impl Plan {
    fn start(&self) -> DateTime<Utc> {
        match self.fault {
            Fault::Start => DateTime::from_timestamp(self.absurd, 0).unwrap(),
            _ => now() - TimeDelta::seconds(self.start),
        }
    }

    fn end(&self) -> DateTime<Utc> {
        let start = self.start();
        match self.duration {
            Some(millis) => start + Duration::from_millis(millis),
            None if self.is_call => start,
            None => now().max(start),
        }
    }

    /// When it was, if Opik takes that.
    fn times(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let bad = matches!(self.fault, Fault::Start | Fault::End);
        (!bad).then(|| (self.start(), self.end()))
    }

    fn id(&self) -> Uuid {
        match self.id {
            Id::V4 => uuid::Builder::from_random_bytes(self.bits.to_be_bytes()).into_uuid(),
            Id::Fresh => v7(self.bits, now() - TimeDelta::hours(22)),
            Id::Old => v7(self.bits, now() - TimeDelta::days(400)),
            Id::Future => v7(self.bits, now() + TimeDelta::days(400)),
            Id::Any => Uuid::from_u128(self.bits),
        }
    }

    fn error(&self) -> Option<CallError> {
        self.failed
            .then(|| CallError::new(self.text.clone()).with_kind("Bad"))
    }

    fn call(&self) -> LLMCallData {
        let mut call = LLMCallData::new("OpenAI", self.text.clone())
            .with_id(self.id())
            .with_start_time(self.start())
            .with_metadata("k", &self.text)
            .with_tag("t");
        call.messages = self.content.as_ref().map(Json::new);
        call.duration = self.duration.map(Duration::from_millis);
        call.cost = self.cost.map(|cost| f64::from(cost) / 8.0);
        call.error = self.error();
        if let Some([input, output]) = self.tokens {
            call.usage = Usage::new(u64::from(input), u64::from(output));
        }
        match self.fault {
            Fault::None | Fault::Start => call,
            Fault::Invalid => call.with_cost(f64::NAN),
            Fault::Content => call.with_response(deep()),
            Fault::Metadata => call.with_metadata("bad", deep()),
            Fault::Tokens => call.with_tokens(1 << 31, 0),
            Fault::Environment => call.with_environment("x".repeat(151)),
            Fault::Size => call.with_response(too_large()),
            Fault::End => call.with_duration(Duration::MAX),
        }
    }

    fn work(&self) -> Work {
        let mut work = Work::new(self.text.clone(), self.start());
        work.end = self.duration.map(|_| self.end());
        work.input = self.content.as_ref().map(Json::new);
        work.error = self.error();
        work.tags = vec!["t".into()];
        work.metadata.insert("k".into(), Json::new(&self.text));
        match self.fault {
            Fault::Content => work.input = Some(Json::new(&deep())),
            Fault::Metadata => {
                work.metadata.insert("bad".into(), Json::new(&deep()));
            }
            Fault::Size => work.output = Some(Json::new(&too_large())),
            _ => {}
        }
        work
    }

    fn add_to(&self, tree: &mut AgentTree, parent: Option<usize>) {
        if self.is_call {
            tree.add(Arc::new(self.call()), parent);
            return;
        }
        let (id, work) = (self.id(), Box::new(self.work()));
        let kind = if self.failed { "tool" } else { "general" };
        let what = What::Step { id, kind, work };
        tree.nodes.push(Node { parent, what });
    }
}

/// The parents by place: the run, or a step before it.
fn parents(plans: &[Plan]) -> Vec<Option<usize>> {
    let mut steps = vec![None];
    let parent = |(place, plan): (usize, &Plan)| {
        let parent = steps[plan.parent.index(steps.len())];
        if !plan.is_call {
            steps.push(Some(place));
        }
        parent
    };
    plans.iter().enumerate().map(parent).collect()
}

fn uuid(value: &Value) -> Uuid {
    value.as_str().unwrap().parse().unwrap()
}

fn micros(value: &Value) -> i64 {
    let time: DateTime<Utc> = value.as_str().unwrap().parse().unwrap();
    time.timestamp_micros()
}

fn times(element: &Value) -> (i64, i64) {
    (micros(&element["start_time"]), micros(&element["end_time"]))
}

/// The times that a part of the run with these has, if it lasts as long as what is in it.
fn around(
    own: (DateTime<Utc>, DateTime<Utc>),
    inner: impl Iterator<Item = (DateTime<Utc>, DateTime<Utc>)>,
) -> (i64, i64) {
    let (start, end) = inner.fold(own, |(start, end), inner| {
        (start.min(inner.0), end.max(inner.1))
    });
    (start.timestamp_micros(), end.timestamp_micros())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_run_becomes_one_tree_without_what_opik_refuses(
        plans in plans(),
        max_bytes in prop_oneof![Just(1), Just(3_000), Just(1_000_000)],
        ended: bool,
    ) {
        let parents = parents(&plans);
        let mut tree = tree();
        tree.work.end = ended.then(|| now() - TimeDelta::seconds(2));
        for (plan, parent) in plans.iter().zip(&parents) {
            plan.add_to(&mut tree, *parent);
        }
        prop_assert_eq!(tree.nodes.len(), plans.len());
        let encoded = tree.encode(&target(), now()).unwrap();
        let (trace, spans) = read(&encoded, max_bytes);

        let good: Vec<usize> =
            (0..plans.len()).filter(|place| plans[*place].fault == Fault::None).collect();
        prop_assert_eq!(spans.len(), good.len());
        let kinds: Vec<_> = encoded.refused.iter().map(ExportError::kind).collect();
        let expected: Vec<_> = plans.iter().filter(|plan| plan.fault != Fault::None)
            .map(|plan| match plan.fault {
                Fault::Size => ExportErrorKind::TooLarge,
                _ => ExportErrorKind::Rejected,
            })
            .collect();
        prop_assert_eq!(kinds, expected);

        let ids: HashSet<Uuid> =
            spans.iter().chain([&trace]).map(|element| uuid(&element["id"])).collect();
        prop_assert_eq!(ids.len(), spans.len() + 1);
        for id in ids {
            prop_assert_eq!(id.get_version_num(), 7);
            let age = id::millis(now()).abs_diff(id::time_part(id).unwrap());
            prop_assert!(age <= 23 * id::HOUR_MS, "{id}");
        }

        let ancestors = |place: usize| {
            std::iter::successors(parents[place], |place| parents[*place])
        };
        let below = |above: Option<usize>| {
            let is_below =
                move |place: &usize| above.is_none_or(|above| ancestors(*place).any(|a| a == above));
            (0..plans.len()).filter(is_below).filter_map(|place| plans[place].times())
        };
        let run_end = tree.work.end.unwrap_or(now());
        prop_assert_eq!(times(&trace), around((tree.work.start, run_end), below(None)));
        for (span, place) in spans.iter().zip(&good) {
            let plan = &plans[*place];
            prop_assert_eq!(&span["trace_id"], &trace["id"]);
            let parent = ancestors(*place).find_map(|place| good.iter().position(|g| *g == place));
            let parent_id = parent.map(|parent| spans[parent]["id"].clone());
            prop_assert_eq!(span.get("parent_span_id"), parent_id.as_ref());

            let own = (plan.start(), plan.end());
            prop_assert_eq!(times(span), around(own, below(Some(*place))));
            let (start, end) = times(span);
            for outer in parent.map(|parent| &spans[parent]).into_iter().chain([&trace]) {
                let outer = times(outer);
                prop_assert!(outer.0 <= start && start <= end && end <= outer.1);
            }

            prop_assert_eq!(&span["metadata"]["k"], &json!(plan.text));
            prop_assert_eq!(&span["tags"], &json!(["t"]));
            prop_assert_eq!(&span["project_name"], "demo");
            prop_assert_eq!(&span["environment"], "prod");
            prop_assert_eq!(&span["source"], "sdk");
            prop_assert_eq!(span.get("error_info").is_some(), plan.failed);
            let (name, kind) = match (plan.is_call, plan.failed) {
                (true, _) => (plan.call().display_name().into_owned(), "llm"),
                (false, failed) => (
                    convert::not_blank(&plan.text).unwrap_or("step").to_owned(),
                    if failed { "tool" } else { "general" },
                ),
            };
            prop_assert_eq!(&span["name"], &json!(name));
            prop_assert_eq!(&span["type"], kind);
            if plan.is_call {
                let input = plan.content.as_ref().map(|content| json!({"messages": content}));
                prop_assert_eq!(span.get("input"), input.as_ref());
                prop_assert_eq!(&span["provider"], "openai");
                prop_assert_eq!(span.get("model").and_then(Value::as_str), convert::not_blank(&plan.text));
                let cost = plan.cost.map(|cost| f64::from(cost) / 8.0);
                prop_assert_eq!(span.get("total_estimated_cost").and_then(Value::as_f64), cost);
                let count = |key: &str| span.get("usage").map(|usage| usage[key].as_u64().unwrap());
                let [input, output] = [0, 1].map(|i| plan.tokens.map(|t| u64::from(t[i])));
                prop_assert_eq!(count("prompt_tokens"), input);
                prop_assert_eq!(count("completion_tokens"), output);
                let replaced = plan.id() != uuid(&span["id"]);
                prop_assert_eq!(span["metadata"].get("original_id").is_some(), replaced);
            } else {
                let input = plan.content.as_ref().map(|content| match content {
                    Value::Object(_) => content.clone(),
                    other => json!({"input": other}),
                });
                prop_assert_eq!(span.get("input"), input.as_ref());
                for field in ["usage", "model", "provider", "total_estimated_cost", "ttft"] {
                    prop_assert_eq!(span.get(field), None);
                }
            }
        }
    }
}

#[test]
fn the_trace_field_by_field() {
    let mut tree = tree();
    tree.work.end = Some(now() - TimeDelta::milliseconds(1));
    tree.work.input = Some(Json::new("what?"));
    tree.work.output = Some(Json::new(&json!({"answer": 1})));
    tree.work.error = Some(CallError::new("late").with_kind("Timeout"));
    tree.work.tags = vec!["a".into(), "b".into()];
    tree.work.metadata.insert("k".into(), Json::new(&[1]));
    tree.user_id = Some("u".into());
    tree.session_id = Some("s".into());
    tree.environment = Some("staging".into());
    let (trace, spans, refused) = encode(&tree);
    assert!(spans.is_empty() && refused.is_empty());
    let expected = json!({
        "id": tree.id,
        "project_name": "demo",
        "name": "agent",
        "start_time": "2026-11-22T21:59:50.000000Z",
        "end_time": "2026-11-22T21:59:59.999000Z",
        "input": {"input": "what?"},
        "output": {"answer": 1},
        "error_info": {"exception_type": "Timeout", "message": "late", "traceback": "Timeout: late"},
        "last_updated_at": "2026-11-22T22:00:00.000000Z",
        "metadata": {"user_id": "u", "k": [1]},
        "tags": ["a", "b"],
        "thread_id": "s",
        "source": "sdk",
        "environment": "staging",
    });
    assert_eq!(trace, expected);

    tree.work
        .metadata
        .insert("user_id".into(), Json::new("mine"));
    tree.work.name = " ".into();
    let (trace, ..) = encode(&tree);
    let count = |json: &[u8]| String::from_utf8_lossy(json).matches("user_id").count();
    let mut raw = Vec::new();
    serde_json::to_writer(&mut raw, &RunMetadata(&tree)).unwrap();
    assert_eq!(count(&raw), 1);
    assert_eq!(trace["metadata"]["user_id"], "mine");
    assert_eq!(trace["name"], "agent run");
}

#[test]
fn the_session_is_that_of_the_first_call_that_has_one() {
    let mut tree = tree();
    tree.add(Arc::new(call()), None);
    assert_eq!(encode(&tree).0.get("thread_id"), None);
    for session in ["first", "second"] {
        tree.add(Arc::new(call().with_session_id(session)), None);
    }
    assert_eq!(encode(&tree).0["thread_id"], "first");
    tree.session_id = Some("own".into());
    assert_eq!(encode(&tree).0["thread_id"], "own");
}

#[test]
fn the_environment_of_the_run_is_that_of_all_in_it() {
    let mut tree = tree();
    let tool = step(&mut tree, None, "tool", Work::new("t".into(), now()));
    tree.add(Arc::new(call()), Some(tool));
    tree.add(Arc::new(call().with_environment("own")), Some(tool));
    let environments = |tree: &AgentTree| {
        let (trace, spans, _) = encode(tree);
        let all = [&trace].into_iter().chain(&spans);
        all.map(|element| element["environment"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(environments(&tree), ["prod", "prod", "prod", "own"]);
    tree.environment = Some("staging".into());
    assert_eq!(
        environments(&tree),
        ["staging", "staging", "staging", "own"]
    );
}

#[test]
fn a_bad_run_is_an_error() {
    use ExportErrorKind::{Rejected, TooLarge};
    let bad: [(fn(&mut AgentTree), _, _); 7] = [
        (
            |tree| tree.environment = Some("x".repeat(151)),
            Rejected,
            "environment: 151",
        ),
        (
            |tree| tree.work.input = Some(Json::new(&deep())),
            Rejected,
            "agent run: input: JSON",
        ),
        (
            |tree| tree.work.output = Some(Json::new(&deep())),
            Rejected,
            "agent run: output: JSON",
        ),
        (
            |tree| drop(tree.work.metadata.insert("k".into(), Json::new(&deep()))),
            Rejected,
            "agent run: metadata: JSON",
        ),
        (
            |tree| tree.work.output = Some(Json::new(&too_large())),
            TooLarge,
            "the agent run is",
        ),
        (
            |tree| tree.work.start = DateTime::from_timestamp(-1, 0).unwrap(),
            Rejected,
            "the start",
        ),
        (
            |tree| tree.work.end = Some(DateTime::<Utc>::MAX_UTC),
            Rejected,
            "the end",
        ),
    ];
    for (spoil, kind, text) in bad {
        let mut tree = tree();
        tree.add(Arc::new(call()), None);
        spoil(&mut tree);
        let Err(error) = tree.encode(&target(), now()) else {
            panic!("{text}: it was taken");
        };
        assert_eq!(error.kind(), kind);
        assert!(error.message().starts_with(text), "{error}");
    }
}

#[test]
fn a_call_that_comes_twice_is_there_once_as_it_came_last() {
    let mut tree = tree();
    let before = step(&mut tree, None, "tool", Work::new("before".into(), now()));
    let call = call();
    tree.add(Arc::new(call.clone().with_response("first")), None);
    let after = step(&mut tree, None, "tool", Work::new("after".into(), now()));
    let of_call = |tree: &AgentTree| {
        let (_, spans, refused) = encode(tree);
        assert_eq!((spans.len(), refused.len()), (3, 0));
        let name = spans
            .iter()
            .find(|span| Some(&span["id"]) == spans[1].get("parent_span_id"));
        let name = name.map(|span| span["name"].as_str().unwrap().to_owned());
        (spans[1]["output"]["response"].clone(), name)
    };
    assert_eq!(of_call(&tree), (json!("first"), None));
    // It stays where it was.
    for parent in [None, Some(before), Some(after)] {
        tree.add(Arc::new(call.clone().with_response(parent)), parent);
        assert_eq!(of_call(&tree), (json!(parent), None));
    }
    assert_eq!(tree.calls().count(), 1);
}

#[test]
fn what_is_sent_later_is_newer() {
    let mut tree = tree();
    let tool = step(&mut tree, None, "tool", Work::new("t".into(), now()));
    // One that says it will end in a hundred years, too.
    tree.add(
        Arc::new(call().with_duration(Duration::from_secs(3_153_600_000))),
        Some(tool),
    );
    tree.add(Arc::new(call()), None);
    let versions = |now: DateTime<Utc>| {
        let encoded = tree.encode(&target(), now).unwrap();
        let (trace, spans) = read(&encoded, 1_000_000);
        let all = [trace].into_iter().chain(spans);
        all.map(|element| micros(&element["last_updated_at"]))
            .collect::<Vec<_>>()
    };
    for later in [now(), now() + TimeDelta::microseconds(1)] {
        assert_eq!(versions(later), [later.timestamp_micros(); 4]);
    }
}

#[test]
fn what_goes_on_ends_now_and_a_clock_set_back_gives_no_negative_duration() {
    let mut tree = tree();
    tree.work.start = now() + TimeDelta::seconds(7);
    let mut work = Work::new("t".into(), now() + TimeDelta::seconds(9));
    work.end = Some(now());
    step(&mut tree, None, "tool", work);
    step(
        &mut tree,
        None,
        "general",
        Work::new("u".into(), now() - TimeDelta::seconds(1)),
    );
    let (trace, spans, _) = encode(&tree);
    let seconds = |element: &Value| {
        let (start, end) = times(element);
        [start, end].map(|time| (time - now().timestamp_micros()) / 1_000_000)
    };
    assert_eq!(seconds(&spans[0]), [9, 9]);
    assert_eq!(seconds(&spans[1]), [-1, 0]);
    assert_eq!(seconds(&trace), [-1, 9]);
}

#[test]
fn a_chain_of_thousands_of_steps_is_no_deeper_for_us() {
    let mut tree = tree();
    let mut parent = None;
    for _ in 0..5_000 {
        parent = Some(step(
            &mut tree,
            parent,
            "general",
            Work::new("s".into(), now()),
        ));
    }
    tree.add(Arc::new(call()), parent);
    let (trace, spans, _) = encode(&tree);
    assert_eq!(spans.len(), 5_001);
    for (span, above) in spans[1..].iter().zip(&spans) {
        assert_eq!(span["parent_span_id"], above["id"]);
        assert_eq!(span["start_time"], "2026-11-22T21:59:55.000000Z");
    }
    assert_eq!(trace["start_time"], "2026-11-22T21:59:50.000000Z");
}
