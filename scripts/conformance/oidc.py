"""Shows the token requests of examples/oauth2_client.rs to an OAuth 2.0 provider that others wrote.

oidc.py READY_FILE EXAMPLE FOLDER

READY_FILE: the line of oidc-provider/server.mjs; EXAMPLE: the example's program; FOLDER: where to write
what the example reads and writes.
"""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote_plus, urlencode

from fake import check, send


class Provider:
    def __init__(self, ready_file, example, folder):
        self.ready = json.loads(Path(ready_file).read_text(encoding="utf-8"))
        self.issuer = self.ready["issuer"]
        self.example = example
        self.token_file = Path(folder) / "token"
        self.assertion_file = Path(folder) / "assertion"

    def made(self, what):
        """What stands for a person's or a platform's part."""
        status, _, body = send(self.issuer, "POST", f"/test/{what}")
        check(status == 200, f"the provider made: {what}", status)
        return body.decode()

    def run(self, client, **variables):
        """One run of the example: whether it got what it wanted, and what it printed."""
        self.token_file.unlink(missing_ok=True)
        set_here = {
            "ISSUER": self.issuer,
            "CLIENT_ID": client["client_id"],
            "CLIENT_SECRET": client.get("client_secret", ""),
            "TOKEN_FILE": str(self.token_file),
            **variables,
        }
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        run = subprocess.run(
            [self.example], env=kept | set_here, capture_output=True, encoding="utf-8", timeout=30,
        )
        printed = run.stdout.strip()
        print("  " + printed.replace("\n", "\n  "), flush=True)
        secrets = [set_here["CLIENT_SECRET"], variables.get("REFRESH_TOKEN", "")]
        for secret in filter(None, secrets):
            check(secret not in run.stdout + run.stderr, "it printed no secret")
        return run.returncode == 0, printed

    def introspect(self):
        """What the provider says of the last token, to a client that is not ours."""
        server = self.ready["server"]
        halves = (quote_plus(server["client_id"]), quote_plus(server["client_secret"]))
        headers = {
            "authorization": "Basic " + base64.b64encode(":".join(halves).encode()).decode(),
            "content-type": "application/x-www-form-urlencoded",
        }
        body = urlencode({"token": self.token_file.read_text(encoding="utf-8")})
        status, _, answer = send(self.issuer, "POST", "/token/introspection", headers, body)
        check(status == 200, "the provider says what the token is", (status, answer))
        return json.loads(answer)


def granted(provider, what, client, scope=None, **variables):
    """A token comes, is used for as long as it lives, and is the one that was asked for."""
    worked, printed = provider.run(client, **variables)
    check(worked, f"{what}: a token")
    said = provider.introspect()
    found = {name: said.get(name) for name in ("active", "client_id", "scope")}
    wanted = {"active": True, "client_id": client["client_id"], "scope": scope}
    check(found == wanted, f"{what}: the provider says that it is active, and whose it is", found)
    seconds = int(re.findall(r"usable for (\d+) s", printed)[-1])
    lives = said["exp"] - said["iat"]
    check(lives - 60 < seconds <= lives, f"{what}: it is used for {seconds} s of {lives} s")
    return said


def refused(provider, what, client, code, **variables):
    worked, printed = provider.run(client, **variables)
    check(not worked and not provider.token_file.exists(), f"{what}: no token")
    check(f'"{code}"' in printed, f"{what}: the error says {code}")
    check("refused" in printed, f"{what}: the error says that it was refused")


def clients(provider):
    ready = provider.ready
    basic, post, signer = ready["basic"], ready["post"], ready["signer"]
    granted(provider, "client_secret_basic, with what must be encoded", basic)
    granted(provider, "client_secret_post", post, AUTH="post")
    granted(
        provider, "a scope and a resource", basic, ready["scopes"],
        SCOPE=ready["scopes"], RESOURCE=ready["resource"],
    )
    said = provider.introspect()
    check(said["aud"] == ready["resource"], "the token is for that resource", said["aud"])
    granted(provider, "one scope of two", post, "things:read", AUTH="post",
            SCOPE="things:read", RESOURCE=ready["resource"])

    provider.assertion_file.write_text(provider.made("assertion"), encoding="utf-8")
    assertion = {"AUTH": "assertion", "ASSERTION_FILE": str(provider.assertion_file)}
    granted(provider, "private_key_jwt", signer, **assertion)
    # The provider takes each assertion once, so this one is refused.
    refused(provider, "an assertion that was used", signer, "invalid_client", **assertion)

    for name, client, auth in (("basic", basic, "basic"), ("post", post, "post")):
        wrong = client | {"client_secret": "wr0ng+" + client["client_secret"]}
        refused(provider, f"a wrong secret by {name}", wrong, "invalid_client", AUTH=auth)
    refused(provider, "a resource that is no URI", basic, "invalid_target", RESOURCE="things")


def refresh_tokens(provider):
    person = provider.ready["person"]
    first = provider.made("refresh-token")
    ways = {"AUTH": "public", "GRANT": "refresh_token"}
    worked, printed = provider.run(person, REFRESH_TOKEN=first, **ways)
    check(worked, "a refresh token: two access tokens, one after the other")
    check("token 2," in printed, "the second is another one")
    check(
        "rotated so far: 2" in printed,
        "it came for the rotated refresh token, and was rotated too",
    )
    said = provider.introspect()
    check(said["active"] is True, "the second token is active")
    # RFC 9700, section 4.14.2: a spent one that is used again ends all that came from it.
    refused(provider, "the spent refresh token again", person, "invalid_grant", REFRESH_TOKEN=first, **ways)


def main(ready_file, example, folder):
    provider = Provider(ready_file, example, folder)
    clients(provider)
    refresh_tokens(provider)


if __name__ == "__main__":
    main(*sys.argv[1:])
