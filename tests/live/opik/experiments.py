"""Datasets, experiments and scores: Opik's official Python client and ours, each on what the other has made.

Our client is the program that is given; it says in JSON what it found, and what it means to have made.
"""

import contextlib
import json
import subprocess
import sys
import tempfile

import opik

import experiments_official
import experiments_ours
from wire import BASE, check, done, exact, failures, requests_of_ours, warnings_of_the_client


def ours(command, *arguments):
    """Runs our client, and gives the lines that it printed by what they tell."""
    program = [sys.argv[1], command, BASE, *arguments]
    printed = subprocess.run(program, env={}, stdout=subprocess.PIPE, check=True, timeout=60).stdout
    told = {}
    for line in map(json.loads, printed.splitlines()):
        told.setdefault(line.pop("what"), []).append(line)
    return told


def client_of(project):
    client = opik.Opik(project_name=project)
    opik.set_global_client(client)
    return client


def main():
    logged = warnings_of_the_client()
    client = client_of(experiments_official.PROJECT)
    made = experiments_official.make(client)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        json.dump(made, file)
        file.flush()
        taken = ours("take", file.name)
    experiments_official.read(client, made, {what: told for what, (told,) in taken.items()})
    client.end(timeout=30)

    meant = ours("make")
    client = client_of(experiments_ours.PROJECT)
    dataset, items = experiments_ours.read_back(client, meant)
    with contextlib.redirect_stdout(None):  # where to see the results
        experiments_ours.go_on(client, dataset, items)
    client.end(timeout=30)
    # The exporter's requests, which ours.py looks at, are another project's.
    requests = [request for request in requests_of_ours() if "beluga-live" not in exact(request["body"])]
    experiments_ours.expect_requests(requests)

    # The worker tells of a task that raises, and so does who waits for it.
    broke = experiments_official.BROKE
    check("warnings and errors in the client's log", [line[-len(broke):] for line in logged], [broke, broke])
    done(f"{len(requests)} requests, ")


try:
    main()
except Exception:
    # What is missing makes it fail later on; what was found before tells more.
    print(*failures, sep="\n", file=sys.stderr)
    raise
