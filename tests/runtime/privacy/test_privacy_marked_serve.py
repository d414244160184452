"""A marked transcript goes through the server, and must be in no answer, error, metric, log line, or file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import runtime_fakes

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")
httpx = pytest.importorskip("httpx", reason="httpx is not installed")

MARK = "MARKED-xyzzy-7f3a"
LONG = " ".join([MARK] * 100)
PROGRAM = """
import typer
from mosear.runtime.commands.serve import serve
from mosear.runtime.terminal import exits
app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
app.command()(serve)
with exits(False):
    app()
"""


@contextmanager
def served(place: Path, bundle: Path, *arguments: str) -> Iterator["httpx.Client"]:
    """A client of a server whose log is ``place/log``, and whose other files can only be in ``place``."""
    for name in ("home", "tmp"):
        (place / name).mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOSEAR_")}
    environment |= {name: str(place / "home") for name in ("HOME", "XDG_CACHE_HOME")} | {"TMPDIR": str(place / "tmp")}
    log = place / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(bundle), "--port", "0", *arguments],
            stdout=file,
            stderr=file,
            env=environment,
            cwd=place / "home",
        )
    try:
        deadline = time.monotonic() + 60
        while "listening on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        url = log.read_text().partition("listening on ")[2].split()[0]
        with httpx.Client(base_url=url, timeout=60) as client:
            yield client
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def said(text: str) -> dict[str, str]:
    return {"Mosear-Transcript": quote(text), "Content-Type": "application/octet-stream"}


def marked(place: Path, answers: "list[httpx.Response]") -> list[str]:
    found = [f"answer {number}" for number, each in enumerate(answers) if MARK in each.text + str(each.headers)]
    files = [path for path in place.rglob("*") if path.is_file()]
    return found + [str(path) for path in files if MARK.encode() in path.read_bytes()]


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_serve(tmp_path: Path, toy_bundle: Path, clip: Path, debug: list[str]) -> None:
    data = clip.read_bytes()
    with served(tmp_path, toy_bundle, *debug) as client:
        good = [
            client.post(path, content=data, headers=said(f"hello {MARK}")) for path in ("/v1/emotion", "/v1/reason")
        ]
        bad = [
            client.post("/v1/emotion", content=b"no media", headers=said(MARK)),
            client.post("/v1/emotion", content=data, headers={"Mosear-Transcript": f"{MARK}%ff%zz"}),
            client.post("/v1/emotion", content=data, headers={"Mosear-Transcript": f"{MARK}%ff%fe"}),
            client.post("/v1/emotion", content=data, headers=said(MARK * 9000)),
            client.post("/v1/emotion", params={"hop": "soon"}, content=data, headers=said(MARK)),
            client.post("/v1/nowhere", content=data, headers=said(MARK)),
            client.put("/v1/emotion", content=data, headers=said(MARK)),
        ]
        told = [client.get(path) for path in ("/metrics", "/openapi.json", "/v2/health/ready", "/v1/live")]
    assert [each.status_code for each in good] == [200, 200], [each.text for each in good]
    assert all(400 <= each.status_code < 500 for each in bad), [each.text for each in bad]
    assert told[0].status_code == 200
    assert marked(tmp_path, [*good, *bad, *told]) == []


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_serve_where_the_transcript_is_what_fails(tmp_path: Path, clip: Path, debug: list[str]) -> None:
    decoder = {**runtime_fakes.manifest_fields()["decoder"], "capacity": 40}
    bundle = runtime_fakes.make_bundle(tmp_path / "forgetful", decoder=decoder)
    with served(tmp_path, bundle, *debug) as client:
        answers = [
            client.post(path, content=clip.read_bytes(), headers=said(LONG)) for path in ("/v1/emotion", "/v1/reason")
        ]
        told = [client.get("/metrics")]
    assert "40" in answers[0].text, "the error says how long a prompt may be"
    assert marked(tmp_path, [*answers, *told]) == []
