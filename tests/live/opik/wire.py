"""What the scripts beside this one share: checks, and what the sandbox got, in the eyes of the client's models."""

import datetime
import json
import logging
import os
import sys
import urllib.request
import uuid

from opik.rest_api.core.jsonable_encoder import jsonable_encoder
from opik.rest_api.types.error_info_write import ErrorInfoWrite

BASE = os.environ["OPIK_URL_OVERRIDE"].rstrip("/")
ROOT = BASE.removesuffix("/opik/api")
TIMES = ("start_time", "end_time", "last_updated_at")

checks = 0
failures = []


def check(what, found, expected):
    global checks
    checks += 1
    if found != expected:
        failures.append(f"{what}:\n  found    {found!r:.500}\n  expected {expected!r:.500}")


def done(what=""):
    if failures:
        sys.exit("\n".join([*failures[:40], f"{len(failures)} of {checks} checks failed"]))
    print(f"   {what}{checks} checks")


def warnings_of_the_client():
    """A list that they come into, instead of the console."""

    class Collect(logging.Handler):
        def emit(self, record):
            logged.append(record.getMessage())

    logged = []
    logging.getLogger("opik").handlers = [Collect(logging.WARNING)]
    return logged


def get(url):
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def requests_of_ours():
    return [request for request in get(f"{ROOT}/_sandbox/requests") if is_ours(request)]


def is_ours(request):
    headers = {name.lower(): value for name, value in request["headers"]}
    return headers.get("user-agent", "").startswith("beluga-o11y-opik/")


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def parsed(model, sent):
    """The model of what was sent: nothing unknown, nothing changed."""
    found = model.parse_obj(sent) if not hasattr(model, "model_validate") else model.model_validate(sent)
    check(f"unknown fields of {model.__name__}", found.model_extra, {})
    if getattr(found, "error_info", None) is not None:
        check("unknown fields of error_info", found.error_info.model_extra, {})
        check("error_info", type(found.error_info), ErrorInfoWrite)
        for field in ("exception_type", "message", "traceback"):
            check(f"error_info.{field} is not blank", bool(getattr(found.error_info, field).strip()), True)
    again = json.loads(json.dumps(jsonable_encoder(found.model_dump(exclude_unset=True))))
    for field in TIMES:
        if field in sent:
            check(field, instant(again.pop(field)), instant(sent[field]))
    rest = {key: value for key, value in sent.items() if key not in TIMES}
    check(f"{model.__name__}, read and written again", again, rest)
    check("an id of version 7", uuid.UUID(found.id).version, 7)
    return found


def exact(value):
    """As text: to Python 1, 1.0 and True are equal, to a server they are not."""
    return json.dumps(value, sort_keys=True)


def contents(items):
    """What is in the items of a dataset, by their ids."""
    return {item["id"]: exact({key: value for key, value in item.items() if key != "id"}) for item in items}


def scores(found):
    """By name, whether the client gives objects or dicts, and each name once."""
    rows = [score if isinstance(score, dict) else vars(score) for score in found or []]
    check("scores, each name once", len({row["name"] for row in rows}), len(rows))
    return {row["name"]: exact([float(row["value"]), row.get("reason"), row.get("category_name")]) for row in rows}


def experiment_of(client, name, project):
    """The one of this name; the client asks for all that have it in their names."""
    (found,) = [one for one in client.get_experiments_by_name(name, project_name=project) if one.name == name]
    return found


def results(client, experiment, project):
    """What the client reads of the experiment of this name, by item and trace."""
    found = experiment_of(client, experiment, project).get_items()
    by_ids = {(one.dataset_item_id, one.trace_id): one for one in found}
    check(f"results of {experiment}, each once", len(by_ids), len(found))
    return by_ids


def as_sent(client, found):
    """A trace or a span that the client has read, in the words of the wire."""
    check(f"unknown fields of {type(found).__name__}", found.model_extra, {})
    sent = jsonable_encoder(found.model_dump(exclude_none=True))
    return {**sent, "project_name": client.get_project(found.project_id).name}
