"""What authentication, policy and the audit trail add to a read: three servers on one MongoDB, measured in turns.

The figure that counts is the CPU of the server for a request, as a ratio of one run; all of them read the same resources, and
all get the same headers.
"""

import contextlib
import http.server
import json
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import ECKey

from bench import load as generator
from bench import processes
from bench.load import Load
from bench.report import table, verdict

OVERHEAD: Final = 0.25
IN_FLIGHT: Final = (16, 64)
ISSUER: Final = "https://id.bench.example"
AUDIENCE: Final = "https://bench.example/fhir"
LIFETIME: Final = 86_400
OPEN: Final = "nobody is asked"
ALL: Final = "and the audit trail"
_KEY: Final = ECKey.generate_key("P-256", {"kid": "bench"})


def security(load: Load, directory: Path) -> dict[str, Any]:
    """Measure reads of a server that asks nobody, of one that asks for tokens, and of one that keeps the audit trail too."""
    with contextlib.ExitStack() as stack:
        mongod = stack.enter_context(processes.mongod())
        keys = stack.enter_context(_key_set())
        asking = {"FHIR_AUTH_ISSUERS": f"{ISSUER}|{keys}", "FHIR_AUTH_AUDIENCE": AUDIENCE}
        kinds: Mapping[str, Mapping[str, str]] = {
            OPEN: {},
            "authentication and policy": {**asking, "FHIR_AUDIT": "off"},
            ALL: {**asking, "FHIR_AUDIT": "all"},
        }
        servers = {
            kind: stack.enter_context(processes.server(mongod.uri, workers=1, environment=environment))
            for kind, environment in kinds.items()
        }
        state = directory / "security.json"
        seed = replace(load, seconds=0.2, repeats=1, warmup=0, noise_limit=0)
        generator.run(servers[OPEN].base_url, ("read",), seed, state=state)
        rows = {str(number): _measured(servers, replace(load, concurrency=number), state) for number in IN_FLIGHT}
    print("\nAuthentication, policy and audit trail: CPU of one worker for a read\n")
    print(_table(rows))
    return rows


def _measured(servers: Mapping[str, processes.Process], load: Load, state: Path) -> dict[str, dict[str, float]]:
    """Return the milliseconds of CPU and the requests a second of each server: medians, and of the ratios of each round."""
    once, header = replace(load, repeats=1), f"Authorization: Bearer {_token()}"
    cpu: dict[str, list[float]] = {kind: [] for kind in servers}
    rate: dict[str, list[float]] = {kind: [] for kind in servers}
    for _ in range(max(3, load.repeats)):
        for kind, server in servers.items():
            watch = {"server": server.pid}
            row = generator.run(server.base_url, ("read",), once, state=state, watch=watch, quiet=True, headers=(header,))["read"]
            cpu[kind].append(generator.cpu_ms(row))
            rate[kind].append(row["throughput"])
    return {
        kind: {
            "cpu_ms": statistics.median(cpu[kind]),
            "throughput": statistics.median(rate[kind]),
            "more": statistics.median(one / base for one, base in zip(cpu[kind], cpu[OPEN], strict=True)) - 1,
        }
        for kind in servers
    }


def _table(rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    cells = [
        (
            *(number, kind, round(row["cpu_ms"] * 1000), row["throughput"], f"{row['more'] * 100:.0f} %"),
            *((f"<= {OVERHEAD * 100:.0f} %", verdict(row["more"], OVERHEAD)) if kind == ALL else ("", "")),
        )
        for number, kinds in rows.items()
        for kind, row in kinds.items()
    ]
    return table(("in flight", "a read", "CPU µs", "req/s", "more CPU", "target", "kept"), cells)


def _token() -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "somebody",
        "client_id": "bench",
        "iat": now,
        "exp": now + LIFETIME,
        "scope": "user/*.cruds",
        "roles": ["admin"],
    }
    return jwt.encode({"alg": "ES256", "kid": "bench"}, claims, _KEY)


@contextlib.contextmanager
def _key_set() -> Iterator[str]:
    """Yield the address of the key set that tokens are verified by."""
    data = json.dumps({"keys": [_KEY.as_dict(private=False)]}).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/jwks.json"
        finally:
            server.shutdown()
            thread.join()
