"""What the tests with LangSmith's official Python client share."""

import json
import logging
import os
import socket
import sys
import urllib.request
import warnings

# Some of its methods are to be replaced in 2027; they are what its users call today.
warnings.simplefilter("ignore", DeprecationWarning)

checks = 0
logged = []


class Collect(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            logged.append(record.getMessage())


logging.getLogger("langsmith").addHandler(Collect())


def only_loopback():
    """Nothing may talk to the outside: the client would report there if it were told so by mistake."""
    connect = socket.socket.connect

    def guarded(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            logged.append(f"a connection to {address}")
            raise OSError(f"a connection to {address}")
        return connect(self, address)

    socket.socket.connect = guarded


def check(what, found, expected):
    global checks
    checks += 1
    if found != expected:
        sys.exit(f"{what}:\n  found    {found!r}\n  expected {expected!r}")


def refused(what, error, act):
    global checks
    checks += 1
    try:
        act()
    except error:
        return
    sys.exit(f"{what}: expected {error.__name__}")


def sandbox(what):
    """What the sandbox itself says it holds."""
    root = os.environ["LANGSMITH_ENDPOINT"].removesuffix("/langsmith")
    with urllib.request.urlopen(f"{root}/_sandbox/{what}") as answer:
        return json.load(answer)


def done():
    check("warnings and errors in the client's log, and connections", logged, [])
    print(f"   {checks} checks")
