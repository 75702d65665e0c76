"""Our datasets, experiments, scores and agent runs, in the eyes of Opik's official Python client.

It reads everything through its own interface, field by field, inserts into our dataset and evaluates on it. And each
request that the sandbox got from ours must be one that the official client's methods and models know.
"""

import inspect
import re
import urllib.parse

import opik
from opik.evaluation.metrics import base_metric, score_result
from opik.rest_api.datasets.client import DatasetsClient
from opik.rest_api.experiments.client import ExperimentsClient
from opik.rest_api.spans.client import SpansClient
from opik.rest_api.traces.client import TracesClient
from opik.rest_api.types.dataset_item_write import DatasetItemWrite
from opik.rest_api.types.experiment_item import ExperimentItem
from opik.rest_api.types.feedback_score_batch_item import FeedbackScoreBatchItem
from opik.rest_api.types.span_write import SpanWrite
from opik.rest_api.types.trace_write import TraceWrite

from ours import expect_call, expect_model, expect_pair, expected_error, expected_metadata
from wire import as_sent, check, contents, exact, experiment_of, parsed, results, scores

PROJECT = "beluga-experiments"


def expect_result(client, what, found, item, meant, project, sink=False):
    """The result of one item is what was meant, and is taken out of what was found."""
    what = f"{what}, {item['id']}"
    traces = [trace for one, trace in found if one == item["id"]]
    check(f"{what}: traces", len(traces), 1)
    if not traces:
        return
    one = found.pop((item["id"], traces[0]))
    check(f"{what}: the item's data", exact(one.dataset_item_data), exact(item))
    check(f"{what}: its scores", scores(one.feedback_scores), scores(meant.get("scores")))
    trace = client.get_trace_content(one.trace_id)
    sent = as_sent(client, trace)
    check(f"{what}: scores of the trace", scores(trace.feedback_scores), scores(meant.get("scores")))
    check(f"{what}: output", one.evaluation_task_output, sent.get("output"))
    if "failed" in meant:
        data = {key: value for key, value in item.items() if key != "id"}
        check(f"{what}: name", (sent["name"], sent["project_name"]), ("evaluation_task", project))
        check(f"{what}: source", sent["source"], "experiment")
        check(f"{what}: input", exact(sent.get("input")), exact(data))
        check(f"{what}: error", sent["error_info"], expected_error(meant["failed"]))
        check(f"{what}: no output", sent.get("output"), None)
        check(f"{what}: no spans", client.search_spans(project_name=project, trace_id=trace.id), [])
        return
    check(f"{what}: trace", trace.id, meant.get("trace"))
    if "run" in meant:
        expect_run(client, meant["run"], project)
        return
    spans = client.search_spans(project_name=project, trace_id=trace.id, truncate=False)
    check(f"{what}: one span", [span.parent_span_id for span in spans], [None])
    source = "sdk" if sink else "experiment"
    expect_pair({"what": what, **meant}, sent, as_sent(client, spans[0]), project=project, source=source)
    expect_usage(what, meant["record"], spans[0])


def expect_usage(what, record, span):
    usage = {key: span.usage.get(key) for key in ("prompt_tokens", "completion_tokens", "total_tokens")}
    tokens = record["input_tokens"], record["output_tokens"]
    check(f"{what}: usage", list(usage.values()), [*tokens, sum(tokens)])


def expect_run(client, meant, project):
    """A run of an agent: its trace, and its spans, nested in each other as they were called."""
    run = client.get_trace_content(meant["trace"])
    sent = as_sent(client, run)
    # All of a run is sent at once, and what it has of its own holds for what is in it.
    shared = dict(project=project, environment=meant["environment"], updated=sent["last_updated_at"])
    for field in ("name", "input", "output", "thread_id", "environment", "metadata", "tags"):
        check(f"run: {field}", sent.get(field), meant[field])
    check("run: project, source", (sent["project_name"], sent["source"]), (project, "sdk"))
    check("run: no error", sent.get("error_info"), None)
    found = {span.id: span for span in client.search_spans(project_name=project, trace_id=run.id, truncate=False)}
    check("run: spans", sorted(found), sorted(span["id"] for span in meant["spans"]))
    for expected in meant["spans"]:
        span = found[expected["id"]]
        sent = as_sent(client, span)
        what = f"span {span.name}"
        outer = found[span.parent_span_id] if span.parent_span_id else run
        check(f"{what}: trace, parent", (span.trace_id, span.parent_span_id), (run.id, expected["parent"]))
        check(f"{what}: within its parent",
              outer.start_time <= span.start_time <= span.end_time <= outer.end_time, True)
        if record := expected.get("record"):
            expect_call(what, record, sent, **shared)
            expect_model(what, record, sent)
            expect_usage(what, record, span)
            check(f"{what}: metadata", sent["metadata"], expected_metadata(record, span.id))
            check(f"{what}: tags", sent.get("tags", []), record.get("tags", []))
            continue
        for field in ("type", "name", "input", "output", "tags", "metadata"):
            check(f"{what}: {field}", sent.get(field), expected.get(field))
        check(f"{what}: environment, source", (sent["environment"], sent["source"]), (meant["environment"], "sdk"))
        check(f"{what}: error", sent.get("error_info"), expected_error(expected.get("error")))


def read_back(client, meant):
    """What our client made, as it meant it."""
    dataset = client.get_dataset("beluga-capitals", project_name=PROJECT)
    (ours,), (inserted,), (again,) = meant["dataset"], meant["inserted"], meant["same again"]
    check("dataset", (dataset.id, dataset.name), (ours["id"], ours["name"]))
    count = len(ours["items"])
    check("inserted", inserted, {"stored": count, "unchanged": 0, "failures": []})
    check("the same again", again, {"stored": 0, "unchanged": count, "failures": []})
    items = [{"id": item["id"], **item["data"]} for item in ours["items"]]
    check("items", contents(dataset.get_items()), contents(items))
    check("the oldest first", [item["id"] for item in items], sorted(item["id"] for item in items))
    by_id = {item["id"]: item for item in items}

    for experiment in meant["experiment"]:
        name = experiment["name"]
        found = experiment_of(client, name, PROJECT)
        data = found.get_experiment_data()
        check(f"{name}: id, dataset", (found.id, data.dataset_name), (experiment["id"], ours["name"]))
        check(f"{name}: metadata", exact(data.metadata), exact(METADATA[name]))
        there = results(client, name, PROJECT)
        check(f"{name}: items", sorted(experiment["results"]), sorted(by_id))
        for item, result in experiment["results"].items():
            expect_result(client, name, there, by_id[item], result, PROJECT, sink=name == "pipeline")
        check(f"{name}: no other results", there, {})
        expect_summary(experiment)
    (run,), (scored,) = meant["run"], meant["scores"]
    expect_run(client, run, PROJECT)
    (trace,) = [one for one in client.search_traces(project_name=PROJECT) if one.id == scored["trace"]]
    check("scores of the trace", scores(trace.feedback_scores), scores(scored["of_trace"]))
    span = client.get_span_content(scored["span"])
    check("scores of the span", scores(span.feedback_scores), scores(scored["of_span"]))
    check("the span that is scored", (span.trace_id, span.type), (scored["trace"], "llm"))
    return dataset, items


METADATA = {
    "direct": {
        "prompt": "In one word, \U0001f40b: \"{country}\"?",
        "parameters": {"temperature": 0.5, "stop": [None, "."]},
    },
    "pipeline": {"by": "pipeline"},
}


def expect_summary(experiment):
    """What our client said it came to, from the results themselves."""
    name, each = experiment["name"], experiment["results"].values()
    records = [result["record"] for result in each if "record" in result]
    records += [span["record"] for result in each for span in result.get("run", {}).get("spans", []) if "record" in span]
    errors = sum("failed" in result or "error" in result.get("record", {}) for result in each)
    check(f"{name}: counts", [experiment[key] for key in ("items", "skipped", "calls", "errors")],
          [len(each), 0, len(records), errors])
    tokens = [sum(record[key] for record in records) for key in ("input_tokens", "output_tokens")]
    check(f"{name}: tokens", experiment["tokens"], tokens)
    check(f"{name}: cost", round(experiment["cost"] or 0, 9), round(sum(record["cost"] for record in records), 9))
    expect_means(experiment, (score for result in each for score in result.get("scores", [])))


def expect_means(experiment, each):
    values = {}
    for score in each:
        values.setdefault(score["name"], []).append(score["value"])
    said = {name: [count, round(mean, 9)] for name, (count, mean) in experiment["scores"].items()}
    means = {name: [len(of_name), round(sum(of_name) / len(of_name), 9)] for name, of_name in values.items()}
    check(f"{experiment['name']}: means of scores", said, means)


class Exact(base_metric.BaseMetric):
    def score(self, expected=None, **rest):
        output = rest.get("response", rest.get("output"))
        return score_result.ScoreResult(self.name, float(output == expected), reason="rescored")


def go_on(client, dataset, items):
    """The official client goes on with what is ours."""
    same = [dict(reversed([(key, value) for key, value in item.items() if key != "id"])) for item in items]
    dataset.insert(same)
    client.get_dataset(dataset.name, project_name=PROJECT).insert(same)
    check("items after the same", contents(dataset.get_items()), contents(items))
    dataset.insert([{"country": "France", "expected": "Lyon"}])
    check("items after another", len(dataset.get_items()), len(items) + 1)

    result = opik.evaluate(dataset, lambda item: {"output": item.get("expected")}, [Exact("official")],
                           experiment_name="official-on-ours", verbose=0)
    check("evaluated", len(result.test_results), len(items) + 1)
    found = results(client, "official-on-ours", PROJECT)
    check("outputs", {item: one.evaluation_task_output for (item, _), one in found.items() if item in contents(items)},
          {item["id"]: {"output": item.get("expected")} for item in items})
    for one in found.values():
        check("scores", sorted(scores(one.feedback_scores)), ["official"])

    # It scores our results by what it reads of them; those that failed have nothing to score.
    before = results(client, "pipeline", PROJECT)
    opik.evaluate_experiment("pipeline", [Exact("rescored")], verbose=0, project_name=PROJECT)
    for ids, one in results(client, "pipeline", PROJECT).items():
        old, now = scores(before[ids].feedback_scores), scores(one.feedback_scores)
        check("rescored", "rescored" in now, one.evaluation_task_output is not None)
        check("scores that stay", {name: now.get(name) for name in old}, old)


BODIES = {
    "POST /datasets": DatasetsClient.create_dataset,
    "POST /datasets/retrieve": DatasetsClient.get_dataset_by_identifier,
    "PUT /datasets/items": DatasetsClient.create_or_update_dataset_items,
    "POST /datasets/items/stream": DatasetsClient.stream_dataset_items,
    "POST /experiments": ExperimentsClient.create_experiment,
    "POST /experiments/items": ExperimentsClient.create_experiment_items,
    "POST /experiments/stream": ExperimentsClient.stream_experiments,
    "POST /experiments/finish": ExperimentsClient.finish_experiments,
    "PUT /traces/feedback-scores": TracesClient.score_batch_of_traces,
    "PUT /spans/feedback-scores": SpansClient.score_batch_of_spans,
    "PUT /traces/ID/feedback-scores": TracesClient.add_trace_feedback_score,
    "PUT /spans/ID/feedback-scores": SpansClient.add_span_feedback_score,
    "POST /traces/batch": TracesClient.create_traces,
    "POST /spans/batch": SpansClient.create_spans,
    "GET /datasets/ID/items/experiments/items": DatasetsClient.find_dataset_items_with_experiment_items,
}
ELEMENTS = {
    "/datasets/items": DatasetItemWrite, "experiment_items": ExperimentItem, "scores": FeedbackScoreBatchItem,
    "traces": TraceWrite, "spans": SpanWrite,
}


def expect_requests(requests):
    """What ours sent, by the methods and models that the official client would have sent it with."""
    seen = set()
    for request in requests:
        path = re.sub("/[0-9a-f-]{36}", "/ID", request["path"].partition("/v1/private")[2])
        call = f"{request['method']} {path}"
        seen.add(call)
        check(f"{call}: answered", request["status"] in (200, 201, 204, *EXPECTED.get(call, ())), True)
        known = set(inspect.signature(BODIES[call]).parameters)
        sent = dict(urllib.parse.parse_qsl(request["query"])) if request["method"] == "GET" else request["body"]
        check(f"{call}: unknown fields", set(sent) - known, set())
        expect_fixed(call, sent)
        for key, elements in sent.items():
            model = ELEMENTS.get(path if key == "items" else key)
            for element in elements if model else ():
                parsed(model, element)
                expect_fixed(key, element)
    check("calls", sorted(seen), sorted(BODIES))


def expect_fixed(what, sent):
    """What is the same in all that ours sends."""
    check(f"{what}: project", sent.get("project_name", PROJECT) in (PROJECT, "official-experiments"), True)
    if what in FIXED:
        check(f"{what}: fixed fields", {**sent, **FIXED[what]}, sent)


FIXED = {
    "POST /experiments": {"type": "regular", "evaluation_method": "dataset"},
    "items": {"source": "sdk"},
    "scores": {"source": "sdk"},
    "PUT /traces/ID/feedback-scores": {"source": "sdk"},
    "PUT /spans/ID/feedback-scores": {"source": "sdk"},
}

# A name that is in use, and one that is not there.
EXPECTED = {"POST /datasets": {409}, "POST /datasets/retrieve": {404}}
