"""Opik's official Python client makes a dataset, an experiment, scores and a nested trace; ours goes on with them.

What ours says that it found and did is compared with what the official one made, and with what it reads then.
"""

import opik
from opik.evaluation.metrics import base_metric, score_result

from experiments_ours import expect_means, expect_result
from wire import check, contents, exact, experiment_of, results, scores

PROJECT = "official-experiments"
DATASET, EXPERIMENT = "official-questions", "official-baseline"
ITEMS = [
    {"question": "q0", "expected": "Paris"},
    {"z": 1, "question": "q1 \U0001f40b é \"quoted\" \\ \n\t\u202e", "a": {"é": [{"b": {}}, [], None, True, ""]}},
    {"question": "q2", "numbers": [0, -1, 1.0, 0.1, 1e-07, 1e300, 9007199254740993, 2**64 - 1, -(2**63)]},
    {"question": "raises", "expected": "Abuja"},
    {"question": "q4", "expected": "Canberra"},
]
QUALITY = {"name": "quality", "value": 0.9, "reason": "ok \U0001f40b", "category_name": "good"}
BROKE = "task broke"
UNTOUCHED = {"name": "untouched", "value": -1.5, "reason": None, "category_name": None}


class Match(base_metric.BaseMetric):
    def score(self, output, question, **_):
        matches = float(output.endswith("0"))
        return score_result.ScoreResult("match", matches, reason=f"on {question}", category_name="good")


def task(item):
    if item["question"] == "raises":
        raise ValueError(BROKE)
    return {"output": "about " + item["question"]}


@opik.track(type="llm", name="ask")
def ask(query):
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    opik.opik_context.update_current_span(model="gpt-4o", provider="openai", usage=usage)
    return {"text": query}


@opik.track(type="tool")
def search(query):
    return [ask(query)]


@opik.track(project_name=PROJECT)
def agent(query):
    trace = opik.opik_context.get_current_trace_data()
    return {"trace": trace.id, "found": search(query)}


def make(client):
    dataset = client.create_dataset(DATASET, project_name=PROJECT)
    dataset.insert(ITEMS)
    try:
        opik.evaluate(dataset, task, [Match("match")], experiment_name=EXPERIMENT, verbose=0,
                      experiment_config={"model": "m", "n": [1, 2.5, None]})
        check("the task that raises", "nothing raised", "ValueError")
    except ValueError as error:
        check("the task that raises", str(error), BROKE)
    trace = agent("capitals")["trace"]
    check("flush", client.flush(timeout=30), True)
    spans = {span.name: span for span in client.search_spans(project_name=PROJECT, trace_id=trace)}
    check("spans", {name: span.type for name, span in spans.items()},
          {"agent": "general", "search": "tool", "ask": "llm"})
    check("parents", (spans["search"].parent_span_id, spans["ask"].parent_span_id),
          (spans["agent"].id, spans["search"].id))
    for log, rated in ((client.log_traces_feedback_scores, trace), (client.log_spans_feedback_scores, spans["ask"].id)):
        log([{**score, "id": rated} for score in (QUALITY, UNTOUCHED)], project_name=PROJECT)
    check("flush", client.flush(timeout=30), True)
    items = dataset.get_items()
    check("items", sorted(contents(items).values()), sorted(map(exact, ITEMS)))
    found = results(client, EXPERIMENT, PROJECT)
    check("results", len(found), len(ITEMS))
    return {"dataset": DATASET, "id": dataset.id, "items": items, "experiment": EXPERIMENT,
            "results": [vars(one) for one in found.values()], "trace": trace, "span": spans["ask"].id}


def read(client, made, taken):
    check("the dataset", (taken["dataset"]["id"], taken["dataset"]["name"]), (made["id"], DATASET))
    newest_first = sorted(made["items"], key=lambda item: item["id"], reverse=True)
    seen = [{"id": item["id"], **item["data"]} for item in taken["dataset"]["items"]]
    check("items, as ours reads them", list(contents(seen).items()), list(contents(newest_first).items()))
    check("the same again", taken["same again"], {"stored": 0, "unchanged": len(ITEMS), "failures": []})
    there = client.get_dataset(DATASET, project_name=PROJECT).get_items()
    check("items afterwards", contents(there), contents(made["items"]))

    experiment = experiment_of(client, EXPERIMENT, PROJECT)
    run, (item,) = taken["experiment"], [item for item in made["items"] if item["question"] == "raises"]
    check("the experiment", (run["id"], run["dataset"]), (experiment.id, DATASET))
    check("only what raised is run", list(run["results"]), [item["id"]])
    check("counts", [run[key] for key in ("skipped", "items", "calls", "errors")], [len(ITEMS) - 1, 1, 1, 0])
    check("nothing is run twice", taken["experiment again"], {"skipped": len(ITEMS), "items": 0})
    after = results(client, EXPERIMENT, PROJECT)
    expect_means(run, (score for one in after.values() for score in one.feedback_scores))
    for one in made["results"]:
        now = vars(after.pop((one["dataset_item_id"], one["trace_id"])))
        check("what the official client has made stays", exact(now), exact(one))
        raised = one["dataset_item_id"] == item["id"]
        check("what it has made", (one["evaluation_task_output"] is None, sorted(scores(one["feedback_scores"]))),
              (raised, [] if raised else ["match"]))
    expect_result(client, "taken", after, item, run["results"].get(item["id"], {}), PROJECT)
    check("no other results", after, {})

    linked = taken["linked"]
    agent = client.get_trace_content(made["trace"])
    there = results(client, linked["name"], PROJECT)
    one = there.pop((linked["item"], made["trace"]))
    check("linked", (one.evaluation_task_output, there), (agent.output, {}))
    check("scores of what is linked", scores(one.feedback_scores), scores(agent.feedback_scores))
    meant = taken["scores"]
    for kind, found in (("trace", agent), ("span", client.get_span_content(made["span"]))):
        check(f"{kind} that is scored", meant[kind], found.id)
        check(f"scores of the {kind}", scores(found.feedback_scores), scores([*meant[f"of_{kind}"], UNTOUCHED]))
    (found,) = [trace for trace in client.search_traces(project_name=PROJECT) if trace.id == made["trace"]]
    check("scores, searched", scores(found.feedback_scores), scores(agent.feedback_scores))
