"""What our exporter sent, in the eyes of LangSmith's official Python client: its own models, rules and words."""

import datetime
import decimal
import json
import os
import sys
import uuid

from client import check, done, only_loopback, sandbox

only_loopback()

from langsmith import Client, RunTree, schemas
from langsmith._internal._uuid import is_uuid_v7
from langsmith.run_trees import _create_current_dotted_order, validate_extracted_usage_metadata


def time(text):
    return datetime.datetime.fromisoformat(text)


def expected_inputs(messages):
    if isinstance(messages, list):
        return {"messages": messages}
    if isinstance(messages, str):
        return {"messages": [{"role": "user", "content": messages}]}
    return messages or {}


def expected_outputs(response):
    if response is None or isinstance(response, dict):
        return response
    if isinstance(response, (str, list)):
        return {"messages": [{"role": "assistant", "content": response}]}
    return {"output": response}


def expected_error(error):
    if error is None or isinstance(error, str):
        return (error.strip() or "Error") if error is not None else None
    text = ": ".join(part for part in (error.get("kind"), error.get("message")) if part)
    return text + (f"\n\nTraceback:\n{error['trace']}" if error.get("trace") else "")


def look_at(client, what, record, written):
    found = client.read_run(written["id"])
    # The client's own rules for a run, and its own idea of where it stands.
    parsed = schemas.Run(**written)
    tree = RunTree(**written, ls_client=client)
    check(f"{what}: version 7", is_uuid_v7(parsed.id), True)
    if uuid.UUID(record["id"]).version == 7:
        check(f"{what}: id", str(found.id), record["id"])
    else:
        check(f"{what}: own id", found.metadata["original_id"], record["id"])
    order = _create_current_dotted_order(found.start_time, found.id)
    check(f"{what}: place", (found.dotted_order, tree.dotted_order), (order, order))
    check(f"{what}: a root", (found.trace_id, found.parent_run_id), (found.id, None))
    check(f"{what}: type", (found.run_type, found.status), ("llm", "error" if record.get("error") is not None else "success"))
    check(f"{what}: project", client.read_project(project_id=found.session_id).name, "beluga-live")

    name = record.get("name") or "/".join(part for part in (record["provider"], record["model"]) if part)
    if len(name) > 128:
        check(f"{what}: full name", found.metadata["name"], name)
        name = name[:127] + "…"
    check(f"{what}: name", found.name, name)
    start = time(record["start_time"])
    check(f"{what}: start", found.start_time, start)
    duration = datetime.timedelta(milliseconds=record.get("duration_ms") or 0)
    check(f"{what}: end", abs(found.end_time - start - duration) <= datetime.timedelta(microseconds=1), True)
    first = record.get("time_to_first_token_ms")
    wait = found.first_token_time and (found.first_token_time - start) / datetime.timedelta(milliseconds=1)
    check(f"{what}: first token", wait, first)

    check(f"{what}: inputs", found.inputs, expected_inputs(record.get("messages")))
    check(f"{what}: outputs", found.outputs, expected_outputs(record.get("response")))
    check(f"{what}: error", found.error, expected_error(record.get("error")))
    check(f"{what}: tags", found.tags, record.get("tags") or [])

    usage = found.metadata.get("usage_metadata", {})
    validate_extracted_usage_metadata(usage)
    tokens = (record.get("input_tokens"), record.get("output_tokens"))
    check(f"{what}: tokens", (found.input_tokens, found.output_tokens), tokens)
    check(f"{what}: total", found.total_tokens, None if None in tokens else sum(tokens))
    details = (("cache_read", "cache_read_tokens"), ("cache_creation", "cache_write_tokens"))
    details = {theirs: record[ours] for theirs, ours in details if ours in record}
    check(f"{what}: input details", found.input_token_details or {}, details)
    reasoning = {"reasoning": record["reasoning_tokens"]} if "reasoning_tokens" in record else {}
    check(f"{what}: output details", found.output_token_details or {}, reasoning)
    cost = record.get("cost")
    check(f"{what}: cost", found.total_cost, None if cost is None else decimal.Decimal(str(cost)))

    parameters = record.get("model_parameters") or {}
    check(f"{what}: parameters", found.extra["invocation_params"], {"model": record["model"], **parameters})
    stop = parameters.get("stop")
    expected = {
        "ls_model_name": record["model"],
        "ls_provider": {"aws.bedrock": "amazon_bedrock", "": None}.get(record["provider"], record["provider"]),
        "ls_temperature": parameters.get("temperature"),
        "ls_max_tokens": parameters.get("max_tokens"),
        "ls_stop": [stop] if isinstance(stop, str) else stop,
        "thread_id": record.get("session_id"),
        "user_id": record.get("user_id"),
        "environment": record.get("environment") or "staging",
        "trace_id": record.get("trace_id"),
        "parent_span_id": record.get("parent_span_id"),
        **record.get("metadata", {}),
    }
    for key, value in expected.items():
        check(f"{what}: {key}", found.metadata.get(key), value)
    check(f"{what}: revision", parsed.revision_id, record.get("release"))
    check(f"{what}: runtime", found.extra["runtime"]["runtime"], "rust")


def main():
    with open(sys.argv[1], encoding="utf-8") as lines:
        meant = [json.loads(line) for line in lines]
    client = Client(auto_batch_tracing=False)
    for one in meant:
        look_at(client, one["what"], one["record"], one["run"])
    ids = [call["id"] for call in sandbox("calls") if call["project"] == "beluga-live"]
    check("each once", sorted(ids), sorted(one["run"]["id"] for one in meant))

    # The client takes our runs for its own: it checks them, adds what it adds, and sends them to the same door.
    os.environ["LANGSMITH_PROJECT"] = "resent"
    for one in meant:
        new = uuid.UUID(int=uuid.UUID(one["run"]["id"]).int ^ 1)
        order = one["run"]["dotted_order"].replace(one["run"]["id"], str(new))
        one["run"].update(id=str(new), trace_id=str(new), dotted_order=order, session_name="resent")
    client.batch_ingest_runs(create=[one["run"] for one in meant])
    resent = [call for call in sandbox("calls") if call["project"] == "resent"]
    check("sent by the client", len(resent), len(meant))
    done()


main()
