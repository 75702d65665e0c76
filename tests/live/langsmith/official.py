"""LangSmith's official Python client against the sandbox: what it sends is accepted, and comes back as sent."""

import datetime
import os

from client import check, done, only_loopback, refused, sandbox

only_loopback()

import langsmith
from langsmith import Client, RunTree, traceable, utils
from langsmith.run_helpers import get_current_run_tree
from langsmith.uuid import uuid7

USAGE = {
    "input_tokens": 12,
    "output_tokens": 5,
    "total_tokens": 17,
    "input_token_details": {"cache_read": 4, "cache_creation": 1},
    "output_token_details": {"reasoning": 2},
    "input_cost": 0.001,
    "output_cost": 0.002,
}
MESSAGES = [{"role": "user", "content": "hi \U0001f40b"}]
ANSWER = {"choices": [{"message": {"role": "assistant", "content": "hello"}}]}


def flat(start, run_id):
    return start.strftime("%Y%m%dT%H%M%S%fZ") + str(run_id)


def clients_and_projects():
    client = Client()
    check("no multipart", client.info.batch_ingest_config["use_multipart_endpoint"], False)
    check("a version", client.info.version.startswith("0.0.0-sandbox"), True)
    check("no project yet", client.has_project("by hand"), False)
    project = client.create_project("by hand", description="d", metadata={"a": 1})
    check("a project", client.has_project("by hand"), True)
    found = client.read_project(project_name="by hand")
    check("project", (found.id, found.description, found.metadata), (project.id, "d", {"a": 1}))
    check("project by id", client.read_project(project_id=project.id).name, "by hand")
    refused("a project twice", Exception, lambda: client.create_project("by hand"))
    check("upsert", client.create_project("by hand", upsert=True).id, project.id)

    def with_key(key, **settings):
        return Client(api_key=key, auto_batch_tracing=False, **settings)

    service = with_key("lsv2_sk_beluga")
    refused("no workspace", utils.LangSmithUserError, lambda: service.has_project("by hand"))
    service = with_key("lsv2_sk_beluga", workspace_id="cafe")
    check("a workspace", service.has_project("by hand"), True)
    old = with_key("ls__beluga")
    refused("an old key", utils.LangSmithAuthError, lambda: old.has_project("by hand"))
    unknown = uuid7()
    refused("no such run", utils.LangSmithNotFoundError, lambda: client.read_run(unknown))
    return client


def runs_by_hand(client):
    """Created in one request and updated in another, by the batch and by the single door."""
    start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=2)
    end = start + datetime.timedelta(milliseconds=840)
    for door in ("batch", "single"):
        run_id = uuid7()
        place = dict(trace_id=run_id, dotted_order=flat(start, run_id)) if door == "batch" else {}
        client.create_run(
            id=run_id,
            name="by hand",
            run_type="llm",
            inputs={"messages": MESSAGES},
            start_time=start,
            tags=["b", "a"],
            extra={"metadata": {"k": {"nested": [1, 2.5, None]}, "thread_id": "t-1"}},
            **place,
        )
        client.flush()
        found = client.read_run(run_id)
        check(f"{door}: pending", (found.status, found.outputs, found.end_time), ("pending", None, None))
        client.update_run(
            run_id,
            outputs=ANSWER,
            end_time=end,
            events=[{"name": "new_token", "time": (start + datetime.timedelta(milliseconds=120)).isoformat()}],
            extra={"metadata": {"usage_metadata": USAGE, "ls_provider": "openai", "ls_model_name": "gpt-4o"}},
            **place,
        )
        client.flush()
        found = client.read_run(run_id)
        check(f"{door}: name", (found.name, found.run_type, found.status), ("by hand", "llm", "success"))
        check(f"{door}: times", (found.start_time, found.end_time), (start, end))
        check(f"{door}: first token", found.first_token_time, start + datetime.timedelta(milliseconds=120))
        check(f"{door}: place", (found.trace_id, found.dotted_order), (run_id, flat(start, run_id)))
        check(f"{door}: inputs", found.inputs, {"messages": MESSAGES})
        check(f"{door}: outputs", found.outputs, ANSWER)
        check(f"{door}: tags", found.tags, ["b", "a"])
        check(f"{door}: metadata", found.metadata["k"], {"nested": [1, 2.5, None]})
        check(f"{door}: tokens", (found.input_tokens, found.output_tokens, found.total_tokens), (12, 5, 17))
        check(f"{door}: details", found.input_token_details, {"cache_read": 4, "cache_creation": 1})
        check(f"{door}: details", found.output_token_details, {"reasoning": 2})
        check(f"{door}: cost", float(found.total_cost), 0.003)
        check(f"{door}: project", client.read_project(project_id=found.session_id).name, "official")
        (call,) = (call for call in sandbox("calls") if call["id"] == str(run_id))
        check(f"{door}: as a call", (call["model"], call["session_id"], call["cost"]), ("gpt-4o", "t-1", 0.003))


def trees(client):
    """A chain with a model's call in it, an error, and a stream, as programs have them."""
    seen = {}

    @traceable(run_type="llm", name="ask", tags=["t"], metadata={"ls_provider": "openai", "ls_model_name": "gpt-4o"})
    def ask(messages):
        run = get_current_run_tree()
        seen["ask"] = run.id
        run.set(usage_metadata=USAGE)
        return ANSWER

    @traceable(run_type="llm", name="stream")
    def stream(messages):
        seen["stream"] = get_current_run_tree().id
        yield "hel"
        yield "lo"

    @traceable(run_type="tool", name="break")
    def fail():
        seen["break"] = get_current_run_tree().id
        raise ValueError("boom")

    @traceable(name="chain", client=client, metadata={"thread_id": "t-2"})
    def chain(question):
        seen["chain"] = get_current_run_tree().id
        ask(MESSAGES)
        list(stream(MESSAGES))
        try:
            fail()
        except ValueError:
            pass
        return "done"

    chain("why")
    client.flush()
    runs = {name: client.read_run(run_id) for name, run_id in seen.items()}
    root = runs["chain"]
    check("root", (root.trace_id, root.parent_run_id, root.status), (root.id, None, "success"))
    check("root inputs", (root.inputs, root.outputs), ({"question": "why"}, {"output": "done"}))
    for name in ("ask", "stream", "break"):
        run = runs[name]
        check(f"{name}: trace", (run.trace_id, run.parent_run_id), (root.id, root.id))
        check(f"{name}: order", run.dotted_order, f"{root.dotted_order}.{flat(run.start_time, run.id)}")
    check("ask", (runs["ask"].inputs, runs["ask"].outputs), ({"messages": MESSAGES}, ANSWER))
    check("ask: tags", runs["ask"].tags, ["t"])
    check("ask: tokens", runs["ask"].total_tokens, 17)
    check("ask: thread", runs["ask"].metadata["thread_id"], "t-2")
    check("stream: first token", runs["stream"].first_token_time is not None, True)
    check("break: status", (runs["break"].status, runs["break"].run_type), ("error", "tool"))
    check("break: error", runs["break"].error.startswith("ValueError('boom')"), True)
    calls = {call["id"]: call for call in sandbox("calls")}
    check("calls are models' calls", (str(root.id) in calls, str(seen["break"]) in calls), (False, False))
    call = calls[str(seen["ask"])]
    check("ask as a call", (call["input"], call["output"], call["parent_id"]), (MESSAGES, ANSWER, str(root.id)))
    tokens = [call[f"{name}_tokens"] for name in ("input", "output", "cache_read", "cache_write", "reasoning")]
    check("ask as a call: tokens", tokens, [12, 5, 4, 1, 2])
    check("stream as a call: first token", calls[str(seen["stream"])]["time_to_first_token_ms"] >= 0, True)

    tree = RunTree(name="by hand", run_type="chain", inputs={}, ls_client=client)
    tree.post()
    inner = tree.create_child("model", run_type="llm", inputs={"messages": MESSAGES})
    inner.post()
    inner.end(outputs=ANSWER, error="late")
    inner.patch()
    tree.end(outputs={})
    tree.patch()
    client.flush()
    found = client.read_run(inner.id)
    check("a run tree", (found.status, found.error, found.parent_run_id), ("error", "late", tree.id))


def batches(client):
    def run():
        start = datetime.datetime.now(datetime.timezone.utc)
        run_id = uuid7()
        return dict(
            id=run_id, trace_id=run_id, dotted_order=flat(start, run_id), name="many", run_type="llm",
            start_time=start, end_time=start, inputs={}, session_name="many",
        )

    many = [run() for _ in range(250)]
    client.batch_ingest_runs(create=many[:100])
    # The same again, as after a lost answer: 409, which the client takes for success.
    client.batch_ingest_runs(create=many[:100])
    client.batch_ingest_runs(create=many[100:])
    stored = {call["id"] for call in sandbox("calls") if call["project"] == "many"}
    check("all of them once", stored, {str(one["id"]) for one in many})
    bare = run()
    del bare["dotted_order"]
    refused("no order", utils.LangSmithUserError, lambda: client.batch_ingest_runs(create=[bare]))


check("version", langsmith.__version__, os.environ["EXPECTED_VERSION"])
official = clients_and_projects()
runs_by_hand(official)
trees(official)
batches(official)
official.cleanup()
done()
