"""Our token requests, of every grant, against NVIDIA's OpenAPI documents.

documents.py READY_FILE EXAMPLE PRISM FOLDER DOCUMENT...

READY_FILE: the line of a fake with the outside token `outside-token`; EXAMPLE: the program of
examples/every_grant.rs; PRISM: Prism's program, or an empty text if there is none; FOLDER: where to write.

First the requests that reach the fake are validated here, by the schema of each document; then Prism,
which others wrote, serves each document and is asked for tokens itself.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qsl

from fake import Fake, header, send, skipped
from schema import FORM, JSON, V1, V2, Document

# The way of the example, and what it is called at v1 and v2. v2 knows no outside tokens.
WAYS = {
    "client": ("app_token", "client_credentials"),
    "client-credentials": ("client_credentials", "client_credentials"),
    "password": ("password", "password"),
    "refresh-token": ("refresh_token", "refresh_token"),
    "external-token": ("external_token_exchange", None),
}

# What a grant needs, where the document has no example of it. v1 requires nothing.
NEEDED = {
    V1: {
        "app_token": {"appID", "appSecret"},
        "client_credentials": {"clientID", "clientSecret"},
        "password": {"username", "password"},
        "refresh_token": {"refreshToken"},
        "external_token_exchange": {"externalToken"},
    },
    V2: {
        "client_credentials": {"client_id", "client_secret"},
        "password": {"username", "password"},
        "refresh_token": {"refresh_token"},
    },
}

ENDPOINTS = {V1: ("v1", "grantType", JSON), V2: ("v2", "grant_type", FORM)}


class Report:
    """Unlike check() it goes on, so that one run tells all that is wrong."""

    def __init__(self):
        self.failures = 0

    def __call__(self, holds, what, *found):
        self.failures += not holds
        print(f"{'ok' if holds else 'FAILED'}: {what}", flush=True)
        if not holds:
            for line in found:
                print(f"  found: {line}", flush=True)


class Form:
    """One token endpoint, as a document has it."""

    def __init__(self, document, path):
        self.document = document
        self.path = path
        _, self.grant_member, self.media_type = ENDPOINTS[path]
        body = document.operation("POST", path)["requestBody"]["content"][self.media_type]
        self.schema = body["schema"]
        resolved = self.resolved(self.schema)
        self.members = set(resolved["properties"])
        self.grants = self.resolved(resolved["properties"][self.grant_member])["enum"]
        examples = [example["value"] for example in body.get("examples", {}).values()]
        self.examples = {example[self.grant_member]: set(example) for example in examples}

    def resolved(self, schema):
        if "$ref" in schema:
            return self.document.raw["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema

    def wrong(self, grant, request):
        """What is wrong with a request, in words."""
        wrong = []
        if header(request, "content-type") != self.media_type:
            wrong.append(f"the content type is {header(request, 'content-type')}")
        if self.media_type == JSON:
            pairs = json.loads(request["body"], object_pairs_hook=list)
        else:
            pairs = parse_qsl(request["body"], keep_blank_values=True, strict_parsing=True)
        body = dict(pairs)
        if len(body) != len(pairs):
            wrong.append("a member is there twice")
        wrong += self.document.errors(self.schema, body)
        # `app_token` has the how-to page's and the SDK's `AppId` and `AppSecret`, where the documents write
        # `appID` and `appSecret`. They forbid no members, so what is above says nothing of these; hence
        # the rest, blind to the case for that grant alone.
        if grant == "app_token":
            documented = {name.lower(): name for name in self.members}
            body = {documented.get(name.lower(), name): value for name, value in body.items()}
        strict = {"allOf": [self.schema], "unevaluatedProperties": False}
        wrong += self.document.errors(strict, body)
        if body.get(self.grant_member) != grant:
            wrong.append(f"the grant is {body.get(self.grant_member)}")
        needed = self.examples.get(grant, NEEDED[self.path][grant])
        wrong += [f"{name} is missing" for name in sorted(needed - set(body))]
        return wrong


class Example:
    """examples/every_grant.rs, with the fake's people and applications."""

    def __init__(self, program, fake):
        self.program = program
        self.fake = fake

    def run(self, url, way, endpoint):
        """Whether a token came, and what was printed."""
        made = self.fake.control("POST", "/refresh-token", {"user": "ada@example.com"})
        variables = {
            "RUNAI_BASE_URL": url,
            "RUNAI_CLIENT_ID": self.fake.application["id"],
            "RUNAI_CLIENT_SECRET": self.fake.application["secret"],
            "RUNAI_USERNAME": "ada@example.com",
            "RUNAI_PASSWORD": "p&w+ ä",
            "RUNAI_REFRESH_TOKEN": made["refresh_token"],
            "RUNAI_EXTERNAL_TOKEN": "outside-token",
        }
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        run = subprocess.run(
            [self.program, way, endpoint], env=kept | variables, capture_output=True,
            encoding="utf-8", timeout=30,
        )
        return run.returncode == 0, run.stdout.strip()


class Prism:
    """Prism, serving one document. It refuses a request that does not fit, and says why."""

    def __init__(self, program, document, folder):
        # Prism makes up answers, and 0 for a number, which is not a lifetime: so the answer, and nothing
        # else, gets an example of one.
        raw = json.loads(json.dumps(document.raw))
        answer = raw["components"]["schemas"]["TokenResponse"]["properties"]
        if "expiresIn" in answer:
            answer["expiresIn"]["example"] = 3600
        copy = Path(folder) / document.name
        copy.write_text(json.dumps(raw), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = copy.with_suffix(".log")
        self.process = subprocess.Popen(
            [program, "mock", "--errors", "-h", "127.0.0.1", "-p", str(port), str(copy)],
            stdout=self.log.open("wb"), stderr=subprocess.STDOUT,
        )
        # It makes its own document of it before it listens.
        for _ in range(300):
            if self.process.poll() is not None or "listening on" in self.log.read_text(encoding="utf-8"):
                break
            time.sleep(0.1)
        if "listening on" not in self.log.read_text(encoding="utf-8"):
            self.stop()
            raise RuntimeError(f"Prism did not start:\n{self.log.read_text(encoding='utf-8')}")

    def violations(self):
        return re.findall(r"Violation: (request\..*)", self.log.read_text(encoding="utf-8"))

    def stop(self):
        self.process.terminate()
        self.process.wait()


def our_requests(report, example):
    """The request of each way to each form, as it reached the fake."""
    requests = {}
    for path, (endpoint, _, _) in ENDPOINTS.items():
        for way, grants in WAYS.items():
            grant = grants[path == V2]
            if grant is None:
                continue
            example.fake.forget()
            worked, printed = example.run(example.fake.url, way, endpoint)
            sent = [it for it in example.fake.journal() if it["kind"] == "token" and it["path"] == path]
            report(worked and len(sent) == 1, f"the fake: {way} at {endpoint}: {printed}", sent)
            if sent:
                requests[path, way] = sent[0]
    return requests


def forms(document):
    """The endpoint versions that a document has; it reports the others."""
    for path in (V1, V2):
        if document.operation("POST", path) is None:
            skipped(f"{document.name}: POST {path}", "not in the document")
            continue
        yield Form(document, path)


def by_schema(report, document, requests):
    for form in forms(document):
        name = f"{document.name}: POST {form.path}"
        for (path, way), request in requests.items():
            if path != form.path:
                continue
            grant = WAYS[way][path == V2]
            if grant not in form.grants:
                skipped(f"{name}: {way}", f"it knows no {grant}")
                continue
            wrong = form.wrong(grant, request)
            report(not wrong, f"{name}: {way} ({grant}) fits the schema", *wrong)
        # That the check can fail.
        magic = document.errors(form.schema, {form.grant_member: "magic"})
        report(magic, f"{name}: a grant that does not exist does not fit the schema")


def by_prism(report, prism, document, example):
    for form in forms(document):
        endpoint = ENDPOINTS[form.path][0]
        name = f"Prism, {document.name}: POST {form.path}"
        for way, grants in WAYS.items():
            grant = grants[form.path == V2]
            if grant not in form.grants:
                if grant is not None:
                    skipped(f"{name}: {way}", f"it knows no {grant}")
                continue
            before = prism.violations()
            worked, printed = example.run(prism.url, way, endpoint)
            found = prism.violations()[len(before):]
            report(worked and not found, f"{name}: {way} ({grant}): {printed}", *found)
        body = json.dumps({"grantType": "magic"}) if endpoint == "v1" else "grant_type=magic"
        headers = {"content-type": form.media_type}
        status, answer, _ = send(prism.url, "POST", form.path, headers, body.encode())
        report(
            400 <= status < 500 and form.grant_member in answer.get("sl-violations", ""),
            f"{name}: a grant that does not exist is refused with {status}",
            answer.get("sl-violations"),
        )


def main(ready_file, program, prism_program, folder, *paths):
    report = Report()
    example = Example(program, Fake(ready_file))
    requests = our_requests(report, example)
    documents = [Document(path) for path in paths]
    for document in documents:
        print(f"\n== The schema of {document.name}", flush=True)
        by_schema(report, document, requests)
    if not prism_program:
        skipped("Prism", "it cannot be installed: that takes Node, npm and a package registry")
    for document in documents if prism_program else []:
        print(f"\n== Prism with {document.name}", flush=True)
        prism = Prism(prism_program, document, folder)
        try:
            by_prism(report, prism, document, example)
        finally:
            prism.stop()
    if report.failures:
        print(f"FAILED: {report.failures} of the checks", flush=True)
    sys.exit(report.failures > 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
