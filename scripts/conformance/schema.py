"""Validates what the fake answers, and our token request, against NVIDIA's OpenAPI documents.

schema.py DOCUMENT READY_FILE OUR_REQUEST

OUR_REQUEST: our token request as compare.py wrote it.

The documents hold most members of an object for optional and forbid no others, so this finds a member
that is missing or of a wrong type; it finds no member that is spelt wrong but optional.
"""

import json
import re
import sys
from pathlib import Path
from urllib.parse import urlencode

import jsonschema

from fake import Fake, check, send, skipped

V1 = "/api/v1/token"
V2 = "/api/v2/token"
CLUSTERS = "/api/v1/clusters"
PROJECTS = "/api/v1/org-unit/projects"
RULES = "/api/v1/authorization/me/access-rules"
WORKLOADS = "/api/v1/workloads"
WORKSPACES = "/api/v1/workloads/workspaces"

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

formats = jsonschema.FormatChecker()


@formats.checks("date-time")
def is_date_time(value):
    """RFC 3339; the validator itself checks no date-time without another package."""
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
    return not isinstance(value, str) or re.fullmatch(pattern, value, re.ASCII) is not None


def json_schema(part):
    """OpenAPI 3.0's schemas as JSON Schema's. `allOf` and the rest mean the same in both."""
    if isinstance(part, list):
        return [json_schema(item) for item in part]
    if not isinstance(part, dict):
        return part
    if isinstance(part.get("$ref"), str):
        # What stands beside a `$ref` counts for nothing in 3.0, but the documents write `nullable` there.
        schema = {"$ref": part["$ref"]}
    else:
        # An example is no schema, and may look like one.
        schema = {
            key: json_schema(value)
            for key, value in part.items()
            if key not in ("nullable", "example", "examples")
        }
    if part.get("nullable") is True:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema


class Document:
    def __init__(self, path):
        self.name = Path(path).name
        self.raw = json.loads(Path(path).read_text(encoding="utf-8"))
        # A `$ref` such as `#/components/schemas/Error` is looked up in the schema's own root, so
        # each schema gets the components beside it.
        self.components = {
            "schemas": {
                name: json_schema(schema)
                for name, schema in self.raw["components"]["schemas"].items()
            },
        }

    def operation(self, method, path):
        return self.raw["paths"].get(path, {}).get(method.lower())

    def response(self, method, path, status):
        """The media types of a status, or of what there are none."""
        operation = self.operation(method, path)
        if operation is None:
            return None, f"{method} {path}"
        response = operation["responses"].get(str(status))
        if response is None:
            return None, f"{method} {path} {status}"
        if "$ref" in response:
            response = self.raw["components"]["responses"][response["$ref"].rpartition("/")[2]]
        return response["content"], None

    def errors(self, schema, value):
        schema = {"allOf": [json_schema(schema)], "components": self.components}
        jsonschema.Draft202012Validator.check_schema(schema)
        validator = jsonschema.Draft202012Validator(schema, format_checker=formats)
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


class Checks:
    def __init__(self, document, fake):
        self.document = document
        self.fake = fake
        self.failures = 0
        self.skips = set()

    def answer(self, why, method, path, status, headers=None, body=None, told=None, listed_as=None):
        """One request, whose answer must have that status and be as documented.

        told: the status that the fake is told to answer with; listed_as: the path whose answers are
        the documented ones.
        """
        if told is not None:
            kind = "token" if path in (V1, V2) else "api"
            self.fake.control("POST", f"/{kind}/behaviours", [{"status": told}])
        got, got_headers, got_body = send(self.fake.url, method, path, headers, body)
        what = f"{method} {path} {status} ({why})"
        if got != status:
            return self.found(what, [f"the status is {got}"])
        content, missing = self.document.response(method, listed_as or path, status)
        if content is None:
            return self.skip(missing)
        media_type = got_headers.get_content_type()
        if media_type not in content:
            return self.found(what, [f"the content type is {media_type}"])
        try:
            value = json.loads(got_body)
        except ValueError as error:
            return self.found(what, [f"the body is no JSON: {error}"])
        return self.found(what, self.document.errors(content[media_type]["schema"], value))

    def skip(self, missing):
        """Told once."""
        if missing not in self.skips:
            self.skips.add(missing)
            skipped(f"{self.document.name}: {missing}", "not in the document")

    def found(self, what, errors):
        """Unlike the other scripts this one goes on, so that one run tells all that is wrong."""
        self.failures += bool(errors)
        verdict = "FAILED" if errors else "ok"
        print(f"{verdict}: {self.document.name}: {what}", flush=True)
        for error in errors:
            print(f"  {error}", flush=True)


def token_v1(checks, application):
    def post(why, status, body, told=None, content_type=JSON):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        checks.answer(why, "POST", V1, status, {"content-type": content_type}, body, told)

    grant = {"grantType": "app_token", "AppId": application["id"], "AppSecret": application["secret"]}
    post("as asked by the how-to", 200, grant)
    as_documented = {
        "grantType": "app_token", "appID": application["id"], "appSecret": application["secret"],
    }
    post("as asked by the documents", 200, as_documented)
    credentials = {
        "grantType": "client_credentials",
        "clientID": application["id"], "clientSecret": application["secret"],
    }
    post("client credentials", 200, credentials)
    post("no JSON", 400, b"{")
    post("not said to be JSON", 400, grant, content_type="text/plain")
    post("no grant type", 400, {})
    post("an unknown grant type", 400, {"grantType": "magic"})
    post("no secret", 400, {"grantType": "app_token", "AppId": application["id"]})
    post("a wrong secret", 401, grant | {"AppSecret": "wrong"})
    for status in (400, 401, 403, 500, 503):
        post("told", status, grant, told=status)


def token_v2(checks, application):
    def post(why, status, body, told=None, content_type=FORM):
        checks.answer(
            why, "POST", V2, status, {"content-type": content_type}, urlencode(body).encode(), told,
        )

    grant = {
        "grant_type": "client_credentials",
        "client_id": application["id"], "client_secret": application["secret"],
    }
    post("client credentials", 200, grant)
    post("not said to be a form", 400, grant, content_type="text/plain")
    post("no grant type", 400, {})
    post("an unknown grant type", 400, grant | {"grant_type": "magic"})
    post("no secret", 400, {"grant_type": "client_credentials", "client_id": application["id"]})
    post("a wrong secret", 401, grant | {"client_secret": "wrong"})
    for status in (400, 401, 500, 503):
        post("told", status, grant, told=status)


def api(checks, application):
    grant = {"grantType": "app_token", "AppId": application["id"], "AppSecret": application["secret"]}
    _, _, token = send(checks.fake.url, "POST", V1, {"content-type": JSON}, json.dumps(grant).encode())
    bearer = {"authorization": f"Bearer {json.loads(token)['accessToken']}"}
    rule = {"application": application["id"], "granted": False}
    for path in (CLUSTERS, PROJECTS, RULES, WORKLOADS):
        checks.answer("a bearer that holds", "GET", path, 200, bearer)
        checks.answer("no bearer", "GET", path, 401)
        checks.answer("a bearer that is none of ours", "GET", path, 401, {"authorization": "Bearer x.y.z"})
        checks.fake.control("POST", "/access-rule", rule)
        checks.answer("no access rule", "GET", path, 403, bearer)
        checks.fake.control("POST", "/access-rule", rule | {"granted": True})
        for status in (400, 401, 403, 404, 500, 503):
            checks.answer("told", "GET", path, status, bearer, told=status)
    # That path is in no document; an unknown one is to be answered as a resource that is not there.
    checks.answer("nothing there", "GET", "/api/v1/nothing", 404, bearer, listed_as=CLUSTERS)
    body = json.dumps({"name": "w"}).encode()
    checks.answer("a submission", "POST", WORKSPACES, 202, bearer | {"content-type": JSON}, body)
    checks.answer("no JSON", "POST", WORKSPACES, 400, bearer | {"content-type": JSON}, b"{")


def our_request(checks, request):
    """Our token request's body.

    The how-to pages, and NVIDIA's SDK, write `AppId` and `AppSecret`; the documents write `appID` and
    `appSecret`. The documents require no member and forbid none, so the body fits them either way, and
    the schema alone would say nothing of these members. Hence the second check, blind to the case.
    """
    operation = checks.document.operation("POST", V1)
    schema = operation["requestBody"]["content"][JSON]["schema"]
    body = json.loads(request["body"])
    checks.found("our token request", checks.document.errors(schema, body))
    known = checks.document.raw["components"]["schemas"]["TokenRequest"]["properties"]
    documented = {name.lower(): name for name in known}
    lowered = {documented.get(name.lower(), name): value for name, value in body.items()}
    strict = {"allOf": [schema], "unevaluatedProperties": False}
    checks.found(
        "our token request, its members as the document spells them",
        checks.document.errors(strict, lowered),
    )


def main(document, ready_file, our_file):
    fake = Fake(ready_file)
    checks = Checks(Document(document), fake)
    token_v1(checks, fake.application)
    token_v2(checks, fake.application)
    api(checks, fake.application)
    our_request(checks, json.loads(Path(our_file).read_text(encoding="utf-8")))
    check(checks.failures == 0, f"{checks.document.name}: nothing is wrong", checks.failures)


if __name__ == "__main__":
    main(*sys.argv[1:])
