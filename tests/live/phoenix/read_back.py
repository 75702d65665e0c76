"""What a Phoenix shows of the calls that were sent to it.

read_back.py keys URL SECRET: makes a key for a system and one for a viewer, and prints them.
read_back.py compare URL PROJECT FILE [--key KEY] [--parents]: waits until the project has the calls of the file, one
JSON object a line, and compares all that it shows of them, over REST and over GraphQL, with what they say. With
--parents, a span names the caller's own span as its parent.
"""

import argparse
import datetime
import json
import math
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# What Phoenix's own table makes of a call's tokens: its parts, each with USD for a million.
PRICES = {
    "chat gpt-4o-mini": {"input": (1000, 0.15), "output": (200, 0.60)},
    "cached and reasoning": {
        "input": (900, 0.15),
        "cache_read": (100, 0.075),
        "output": (150, 0.60),
        "reasoning": (50, 0.60),
    },
    "cache written": {"input": (300, 3), "cache_read": (300, 0.3), "cache_write": (400, 3.75), "output": (200, 15)},
    "a model without a price": {"input": (10, None), "output": (5, None)},
}

# What every request carries, once there is a key.
AUTHORIZATION = {}

NODES = """query ($project: ID!, $after: String, $only: String) { node(id: $project) { ... on Project {
  recordCount
  spans(first: 1000, after: $after, filterCondition: $only) { pageInfo { hasNextPage endCursor } edges { node {
    name spanId parentId spanKind statusCode statusMessage startTime endTime userId metadata
    tokenCountPrompt tokenCountCompletion tokenCountTotal tokenPromptDetails { cacheRead cacheWrite }
    costSummary { total { cost } } costDetailSummaryEntries { tokenType value { tokens } }
    input { value mimeType } output { value mimeType } events { name message }
    trace { traceId session { sessionId } }
  } } }
} } }"""


def request(url, body=None, headers=None):
    body = body if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **(AUTHORIZATION if headers is None else headers)}
    return urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30)


def answer(url, body=None, headers=None):
    with request(url, body, headers) as found:
        return json.load(found)


def graphql(url, query, headers=None, **variables):
    found = answer(f"{url}/graphql", {"query": query, "variables": variables}, headers)
    if found.get("errors"):
        sys.exit(f"GraphQL: {found['errors']}")
    return found["data"]


def within(seconds, what, probe):
    """What `probe` gives once it gives something."""
    end = time.monotonic() + seconds
    while not (found := probe()):
        if time.monotonic() > end:
            sys.exit(f"{what}: not within {seconds} s")
        time.sleep(0.2)
    return found


# -- what was meant


def nanos(call):
    """Start and end in nanoseconds since 1970."""
    whole, _, fraction = call["start_time"].rstrip("Z").partition(".")
    seconds = datetime.datetime.fromisoformat(whole + "+00:00").timestamp()
    start = int(seconds) * 10**9 + int(fraction.ljust(9, "0") or 0)
    return start, start + round(call.get("duration_ms", 0) * 10**6)


def messages(prefix, content, role):
    """The attributes that messages in OpenAI's shape become."""
    if content is None:
        return {}
    out = {}
    content = [{"role": role, "content": content}] if isinstance(content, str) else content
    for index, message in enumerate(content if isinstance(content, list) else [content]):
        at = f"{prefix}.{index}.message"
        out[f"{at}.role"] = message["role"]
        said = message.get("content")
        if isinstance(said, list):
            for number, part in enumerate(said):
                name = f"{at}.contents.{number}.message_content"
                out[f"{name}.type"] = {"image_url": "image"}.get(part["type"], part["type"])
                if part["type"] == "text":
                    out[f"{name}.text"] = part["text"]
                else:
                    out[f"{name}.image.image.url"] = part["image_url"]["url"]
        elif said is not None:
            out[f"{at}.content"] = said
        for number, call in enumerate(message.get("tool_calls", [])):
            name = f"{at}.tool_calls.{number}.tool_call"
            out[f"{name}.id"] = call["id"]
            out[f"{name}.function.name"] = call["function"]["name"]
            out[f"{name}.function.arguments"] = json.loads(call["function"]["arguments"])
        if "tool_call_id" in message:
            out[f"{at}.tool_call_id"] = message["tool_call_id"]
    return out


def value(content):
    """A pane: text as it is, anything else as JSON."""
    if content is None:
        return None
    return ("text", content) if isinstance(content, str) else ("json", content)


def exception(error):
    if error is None:
        return None
    error = {"message": error} if isinstance(error, str) else error
    return {
        "exception.type": error.get("kind"),
        "exception.message": error["message"],
        "exception.stacktrace": error.get("trace"),
    }


def meant(call, parents):
    """What Phoenix should show of a call, by name."""
    provider, model = call["provider"], call["model"]
    name = call.get("name") or f"chat {model}"
    start, end = nanos(call)
    prompt, completion = call.get("input_tokens"), call.get("output_tokens")
    error = exception(call.get("error"))
    metadata = {key: call[key] for key in ("environment", "release", "trace_id", "parent_span_id") if key in call}
    parameters = call.get("model_parameters") or {}
    ours = call["id"].replace("-", "")
    total = None if prompt is None else prompt + completion
    return {
        "name": name,
        "trace": call.get("trace_id", ours),
        "span": ours[16:],
        "parent": call.get("parent_span_id") if parents else None,
        "kind": "LLM",
        "start": start // 1000,
        "end": end // 1000,
        "status": "ERROR" if error else "OK",
        "status message": error["exception.message"] if error else "",
        "exception": error,
        "model": model,
        "provider": provider or None,
        "tokens": (prompt, completion, total),
        "token details": (call.get("cache_read_tokens"), call.get("cache_write_tokens"), call.get("reasoning_tokens")),
        "tokens shown": (prompt or 0, completion or 0, total or 0),
        "cached tokens shown": (call.get("cache_read_tokens"), call.get("cache_write_tokens")),
        "cost sent": call.get("cost"),
        "input": value(call.get("messages")),
        "output": value(call.get("response")),
        "input messages": messages("llm.input_messages", call.get("messages"), "user"),
        "output messages": messages("llm.output_messages", call.get("response"), "assistant"),
        "parameters": parameters or None,
        "tools": parameters.get("tools", []),
        "session": call.get("session_id"),
        "user": call.get("user_id"),
        "tags": call.get("tags"),
        "metadata": {**metadata, **call.get("metadata", {})} or None,
        "first token": (call["time_to_first_token_ms"] / 1000) if "time_to_first_token_ms" in call else None,
        "id": call["id"],
    }


# -- what is there


def micros(text):
    whole, _, fraction = text.removesuffix("+00:00").partition(".")
    seconds = datetime.datetime.fromisoformat(whole + "+00:00").timestamp()
    return int(seconds) * 10**6 + int(fraction.ljust(6, "0") or 0)


def parsed(text):
    return None if text is None else json.loads(text)


def pane(text, mime):
    if text is None:
        return None
    return ("json", json.loads(text)) if mime in ("application/json", "json") else ("text", text)


def under(attributes, prefix):
    return {
        key: json.loads(found) if key.endswith(".function.arguments") else found
        for key, found in attributes.items()
        if key.startswith(prefix + ".")
    }


def by_rest(span):
    attributes = span["attributes"]
    get = attributes.get
    events = {event["name"]: event["attributes"] for event in span["events"]}
    names = ("exception.type", "exception.message", "exception.stacktrace")
    found = events.get("exception")
    schemas = under(attributes, "llm.tools")
    return {
        "name": span["name"],
        "trace": span["context"]["trace_id"],
        "span": span["context"]["span_id"],
        "parent": span["parent_id"],
        "kind": span["span_kind"],
        "start": micros(span["start_time"]),
        "end": micros(span["end_time"]),
        "status": span["status_code"],
        "status message": span["status_message"],
        "exception": found and {name: found.get(name) for name in names},
        "model": get("llm.model_name"),
        "provider": get("llm.provider"),
        "tokens": tuple(get(f"llm.token_count.{count}") for count in ("prompt", "completion", "total")),
        "token details": (
            get("llm.token_count.prompt_details.cache_read"),
            get("llm.token_count.prompt_details.cache_write"),
            get("llm.token_count.completion_details.reasoning"),
        ),
        "cost sent": get("llm.cost.total"),
        "input": pane(get("input.value"), get("input.mime_type")),
        "output": pane(get("output.value"), get("output.mime_type")),
        "input messages": under(attributes, "llm.input_messages"),
        "output messages": under(attributes, "llm.output_messages"),
        "parameters": parsed(get("llm.invocation_parameters")),
        "tools": [json.loads(schemas[f"llm.tools.{n}.tool.json_schema"]) for n in range(len(schemas))],
        "session": get("session.id"),
        "user": get("user.id"),
        "tags": get("tag.tags"),
        "first token": get("gen_ai.response.time_to_first_chunk"),
        "id": get("beluga_o11y.id"),
    }


def by_graphql(node):
    session = node["trace"]["session"]
    details = node["tokenPromptDetails"] or {}
    return {
        "name": node["name"],
        "trace": node["trace"]["traceId"],
        "span": node["spanId"],
        "parent": node["parentId"],
        "kind": node["spanKind"].upper(),
        "start": micros(node["startTime"]),
        "end": micros(node["endTime"]),
        "status": node["statusCode"],
        "status message": node["statusMessage"],
        "tokens shown": (node["tokenCountPrompt"], node["tokenCountCompletion"], node["tokenCountTotal"]),
        "cached tokens shown": (details.get("cacheRead"), details.get("cacheWrite")),
        "input": node["input"] and pane(node["input"]["value"], node["input"]["mimeType"]),
        "output": node["output"] and pane(node["output"]["value"], node["output"]["mimeType"]),
        "session": session and session["sessionId"],
        "user": node["userId"],
        "metadata": parsed(node["metadata"]),
    }


def pages(get):
    """All items of a listing that is read page by page."""
    items, cursor = [], None
    while True:
        page, cursor = get(cursor)
        items += page
        if not cursor:
            return items


def all_by_rest(url, project):
    def page(cursor):
        query = {"limit": 1000, **({"cursor": cursor} if cursor else {})}
        found = answer(f"{url}/v1/projects/{project}/spans?{urllib.parse.urlencode(query)}")
        return found["data"], found["next_cursor"]

    return pages(page)


def all_by_graphql(url, project_id, only=None):
    def page(cursor):
        spans = graphql(url, NODES, project=project_id, after=cursor, only=only)["node"]["spans"]
        info = spans["pageInfo"]
        return [edge["node"] for edge in spans["edges"]], info["hasNextPage"] and info["endCursor"]

    return pages(page)


def has(url, project, count):
    """The project's id, once it holds so many spans."""
    try:
        project_id = answer(f"{url}/v1/projects/{project}")["data"]["id"]
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
    query = "query ($id: ID!) { node(id: $id) { ... on Project { recordCount } } }"
    found = graphql(url, query, id=project_id)["node"]["recordCount"]
    return project_id if found >= count else None


def compare(url, project, file, parents):
    with open(file, encoding="utf-8") as lines:
        calls = [meant(json.loads(line), parents) for line in lines]
    expected = {one["span"]: one for one in calls}
    start = time.monotonic()
    project_id = within(120, f"{len(calls)} spans in {project}", lambda: has(url, project, len(calls)))
    waited = time.monotonic() - start

    rest, nodes = all_by_rest(url, project), all_by_graphql(url, project_id)
    check_ids("REST", [span["context"]["span_id"] for span in rest], expected)
    check_ids("GraphQL", [node["spanId"] for node in nodes], expected)
    # The page of a project starts with the spans that name no parent; its list of traces has those whose parent is not
    # there, too.
    first = {span: one for span, one in expected.items() if not one["parent"]}
    for only, listed in (("parent_id is None", first), ("parent_span is None", expected)):
        found = [node["spanId"] for node in all_by_graphql(url, project_id, only)]
        check_ids(f"the list with '{only}'", found, listed)
    values = 0
    for where, found in [
        *(("REST", by_rest(span)) for span in rest),
        *(("GraphQL", by_graphql(node)) for node in nodes),
    ]:
        one = expected[found["span"]]
        for name in found:
            # Phoenix makes a float of the nanoseconds, so the last microsecond may go either way.
            near = name in ("start", "end") and abs(found[name] - one[name]) <= 1
            check(f"{one['name']}, {name} by {where}", found[name], found[name] if near else one[name])
            values += 1
    prices = 0
    for node in nodes:
        prices += check_price(node, expected[node["spanId"]])
    print(f"   {project}: {len(calls)} calls after {waited:.1f} s, {values} values and {prices} prices as meant")


def check_ids(where, found, expected):
    """Each call is there, and once."""
    missing = [expected[span]["name"] for span in expected if span not in found]
    check(f"calls missing in {where}", missing, [])
    check(f"spans in {where}, {len(expected)} of them different", len(found), len(expected))


def check_price(node, one):
    """Phoenix shows its own price, whatever the call says it cost."""
    if node["name"] not in PRICES:
        return 0
    parts = PRICES[node["name"]]
    shown = {entry["tokenType"]: entry["value"]["tokens"] for entry in node["costDetailSummaryEntries"]}
    check(f"{node['name']}, priced tokens", shown, {kind: count for kind, (count, _) in parts.items()})
    rates = [count * rate / 1e6 for count, rate in parts.values() if rate]
    price = sum(rates) if rates else None
    cost = node["costSummary"]["total"]["cost"]
    same = cost == price if None in (cost, price) else math.isclose(cost, price)
    check(f"{node['name']}, cost {cost}: Phoenix's price {price}, not our {one['cost sent']}", same, True)
    return 1


def check(what, found, expected):
    if found != expected:
        sys.exit(f"{what}:\n  found    {found!r:.2000}\n  expected {expected!r:.2000}")


def keys(url):
    print(answer(f"{url}/v1/system/api_keys", {"data": {"name": "live"}})["data"]["key"])
    user = {"email": "viewer@example.com", "username": "viewer", "password": "Viewers-only-1", "role": "VIEWER"}
    create = "mutation ($user: CreateUserInput!) { createUser(input: $user) { user { id } } }"
    graphql(url, create, user=user)
    with request(f"{url}/auth/login", {name: user[name] for name in ("email", "password")}, {}) as login:
        cookies = [cookie.partition(";")[0] for cookie in login.headers.get_all("Set-Cookie")]
    create = 'mutation { createUserApiKey(input: {name: "live"}) { jwt } }'
    print(graphql(url, create, {"Cookie": "; ".join(cookies)})["createUserApiKey"]["jwt"])


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("keys")
    command.add_argument("url")
    command.add_argument("key", metavar="secret")
    command = commands.add_parser("compare")
    for name in ("url", "project", "file", "--key"):
        command.add_argument(name)
    command.add_argument("--parents", action="store_true")
    options = parser.parse_args()
    if options.key:
        AUTHORIZATION["Authorization"] = f"Bearer {options.key}"
    if options.command == "keys":
        keys(options.url)
    else:
        compare(options.url, options.project, options.file, options.parents)


main()
