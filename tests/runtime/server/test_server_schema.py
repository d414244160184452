"""Requests made up from the OpenAPI document, against a running server: what it answers is what the document says."""

import subprocess
import sys
from pathlib import Path

import httpx
from server_fakes import TOKEN, FakeLive, serving, until

EXAMPLES = 20
# Bytes made up from a schema are no clip: 415 and 422 are right answers to them. All else is as schemathesis has it.
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "415", "422"]
"""
# The answer of this one has no end; see test_server_events.
ENDLESS = "/v1/events"


def test_answers_are_as_documented(tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    with serving(tmp_path, FakeLive(), token=TOKEN, allow_picture=True) as server:
        authorization = f"Authorization: Bearer {TOKEN}"
        command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
        command += ["--config-file", str(config), "run", f"{server.url}/openapi.json", "--header", authorization]
        command += ["--exclude-path", ENDLESS, "--phases", "examples,coverage,fuzzing", "--mode", "all"]
        command += ["--max-examples", str(EXAMPLES), "--seed", "1", "--generation-database", "none", "--no-color"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        until(server.at_rest)
        # It really asked, and of every kind.
        text = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
        for status in (200, 400, 401, 405):
            assert f'mosear_requests_total{{path="/v1/emotion",status="{status}"}}' in text
        assert 'status="500"' not in text
