"""`mosear serve` with a live source: a file in the place of a camera, the toy bundle, the page in a real browser."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
import runtime_media
from page_browser import Browser
from server_fakes import PATIENCE_S, until
from test_server_command import serving


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s with structure, so that no lens counts as covered, and a tone."""
    size = (128, 96)

    def frame(index: int):
        picture = runtime_media.flat(size, 60 + index)
        picture[20:60, 30:90] = 255 - picture[20:60, 30:90]
        picture[70:90, 5:20] //= 2
        return picture

    return runtime_media.write(tmp_path_factory.mktemp("scene") / "scene.mp4", 4.0, fps=10, size=size, frames=frame)


def live(scene: Path, *more: object) -> tuple[object, ...]:
    return ("--port", 0, "--camera", scene, "--loop", "--no-vad", "--hop", "0.5", *more)


def events(url: str, count: int) -> list[dict]:
    """The first events of a stream."""
    found: list[dict] = []
    with httpx.stream("GET", f"{url}/v1/events", timeout=PATIENCE_S) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line[6:]))
                if len(found) == count:
                    break
    return found


def test_answers_status_picture_reason_and_metrics(toy_bundle: Path, scene: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with serving(toy_bundle, tmp_path, *live(scene, "--sink", f"jsonl:{log}", "--allow-picture")) as server:
        until(lambda: server.url)
        seen = events(server.url, 6)
        assert seen[0]["type"] == "status"
        answers = [each["emotion"] for each in seen if each["type"] == "emotion"]
        assert [each["live"]["sequence"] for each in answers] == list(
            range(answers[0]["live"]["sequence"], answers[0]["live"]["sequence"] + len(answers))
        )
        about = httpx.get(f"{server.url}/v1/live").json()
        assert about["hop_s"] == 0.5
        assert about["status"]["running"] is True
        assert [(each["kind"], each["condition"]) for each in about["status"]["sources"]] == [("camera", "live")]
        assert [(each["name"], each["condition"]) for each in about["status"]["sinks"]] == [(f"jsonl:{log}", "live")]
        picture = httpx.get(f"{server.url}/v1/live/picture")
        assert picture.content[:2] == b"\xff\xd8"
        assert httpx.post(f"{server.url}/v1/live/reason").status_code == 202
        until(lambda: log.exists() and '"reason"' in log.read_text())
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'mosear_source_up{kind="camera",name="scene.mp4"} 1.0' in metrics
        counted = {line.split()[0]: float(line.split()[1]) for line in metrics.splitlines() if line[0] != "#"}
        assert counted["mosear_windows_total"] >= len(answers)
        assert counted['mosear_window_seconds_count{stage="prefill"}'] == counted["mosear_windows_total"]
        assert server.end() == 0
        kept = [json.loads(line)["live"]["sequence"] for line in log.read_text().splitlines()]
        assert kept == list(range(1, len(kept) + 1))
        assert "Traceback" not in server.text


def test_uploads_are_answered_while_it_watches(toy_bundle: Path, scene: Path, clip: Path, tmp_path: Path) -> None:
    with serving(toy_bundle, tmp_path, *live(scene)) as server:
        until(lambda: server.url)
        for _ in range(5):
            answer = httpx.post(f"{server.url}/v1/emotion", content=clip.read_bytes(), timeout=PATIENCE_S)
            assert answer.status_code == 200, answer.text
            assert answer.json()["emotions"][0]["clip"] == "upload"
            assert "live" not in answer.json()["emotions"][0]
        before = httpx.get(f"{server.url}/v1/live").json()["status"]["answers"]
        until(lambda: httpx.get(f"{server.url}/v1/live").json()["status"]["answers"] > before + 1)


def test_a_batch_that_the_bundle_can_t_take_is_refused(toy_bundle: Path, tmp_path: Path) -> None:
    limited = """
from mosear.runtime.pipeline import Pipeline
whole = Pipeline.__init__
def limited(self, *given, **named):
    whole(self, *given, **named)
    self.batch_limit = 1
Pipeline.__init__ = limited
"""
    with serving(toy_bundle, tmp_path, "--port", 0, "--max-batch", "2", before=limited) as server:
        assert server.popen.wait(PATIENCE_S) == 2
        until(lambda: "error: this bundle's engines take 1 window at once, not 2" in server.text)


def test_the_picture_is_refused_unless_it_is_allowed(toy_bundle: Path, scene: Path, tmp_path: Path) -> None:
    with serving(toy_bundle, tmp_path, *live(scene)) as server:
        until(lambda: server.url)
        answer = httpx.get(f"{server.url}/v1/live/picture")
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/json"


def test_a_model_that_fails_for_good_ends_the_server_with_its_error(
    toy_bundle: Path, scene: Path, tmp_path: Path
) -> None:
    broken = """
from mosear.runtime.errors import Failed
from mosear.runtime.pipeline import Pipeline
def fail(self, *arguments):
    raise Failed("the model is unwell", "let it rest")
Pipeline.analyse = Pipeline.analyse_many = fail
"""
    with serving(toy_bundle, tmp_path, *live(scene, "--hop", "0.1"), before=broken) as server:
        until(lambda: server.url)
        assert server.popen.wait(PATIENCE_S) == 1
        until(lambda: "error: the model is unwell" in server.text)
        assert "fix: let it rest" in server.text
        assert "Traceback" not in server.text


def test_a_hangup_begins_it_anew_and_refuses_nobody(toy_bundle: Path, scene: Path, tmp_path: Path) -> None:
    told = tmp_path / "notify"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(told))
    manager.settimeout(PATIENCE_S)

    def heard(word: str) -> None:
        while word not in manager.recv(4096).decode():
            pass

    environment = {"NOTIFY_SOCKET": str(told), "WATCHDOG_USEC": "3000000"}
    with serving(toy_bundle, tmp_path, *live(scene), environment=environment, start_new_session=True) as server:
        until(lambda: server.url)
        heard("READY=1")
        heard("WATCHDOG=1")
        url, pid = server.url, server.popen.pid
        before = httpx.get(f"{url}/v1/live").json()["status"]["answers"]
        until(lambda: httpx.get(f"{url}/v1/live").json()["status"]["answers"] > before)
        server.popen.send_signal(signal.SIGHUP)
        statuses, resets = [], 0
        deadline = time.monotonic() + PATIENCE_S
        heard("RELOADING=1")
        while time.monotonic() < deadline:
            # The socket outlives the program: a client waits, and is not refused. One whose connection was taken in the
            # very moment of the end may see it closed.
            try:
                answer = httpx.get(f"{url}/v2/health/ready", timeout=PATIENCE_S)
                about = httpx.get(f"{url}/v1/live", timeout=PATIENCE_S)
            except (httpx.ReadError, httpx.RemoteProtocolError):
                resets += 1
                assert resets == 1
                continue
            statuses.append(answer.status_code)
            if about.status_code == 200 and (about.json()["status"] or {}).get("answers", 99) <= 1:
                break
        else:
            pytest.fail(f"it did not begin anew: {server.text}")
        assert set(statuses) <= {200, 503}
        heard("READY=1")
        assert os.path.exists(f"/proc/{pid}")
        assert server.popen.poll() is None
        assert server.end() == 0
        heard("STOPPING=1")
    manager.close()


def test_the_page_shows_what_the_real_server_sends(
    browser: Browser, toy_bundle: Path, scene: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    with serving(toy_bundle, tmp_path, *live(scene, "--sink", f"jsonl:{log}", "--allow-picture")) as server:
        until(lambda: server.url)
        browser.open(server.url)
        browser.until(lambda: browser.text("#connection-word") == "Live", "live")
        about = httpx.get(f"{server.url}/v1/live").json()
        assert about["notice"] in browser.text("body")

        def shown_is_the_last_answer() -> bool:
            lines = log.read_text().splitlines() if log.exists() else []
            if not lines:
                return False
            last = json.loads(lines[-1])
            return last["live"]["smoothed_label"].lower() in browser.text("main").lower()

        browser.until(shown_is_the_last_answer, "the label of the last answer")
        browser.until(lambda: "scene.mp4" in browser.text("main"), "the source")
        assert browser.complaints() == []
