"""Compares the records that `beluga-o11y import` has made with what was known of the calls before.

Arguments: the file of records and that of what is expected. Calls that have a tag there are found by it, the others
stand in the same order.
"""

import json
import sys
from datetime import datetime
from pathlib import Path

KEY = "sk-a-key-that-must-not-be-seen"


def main(records, expected):
    text = Path(records).read_text()
    assert KEY not in text, "the key stands in the records"
    records = [json.loads(line) for line in text.splitlines()]
    expected = [json.loads(line) for line in Path(expected).read_text().splitlines()]
    left = list(records)
    compared = 0
    for number, call in enumerate(expected):
        if "tag" in call:
            failed = bool(call["fields"].get("error"))
            fits = [r for r in left if call["tag"] in r.get("tags", []) and ("error" in r) == failed]
            assert fits, f"no record of {call['tag']}"
            left = [r for r in left if r["id"] != fits[0]["id"]]
            record, name = fits[0], call["tag"]
            times(name, record, call)
        else:
            record, name = left.pop(0), f"pair {number + 1}"
        for field, value in call["fields"].items():
            compare(f"{name}: {field}", record.get(field), value)
            compared += 1
    assert not left, f"{len(left)} records too many"
    ids = {record["id"] for record in records}
    # LiteLLM tells of some calls twice.
    assert len(ids) == len(records) == len(expected), f"{len(ids)} ids of {len(records)} records"
    print(f"   {len(expected)} calls, {compared} fields")


def seconds(time):
    return datetime.fromisoformat(time).timestamp()


def times(name, record, call):
    """Within the times of the one who made the call."""
    start, duration = seconds(record["start_time"]), record["duration_ms"]
    assert call["started"] <= start <= call["ended"], f"{name} began when it was not made"
    # LiteLLM looks at the clock at the end of a stream in a thread of its own.
    assert start + duration / 1000 <= call["ended"] + 3, f"{name} ended too late"
    assert duration >= call["fields"].get("least_ms", 0.001), f"{name} took {duration} ms"
    call["fields"].pop("least_ms", None)
    first = record.get("time_to_first_token_ms")
    if call["fields"].pop("streams", False):
        assert 0 < first < duration, f"{name}: {first} ms to the first token, of {duration}"
    else:
        assert first is None, f"{name} has a first token"


def compare(place, found, value):
    same = found == value
    if place.endswith(": start_time"):
        same = abs(seconds(found) - value) < 1e-5
    elif place.endswith(": error") and value:
        # LiteLLM adds words of its own.
        found = found if isinstance(found, dict) else {"message": found}
        same = found.get("kind") == value["kind"] and value["message"] in found["message"]
    elif place.endswith(": metadata"):
        same = all((found or {}).get(name) == one for name, one in value.items())
    elif isinstance(value, float) and found is not None:
        same = abs(found - value) <= 1e-9 + abs(value) * 1e-6 or (place.endswith("_ms") and abs(found - value) < 0.01)
    assert same, f"{place}: {found!r} was found where {value!r} was expected"


if __name__ == "__main__":
    main(*sys.argv[1:])
