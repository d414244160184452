"""`mosear serve` as a process, with the toy bundle and the real decoders."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import runtime_media
from server_fakes import PATIENCE_S, TOKEN, head, read_all, until

MARKED = "the-marked-transcript"
PROGRAM = """
import sys
import typer
from mosear.runtime.commands.serve import serve
from mosear.runtime.terminal import exits
app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
app.command()(serve)
with exits(False):
    app()
"""
SLOW = """
import time
from mosear.runtime.pipeline import Pipeline
whole = Pipeline.analyse
def slowly(self, *arguments):
    time.sleep(0.5)
    return whole(self, *arguments)
Pipeline.analyse = slowly
"""


class Process:
    """The command, and what it said."""

    def __init__(self, popen: "subprocess.Popen[str]") -> None:
        self.popen = popen
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def url(self) -> str:
        found = [line.split()[-1] for line in self.lines if line.startswith("listening on ")]
        assert self.popen.poll() is None or found, self.text
        return found[0] if found else ""

    def end(self, number: int = signal.SIGTERM) -> int:
        self.popen.send_signal(number)
        code = self.popen.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code


@contextmanager
def serving(bundle: Path, tmp_path: Path, *options: object, before: str = "", **more: object) -> Iterator[Process]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MOSEAR_")}
    environment |= {"TMPDIR": str(tmp_path), **more.pop("environment", {})}  # type: ignore[dict-item]
    command = [sys.executable, "-c", before + PROGRAM, str(bundle), "--decoders", "1", *map(str, options)]
    popen = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **more,  # type: ignore[call-overload]
    )
    try:
        yield Process(popen)
    finally:
        popen.kill()
        popen.wait()
        assert popen.stdout is not None
        assert popen.stdout.read() == ""
        for each in (popen.stdout, popen.stderr):
            if each is not None:
                each.close()


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return runtime_media.write(tmp_path_factory.mktemp("clips") / "long.mp4", seconds=9.0).read_bytes()


def test_a_real_clip_and_nothing_of_it_anywhere_else(toy_bundle: Path, clip: Path, tmp_path: Path) -> None:
    with serving(toy_bundle, tmp_path, "--port", 0, "--debug") as process:
        url = until(lambda: process.url)
        assert process.lines[0] == "This is a toy and reads nobody."
        headers = {"Mosear-Transcript": quote(f"hello {MARKED}")}
        answer = httpx.post(f"{url}/v1/emotion", content=clip.read_bytes(), headers=headers, timeout=PATIENCE_S)
        assert answer.status_code == 200
        (emotion,) = answer.json()["emotions"]
        assert (emotion["clip"], emotion["end"], emotion["states"]) == ("upload", 3.0, [])
        assert abs(sum(emotion["scores"].values()) - 1) < 1e-4
        reasons = httpx.post(f"{url}/v1/reason", content=clip.read_bytes(), headers=headers, timeout=PATIENCE_S)
        assert "reason" in json.loads(reasons.text.splitlines()[0])
        garbage = httpx.post(f"{url}/v1/emotion?window=2.{MARKED}", content=MARKED.encode(), headers=headers)
        assert garbage.status_code == 400
        garbage = httpx.post(f"{url}/v1/emotion", content=MARKED.encode(), headers=headers)
        assert garbage.status_code == 415
        httpx.get(f"{url}/{MARKED}?{MARKED}", headers={MARKED: MARKED, "Cookie": MARKED})
        outputs = [httpx.get(url + path).text for path in ("/metrics", "/v1/live", "/openapi.json", "/docs")]
        outputs += [answer.text, reasons.text, garbage.text]
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        assert process.end() == 0
        assert "POST /v1/emotion 200" in process.text
        for text in (*outputs, process.text):
            assert MARKED not in text
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("limit", "value", "status"),
    [("--max-seconds", 2, 422), ("--max-megapixels", 0.003, 422), ("--decode-seconds", 1e-6, 408)],
)
def test_limits_on_real_clips(
    toy_bundle: Path, clip: Path, tmp_path: Path, limit: str, value: float, status: int
) -> None:
    with serving(toy_bundle, tmp_path, "--port", 0, limit, value) as process:
        url = until(lambda: process.url)
        for accept in ("application/json", "application/x-ndjson"):
            answer = httpx.post(f"{url}/v1/emotion", content=clip.read_bytes(), headers={"Accept": accept})
            assert answer.status_code == status, answer.text
            assert set(answer.json()["error"]) == {"what", "fix"}
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_what_runs_is_finished_when_it_is_told_to_stop(
    toy_bundle: Path, long_clip: bytes, tmp_path: Path, number: int, code: int
) -> None:
    with serving(toy_bundle, tmp_path, "--port", 0, before=SLOW) as process:
        url = until(lambda: process.url)
        with httpx.stream(
            "POST",
            f"{url}/v1/emotion",
            content=long_clip,
            headers={"Accept": "application/x-ndjson"},
            timeout=PATIENCE_S,
        ) as answer:
            lines = answer.iter_lines()
            assert answer.status_code == 200, [*lines, process.text]
            assert json.loads(next(lines))["start"] == 0.0
            process.popen.send_signal(number)
            assert [json.loads(line)["start"] for line in lines] == [3.0, 6.0]
        assert process.popen.wait(PATIENCE_S) == code
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
        assert list(tmp_path.iterdir()) == []
        assert "Traceback" not in process.text


def test_the_grace_ends(toy_bundle: Path, long_clip: bytes, tmp_path: Path) -> None:
    with serving(toy_bundle, tmp_path, "--port", 0, "--grace", 0.1, before=SLOW) as process:
        port = int(until(lambda: process.url).rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as line:
            line.sendall(head("POST", "/v1/emotion", f"Content-Length: {len(long_clip)}") + long_clip)
            until(lambda: [path for path in tmp_path.rglob("*") if path.is_file()])
            process.popen.send_signal(signal.SIGTERM)
            assert b" 200 " not in read_all(line)
        assert process.popen.wait(PATIENCE_S) == 0
        assert list(tmp_path.iterdir()) == []


def refused(process: Process, code: int) -> tuple[str, str]:
    """The two lines that the command ended with."""
    assert process.popen.wait(PATIENCE_S) == code
    process._reader.join(PATIENCE_S)
    assert "Traceback" not in process.text
    assert process.lines[-2].startswith("error: ")
    assert process.lines[-1].startswith("  fix: ")
    return process.lines[-2], process.lines[-1]


def test_a_port_in_use_is_told_before_the_model_is_loaded(toy_bundle: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving(tmp_path / "no bundle", tmp_path, "--port", port) as process:
            what, fix = refused(process, 1)
            assert f"port {port} is in use" in what
            assert "--port" in fix


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--host", "0.0.0.0"], 2, "no token"),
        (["--token-file", "/nonexistent"], 3, "/nonexistent"),
        (["--host", "203.0.113.7", "--token-file", "TOKEN"], 1, "203.0.113.7"),
        (["--queue", "0"], 2, "queue"),
        (["--allow-host", "http://x"], 2, "http://x"),
    ],
)
def test_what_can_t_be_is_refused_in_two_lines(
    toy_bundle: Path, tmp_path: Path, options: list[str], code: int, said: str
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    given = [str(token) if option == "TOKEN" else option for option in options]
    with serving(toy_bundle, tmp_path, *given) as process:
        assert said in refused(process, code)[0]


def test_a_token_from_the_environment_opens_it_to_others(toy_bundle: Path, tmp_path: Path) -> None:
    options = ("--port", 0, "--host", "0.0.0.0")
    with serving(toy_bundle, tmp_path, *options, environment={"MOSEAR_TOKEN": TOKEN}) as process:
        port = until(lambda: process.url).rpartition(":")[2]
        url = f"http://127.0.0.1:{port}/v1/live"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert process.end() == 0
        assert TOKEN not in process.text


def test_a_socket_that_systemd_keeps_refuses_nobody_through_a_restart(
    toy_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    activated = """
import os
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.dup2(int(os.environ.pop("TEST_FD")), 3)
"""
    with socket.create_server(("127.0.0.1", 0)) as kept:
        url = f"http://127.0.0.1:{kept.getsockname()[1]}"
        more = {"before": activated, "pass_fds": [kept.fileno()], "environment": {"TEST_FD": str(kept.fileno())}}
        with serving(toy_bundle, tmp_path, **more) as process:
            assert until(lambda: process.url) == url
            assert httpx.get(f"{url}/v2/health/ready").status_code == 200
            assert process.end() == 0
        statuses: list[int] = []
        asking = threading.Thread(
            target=lambda: statuses.append(
                httpx.post(f"{url}/v1/emotion", content=clip.read_bytes(), timeout=60).status_code
            )
        )
        asking.start()  # while nobody serves: it waits in the socket's queue
        with serving(toy_bundle, tmp_path, **more) as process:
            asking.join(60)
            assert statuses == [200]
            assert process.end() == 0


def test_it_ends_while_it_is_starting(toy_bundle: Path, tmp_path: Path) -> None:
    with serving(toy_bundle, tmp_path, "--port", 0) as process:
        until(lambda: process.lines)  # the notice: the model is loaded, the decoders are being started
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(PATIENCE_S) == 0
        assert list(tmp_path.iterdir()) == []
