"""What the other scripts here share: the fake's control interface, the captures, and how checks are told."""

import http.client
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit


def check(holds, what, found=None):
    """One line per check; the first that fails ends the script."""
    if holds:
        print(f"ok: {what}", flush=True)
        return
    print(f"FAILED: {what}" + ("" if found is None else f"\n  found: {found!r}"), flush=True)
    sys.exit(1)


def skipped(what, why):
    print(f"skipped: {what}: {why}", flush=True)


def send(base, method, path, headers=None, body=None):
    """One request, with nothing added and nothing tried again: status, headers, body."""
    where = urlsplit(base)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=10)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


class Fake:
    """A running fake, from the line that it printed when it was ready."""

    def __init__(self, ready_file):
        ready = json.loads(Path(ready_file).read_text(encoding="utf-8"))
        self.url = ready["url"]
        self.control_url = ready["control_url"]
        self.application = ready["applications"][0]

    def control(self, method, path, body=None):
        body = None if body is None else json.dumps(body).encode()
        status, _, answer = send(self.control_url, method, path, body=body)
        answer = json.loads(answer)
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        return answer

    def journal(self):
        return self.control("GET", "/journal")

    def forget(self):
        self.control("DELETE", "/journal")


def captured(path):
    """The requests of a capture, in the journal's form as far as a capture goes."""
    requests = []
    text = Path(path).read_text(encoding="utf-8")
    for part in text.split("\n----- ")[1:]:
        # The first line is the rest of the ruler; a capture ends a request with empty lines.
        _, _, part = part.partition("\n")
        head, _, body = part.partition("\n\n")
        request_line, *header_lines = head.split("\n")
        method, target, _version = request_line.split(" ")
        path, question_mark, query = target.partition("?")
        requests.append({
            "method": method,
            "path": path,
            "query": query if question_mark else None,
            "headers": [line.split(": ", 1) for line in header_lines],
            "body": body.strip("\n"),
        })
    return requests


def header(request, name):
    values = [value for key, value in request["headers"] if key.lower() == name]
    return values[0] if len(values) == 1 else None
