"""Compares our token request with that of NVIDIA's SDK.

compare.py READY_FILE SDK_REQUEST OURS [CAPTURES]

READY_FILE: the line of the fake whose journal holds our requests; SDK_REQUEST: what sdk.py wrote; OURS:
where to write our request for schema.py; CAPTURES: the directory of the captures, if there is one.
"""

import json
import sys
from pathlib import Path

from fake import Fake, captured, check

# Who sends it, where to and how: these differ with every client.
# Accept-Encoding: a client that unpacks nothing need not say `identity`.
NOT_COMPARED = {"user-agent", "accept-encoding", "host", "content-length"}


def comparable(request):
    """What is to be the same, and nothing else. JSON escapes may differ, the order of the members not."""
    headers = [(name.lower(), value) for name, value in request["headers"]]
    return {
        "method": request["method"],
        "path": request["path"],
        "query": request["query"],
        "headers": sorted(pair for pair in headers if pair[0] not in NOT_COMPARED),
        "members, in order": json.loads(request["body"], object_pairs_hook=list),
    }


def compare(ours, theirs, whose):
    ours, theirs = comparable(ours), comparable(theirs)
    for part in ours:
        same = ours[part] == theirs[part]
        check(same, f"our token request has {whose} {part}", None if same else (ours[part], theirs[part]))


def main(ready_file, sdk_request, ours_file, captures=None):
    fake = Fake(ready_file)
    journal = fake.journal()
    tokens = [request for request in journal if request["kind"] == "token"]
    check(len(tokens) == 1, "the quickstart made one token request", len(tokens))
    ours = tokens[0]
    check(ours["status"] == 200, "it was granted", ours["status"])
    calls = [request for request in journal if request["kind"] == "api"]
    check(
        calls and all(call["status"] == 200 for call in calls),
        f"the quickstart's {len(calls)} calls were answered with 200",
        [(call["path"], call["status"]) for call in calls],
    )
    check(
        all(call["generation"] == ours["generation"] for call in calls),
        "they carried that token",
    )
    compare(ours, json.loads(Path(sdk_request).read_text(encoding="utf-8")), "the SDK's")
    if captures:
        capture = Path(captures) / "sdk-01_client_credentials_ApiClient.txt"
        compare(ours, captured(capture)[0], "the captured one's")
    Path(ours_file).write_text(json.dumps(ours), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
