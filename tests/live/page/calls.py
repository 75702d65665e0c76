"""Writes calls as JSON Lines, the same ones every time: `calls.py KIND FILE`, and prints what a page of
them must show.

KIND is `few` (10 calls that say little, but for one), `many` (100,000, some with long texts), `hostile` (every text
tries to act on the page), `empty`, or `november` (three weeks of an assistant, as in the picture of the README).
"""

import json
import math
import random
import sys
import uuid
from datetime import datetime, timedelta, timezone

DICE = random.Random(20261124)
HOSTILE = [
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=2</script>",
    "</style></title></textarea><!-- <script> --!>",
    "<img src=x onerror=\"window.hacked=3\">",
    "\"'><svg onload=window.hacked=4>",
    "javascript:window.hacked=5",
    "{{data}} {{script}} {{style}} {{title}} $& $1 $$ $` \\u003c \\",
    "bell \x07 escape \x1b[31m nul \x00 delete \x7f next line \x85 return \r here",
    "override \u202egnp.exe\u202c isolate \u2067abc\u2069 separators \u2028 \u2029 mark \ufeff tags \U000e0041\U000e0042",
    "x" * 30_000,
    # Cut after any even number of units of UTF-16, it loses half an emoji.
    "x" + "\U0001f600" * 3_000,
    "שלום עולם العربية 👩‍👩‍👧‍👦 e\u0301\u0301\u0301\u0301 \U0001f600",
    "",
    "   ",
    "line one\nline two\r\n\ttabbed",
]


def instant(time):
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def few():
    start = datetime(2026, 11, 24, 9, 0, tzinfo=timezone.utc)
    for i in range(10):
        call = {"provider": "ollama", "model": "llama3.2", "start_time": instant(start + timedelta(minutes=7 * i))}
        if i != 4:
            call["duration_ms"] = 400 + 90 * i
        if i == 7:
            call["error"] = {"kind": "Timeout", "message": ""}
        elif i == 9:
            call["messages"] = [{"role": "user", "content": f"Message {n} " + "and on " * 150} for n in range(60)]
            call["response"] = "Answer"
        elif i % 3:
            call["messages"] = [{"role": "user", "content": f"Question {i}"}]
            call["response"] = f"Answer {i}"
        yield call


def many():
    start = datetime(2026, 10, 1, tzinfo=timezone.utc)
    models = [f"model-{letter}" for letter in "abcdefghij"]
    for i in range(100_000):
        model = min(int(DICE.expovariate(0.45)), 9)
        # Two nights without a call are gaps.
        second = i * 40 + (i // 30_000) * 90_000
        long = i % 330 == 17
        tokens_in, tokens_out = int(DICE.lognormvariate(7, 1)), int(DICE.lognormvariate(5, 1))
        call = {
            "id": str(uuid.UUID(int=DICE.getrandbits(128), version=4)),
            "provider": "anthropic" if model % 2 else "openai",
            "model": models[model],
            "start_time": instant(start + timedelta(seconds=second)),
            "duration_ms": 90_000 + i if long else round(DICE.lognormvariate(6.8, 0.6), 1),
            "input_tokens": tokens_in,
            "cache_read_tokens": tokens_in // 3,
            "output_tokens": tokens_out,
            "session_id": f"session-{i // 6}",
            "user_id": f"user-{min(int(DICE.expovariate(0.002)), 2500)}" if i % 50 else None,
            "tags": [["production", "staging", "canary"][i % 3]],
        }
        if i % 20:
            # Whole tenths of a millionth, so that the sum is the same in any order to all digits that are shown.
            call["cost"] = round((tokens_in * 2.5 + tokens_out * 10) / 1e6 * (1 + model / 3), 7)
        if i % 2:
            call["time_to_first_token_ms"] = round(call["duration_ms"] / 5, 1)
        if i % 71 == 0:
            call["error"] = {"kind": "RateLimitError", "message": f"429: slow down ({i})", "trace": "at client.rs:12\nat main.rs:3"}
        if long or "error" in call:
            text = f"conversation {i}: " + "All work and no play makes a dull report. " * 715
            call["messages"] = [{"role": "user", "content": text}]
            call["response"] = f"answer {i}"
        yield call


def hostile():
    start = datetime(2026, 11, 20, tzinfo=timezone.utc)
    for i in range(len(HOSTILE) * 4):
        text = HOSTILE[i % len(HOSTILE)]
        call = {
            "provider": text[:300],
            "model": text,
            "name": text,
            "start_time": instant(start + timedelta(minutes=13 * i)),
            "duration_ms": 100 + i,
            "time_to_first_token_ms": 10 + i,
            "input_tokens": 10,
            "cache_read_tokens": 3,
            "output_tokens": 5,
            "cost": 0.001 * (i + 1),
            "messages": [{"role": text or "user", "content": text}, {"role": "user", "content": f"{text}\n{text}"}],
            "response": text,
            "model_parameters": {text or "key": text},
            "session_id": text,
            "user_id": text,
            "tags": [text, "plain"],
            "environment": text,
            "release": text,
            "trace_id": text,
            "parent_span_id": text,
            "metadata": {text or "key": {"deep": [text]}},
        }
        if i % 2:
            call["error"] = {"kind": text, "message": text, "trace": f"{text}\n{text}"}
        elif i % 8 == 0:
            call["error"] = text
        yield call


def empty():
    return iter(())


QUESTIONS = [
    ("How do I change the delivery address of an order?", "Open the order, choose **Change address** and confirm. It works until the parcel is packed."),
    ("Summarise the complaint in two sentences.", "The customer received one of two lamps. They ask for the second one or their money back by Friday."),
    ("Which of our plans includes single sign-on?", "Single sign-on is part of Business and Enterprise. On Business it is limited to one identity provider."),
    ("Translate the notice into French.", "Votre abonnement sera renouvelé le 1er décembre. Vous pouvez le résilier à tout moment."),
]


def november():
    # Price of a million tokens in, cached and out; share of the calls; typical tokens and milliseconds.
    models = {
        "gpt-4o": ("openai", 2.5, 1.25, 10, 0.30, 2400, 310, 1900),
        "claude-sonnet-4-5": ("anthropic", 3, 0.3, 15, 0.22, 5200, 420, 3100),
        "gpt-4o-mini": ("openai", 0.15, 0.075, 0.6, 0.30, 1500, 180, 900),
        "gemini-2.5-flash": ("google", 0.3, 0.075, 2.5, 0.14, 3800, 260, 1200),
        "mistral-large": ("mistral", 2, 2, 6, 0.04, 1900, 240, 2300),
    }
    names = list(models)
    start = datetime(2026, 11, 2, tzinfo=timezone.utc)
    for hour in range(21 * 24):
        time = start + timedelta(hours=hour)
        # Busy by day, calm at weekends, and more from week to week.
        day = max(0.15, math.sin((time.hour - 6) / 14 * math.pi)) if 6 <= time.hour <= 20 else 0.15
        pace = 30 * day * (0.45 if time.weekday() >= 5 else 1) * (0.8 + 0.3 * hour / 504)
        outage = datetime(2026, 11, 12, 13, tzinfo=timezone.utc) <= time < datetime(2026, 11, 12, 17, tzinfo=timezone.utc)
        for _ in range(max(0, int(DICE.gauss(pace, math.sqrt(pace))))):
            name = DICE.choices(names, [models[one][4] for one in names])[0]
            provider, price_in, price_cached, price_out, _, many_in, many_out, typical = models[name]
            tokens_in = int(DICE.lognormvariate(math.log(many_in), 0.5))
            cached = int(tokens_in * DICE.choice([0, 0, 0.4, 0.7, 0.85])) if provider != "mistral" else 0
            tokens_out = int(DICE.lognormvariate(math.log(many_out), 0.6))
            slow = 2.2 if outage and provider == "openai" else 1
            ms = DICE.lognormvariate(math.log(typical), 0.38) * slow
            question, answer = DICE.choice(QUESTIONS)
            user = min(int(DICE.expovariate(0.08)), 60)
            call = {
                "provider": provider, "model": name, "name": DICE.choice(["answer", "answer", "summarise", "translate", "route"]),
                "start_time": instant(time + timedelta(seconds=DICE.uniform(0, 3600))),
                "duration_ms": round(ms, 1),
                "time_to_first_token_ms": round(ms * DICE.uniform(0.15, 0.3), 1),
                "input_tokens": tokens_in, "cache_read_tokens": cached, "output_tokens": tokens_out,
                "cost": round(((tokens_in - cached) * price_in + cached * price_cached + tokens_out * price_out) / 1e6, 7),
                "messages": [{"role": "system", "content": "You help the customers of a shop. Be brief."}, {"role": "user", "content": question}],
                "response": answer, "model_parameters": {"temperature": 0.2},
                "session_id": f"s-{hour // 3}-{user}", "user_id": f"user-{user:03}",
                "tags": [DICE.choice(["support", "support", "back-office", "search"])], "environment": "production",
            }
            if DICE.random() < (0.3 if outage and provider == "openai" else 0.007):
                for field in ("response", "time_to_first_token_ms", "output_tokens", "cost"):
                    call.pop(field)
                call["error"] = DICE.choice([
                    {"kind": "RateLimitError", "message": "429 Too Many Requests: tokens per minute are used up"},
                    {"kind": "Timeout", "message": "no answer within 30 s", "trace": "ask (src/assistant.rs:84)\nhandle (src/http.rs:31)"},
                    {"kind": "ServerError", "message": "503 The server is overloaded"},
                ])
            yield call


def main():
    kind, path = sys.argv[1:]
    shown = {"calls": 0, "errors": 0, "input": 0, "output": 0, "calls_with_cost": 0, "models": {}}
    values = {"model": set(), "user": set(), "session": set(), "tag": set()}
    costs, slowest = [], {}
    with open(path, "w", encoding="utf-8") as file:
        for call in {"few": few, "many": many, "hostile": hostile, "empty": empty, "november": november}[kind]():
            file.write(json.dumps(call, ensure_ascii=False) + "\n")
            shown["calls"] += 1
            shown["errors"] += "error" in call
            shown["input"] += call.get("input_tokens", 0)
            shown["output"] += call.get("output_tokens", 0)
            model = shown["models"].setdefault(call["model"], {"calls": 0, "errors": 0, "tokens": 0, "costs": []})
            model["calls"] += 1
            model["errors"] += "error" in call
            model["tokens"] += call.get("input_tokens", 0) + call.get("output_tokens", 0)
            for by, field in ("model", "model"), ("user", "user_id"), ("session", "session_id"):
                values[by].add(call.get(field))
            values["tag"].update(call.get("tags", []))
            if "cost" in call:
                costs.append(call["cost"])
                model["costs"].append(call["cost"])
            if call.get("duration_ms", 0) > slowest.get("duration_ms", 0):
                slowest = call
    for model in shown["models"].values():
        model["cost"] = math.fsum(model.pop("costs"))
    shown |= {"cost": math.fsum(costs), "calls_with_cost": len(costs), "hostile": HOSTILE}
    shown["values"] = {by: len(of - {None}) for by, of in values.items()}
    shown["slowest"] = [message["content"] for message in slowest.get("messages", [])]
    shown["slowest"] += [slowest["response"]] if "response" in slowest else []
    print(json.dumps(shown))


main()
