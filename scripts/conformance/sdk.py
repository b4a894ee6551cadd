"""Drives the fake with NVIDIA's SDK (runapy), and looks in the fake's journal for what it did.

sdk.py READY_FILE SDK_REQUEST [CAPTURES]

SDK_REQUEST: where to write the SDK's token request for compare.py; CAPTURES: the directory of the
captures of the same SDK, if there is one: what it sends to the fake must be what it sent then.
"""

import json
import sys
import time
from pathlib import Path

import urllib3
from runai.api_client import ApiClient
from runai.configuration import Configuration
from runai.exceptions import ForbiddenException
from runai.runai_client import RunaiClient

from fake import Fake, captured, check, header

# The SDK refreshes this long before the token's `exp`, by the local clock.
MARGIN = 60
# So much longer the first token lives. `exp` is in whole seconds, so with 2 the refresh is due
# between 1 s and 2 s after the token was issued: time enough for the calls before it.
SPARE = 2

TOKEN = ("POST", "/api/v1/token")
CLUSTERS = ("GET", "/api/v1/clusters")
PROJECTS = ("GET", "/api/v1/org-unit/projects")


def new_client(fake):
    return RunaiClient(ApiClient(Configuration(
        client_id=fake.application["id"],
        client_secret=fake.application["secret"],
        runai_base_url=fake.url,
    )))


def clusters(client):
    return client.organizations.clusters.get_clusters().data


def projects(client):
    return client.organizations.projects.get_projects().data


def was_asked(fake):
    return [(request["method"], request["path"]) for request in fake.journal()]


def reads(fake, client):
    found = clusters(client)
    check(isinstance(found, list) and found and found[0]["uuid"], "the SDK lists the clusters", found)
    found = projects(client)
    check(found.get("projects") and found["projects"][0]["id"], "the SDK lists the projects", found)
    asked = was_asked(fake)
    check(asked == [TOKEN, CLUSTERS, PROJECTS], "one token request served both calls", asked)
    token, *calls = fake.journal()
    check(
        token["status"] == 200 and token["client"] == fake.application["id"],
        "the token was granted to the application", token,
    )
    check(
        all(call["status"] == 200 and call["generation"] == token["generation"] for call in calls),
        "both calls carried it",
    )
    return [request for request in fake.journal() if request["path"] != CLUSTERS[1]]


def refreshes(fake, client):
    expires_at = fake.control("GET", "/issued")[-1]["expires_at"]
    wait = expires_at - MARGIN - time.time()
    check(0 < wait <= SPARE, f"the refresh is due in {max(wait, 0):.1f} s", wait)
    fake.forget()
    time.sleep(wait + 0.05)
    projects(client)
    asked = was_asked(fake)
    check(asked == [TOKEN, PROJECTS], f"{MARGIN} s before the expiry the SDK got a new token first", asked)
    refresh = token, call = fake.journal()
    check(
        call["status"] == 200 and call["generation"] == token["generation"],
        "the call carried the new token",
    )
    fake.forget()
    projects(client)
    asked = was_asked(fake)
    check(asked == [PROJECTS], "the next call went with it too, without a token request", asked)
    return list(refresh)


def sees_401(fake, client):
    fake.forget()
    fake.control("POST", "/revoke", {})
    try:
        found = projects(client)
    except urllib3.exceptions.MaxRetryError as error:
        found = str(error.reason)
    check(found == "too many 401 error responses", "with its token revoked the SDK gave up on 401", found)
    asked = was_asked(fake)
    check(asked == [PROJECTS] * 4, "after it had re-sent thrice, and asked for no new token", asked)
    journal = fake.journal()
    check(
        all(call["status"] == 401 for call in journal)
        and len({header(call, "authorization") for call in journal}) == 1,
        "each time with the same token and a 401",
    )
    # The back-off is 0 s, 1 s and 2 s; it may be longer on a busy machine.
    at = [call["at_ms"] for call in journal]
    gaps = [later - earlier for earlier, later in zip(at, at[1:])]
    check(
        all(gap >= least for gap, least in zip(gaps, (0, 900, 1900))),
        f"with a back-off of {', '.join(f'{gap / 1000:.1f} s' for gap in gaps)}", gaps,
    )


def sees_403(fake, client):
    fake.forget()
    rule = {"application": fake.application["id"], "granted": False}
    fake.control("POST", "/access-rule", rule)
    try:
        found = projects(client)
    except ForbiddenException as error:
        found = (error.status, error.data)
    fake.control("POST", "/access-rule", rule | {"granted": True})
    expected = {"code": 403, "message": "You do not have sufficient permissions."}
    check(found == (403, expected), "without an access rule the SDK saw the documented 403", found)
    asked = was_asked(fake)
    check(asked == [PROJECTS], "and asked once only", asked)


def outline(requests, only=None):
    """The requests as far as two runs agree: the token is told by which of the run's it was."""
    tokens, lines = [], []
    for request in requests:
        bearer = header(request, "authorization")
        if bearer is not None and bearer not in tokens:
            tokens.append(bearer)
        headers = sorted(
            (name.lower(), value)
            for name, value in request["headers"]
            # The ports, credentials, machines and Pythons differ.
            if name.lower() not in {"host", "authorization", "content-length", "user-agent"}
        )
        which = None if bearer is None else tokens.index(bearer)
        lines.append((request["method"], request["path"], request["query"], headers, which))
    return lines


def as_captured(captures, name, requests):
    capture = captured(Path(captures) / name)
    check(
        outline(requests) == outline(capture),
        f"all {len(capture)} requests are as in {name}", (outline(requests), outline(capture)),
    )


def main(ready_file, sdk_request, captures=None):
    fake = Fake(ready_file)

    # 1. A token, two lists, and a refresh.
    fake.control("POST", "/token/behaviours", [{"token": {"lifetime": MARGIN + SPARE}}])
    fake.forget()
    client = new_client(fake)
    first_token = fake.journal()
    check(len(first_token) == 1, "the SDK asks for a token when it is made", was_asked(fake))
    Path(sdk_request).write_text(json.dumps(first_token[0]), encoding="utf-8")
    read = reads(fake, client)
    refreshed = refreshes(fake, client)

    # 2. Refusals, each with a new client: its token is not about to expire, and not revoked yet.
    fake.forget()
    client = new_client(fake)
    refused = fake.journal()
    sees_401(fake, client)
    refused += fake.journal()

    fake.forget()
    client = new_client(fake)
    forbidden = fake.journal()
    sees_403(fake, client)
    forbidden += fake.journal()

    # 3. All that is what the SDK sends to other servers too.
    if captures:
        as_captured(captures, "sdk-01_client_credentials_ApiClient.txt", read)
        as_captured(captures, "sdk-12_auto_refresh_60s_margin.txt", read + refreshed)
        as_captured(captures, "sdk-10_api_401_no_token_refresh.txt", refused)
        as_captured(captures, "sdk-11_api_403.txt", forbidden)


if __name__ == "__main__":
    main(*sys.argv[1:])
