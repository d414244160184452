"""The endpoints over a real connection, with a model and decoders that do what they are told."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from server_fakes import PATIENCE_S, FakeLive, Running, serving, until

from mosear.runtime.errors import BadInput, MosearError, UsageError
from mosear.runtime.server.decoding import Busy as DecodersBusy
from mosear.runtime.server.decoding import DecoderCrashed, TooLong, TooManyPixels, TooSlow

LINES = {"Accept": "application/x-ndjson"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with serving(tmp_path) as running:
        yield running


def told(answer: httpx.Response) -> tuple[str, str]:
    """What is wrong and what to do, from an answer that must be an error in the usual form."""
    assert answer.status_code >= 400
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"what", "fix"}
    assert all(body["error"].values())
    return body["error"]["what"], body["error"]["fix"]


def test_a_clip_is_answered(server: Running) -> None:
    answer = httpx.post(f"{server.url}/v1/emotion", params={"window": 1.5, "hop": 0.5}, content=b"3")
    assert answer.status_code == 200
    body = answer.json()
    assert body["schema"] == "mosear.answers/1"
    assert [each["start"] for each in body["emotions"]] == [0.0, 1.0, 2.0]
    assert {each["clip"] for each in body["emotions"]} == {"upload"}
    assert "reason" not in body["emotions"][0]
    assert server.decoders.seen == [(b"3", 1.5, 0.5, None)]
    until(server.at_rest)


def test_a_form_s_content_type_is_no_form(server: Running) -> None:
    kinds = ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/json", "video/mp4"]
    for kind in kinds:
        answer = httpx.post(f"{server.url}/v1/emotion", content=b"2", headers={"Content-Type": kind})
        assert len(answer.json()["emotions"]) == 2, kind


@pytest.mark.parametrize(("path", "reason"), [("/v1/emotion", None), ("/v1/reason", "because")])
def test_lines_come_before_the_last_window_is_answered(server: Running, path: str, reason: str | None) -> None:
    server.model.hold()
    server.model.allow(2)
    with httpx.stream("POST", server.url + path, content=b"4", headers=LINES, timeout=PATIENCE_S) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = answer.iter_lines()
        first = json.loads(next(lines))
        assert first["start"] == 0.0
        assert first.get("reason") == reason
        assert len(server.model.order) < 4
        server.model.allow(10)
        assert [json.loads(line)["start"] for line in lines] == [1.0, 2.0, 3.0]
    until(server.at_rest)


def test_reasons_as_server_sent_events(server: Running) -> None:
    answer = httpx.post(f"{server.url}/v1/reason", content=b"2", headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"] == "text/event-stream"
    events = [event.split("\n") for event in answer.text.strip().split("\n\n")]
    assert [kind for kind, _ in events] == ["event: emotion"] * 2
    assert json.loads(events[1][1].removeprefix("data: "))["reason"] == "because"


def test_a_transcript_goes_to_every_window(server: Running) -> None:
    text = "Grüße, 世界 % \U0001f600\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff\x7f!"
    for given in (quote(text), quote(text, safe="").lower()):
        headers = {"Mosear-Transcript": given}
        httpx.post(f"{server.url}/v1/emotion", content=b"1", headers=headers).raise_for_status()
    assert server.model.transcripts[0] == text
    assert server.model.transcripts[1] == text.replace("G", "g")
    httpx.post(f"{server.url}/v1/emotion", content=b"1", headers={"Mosear-Transcript": "%20"}).raise_for_status()
    assert server.model.transcripts[2] is None


@pytest.mark.parametrize(
    "given", ["%ff%fe", "%zz", "a%", "%c0%80", "%ed%a0%80", "%f4%90%80%80", "%e4%b8", "\xe4", "x" * 4097]
)
def test_a_transcript_that_is_none_is_refused_and_not_repeated(server: Running, given: str) -> None:
    answer = httpx.post(
        f"{server.url}/v1/emotion", content=b"2", headers={"Mosear-Transcript": given.encode("latin-1")}
    )
    assert answer.status_code == 400
    assert given not in answer.text
    assert "ranscript" in told(answer)[0]


@pytest.mark.parametrize(
    "query", ["window=0.1", "window=99", "window=nan", "window=x", "hop=0", "hop=-1", "hop=inf", "hop=1e-9", "window="]
)
def test_a_query_out_of_range_is_refused(server: Running, query: str) -> None:
    answer = httpx.post(f"{server.url}/v1/emotion?{query}", content=b"2")
    assert answer.status_code == 400
    assert query.split("=")[0] in told(answer)[0]
    assert server.decoders.seen == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadInput("not a media file", "send one"), 415),
        (TooLong("too long", "cut it"), 422),
        (TooManyPixels("too large", "scale it"), 422),
        (TooSlow("too slow", "cut it"), 408),
        (DecoderCrashed("crashed", "send another"), 422),
        (UsageError("out of range", "see the help"), 400),
        (DecodersBusy("all decoders have work", 3), 503),
        (RuntimeError("marked-text"), 500),
    ],
)
@pytest.mark.parametrize("headers", [{}, LINES])
def test_what_the_decoder_says_has_its_status(
    server: Running, error: MosearError, status: int, headers: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    server.decoders.error = error
    answer = httpx.post(f"{server.url}/v1/emotion", content=b"3", headers=headers)
    assert answer.status_code == status
    what, fix = told(answer)
    if isinstance(error, MosearError):
        assert (what, fix) == (error.what, error.remedy)
    assert "marked-text" not in answer.text + capfd.readouterr().err
    assert answer.headers.get("retry-after") == ("3" if status == 503 else None)
    until(server.at_rest)


def test_an_error_in_the_middle_ends_the_stream_with_it(server: Running) -> None:
    server.decoders.error, server.decoders.error_at = TooSlow("too slow", "cut it"), 3
    lines = httpx.post(f"{server.url}/v1/emotion", content=b"9", headers=LINES).text.splitlines()
    assert json.loads(lines[-1]) == {"error": {"what": "too slow", "fix": "cut it"}}
    assert len(lines) >= 2
    events = httpx.post(f"{server.url}/v1/reason", content=b"9", headers={"Accept": "text/event-stream"}).text
    assert events.strip().split("\n\n")[-1].startswith("event: error\ndata: {")
    until(server.at_rest)


def test_what_the_model_can_t_take_is_the_client_s_affair(server: Running) -> None:
    server.model.fails = lambda each: BadInput("the prompt does not fit", "shorten it")
    assert httpx.post(f"{server.url}/v1/emotion", content=b"1").status_code == 422
    server.model.fails = lambda each: None
    assert httpx.post(f"{server.url}/v1/emotion", content=b"1").status_code == 200


def test_an_empty_body_is_no_clip(server: Running) -> None:
    assert httpx.post(f"{server.url}/v1/emotion").status_code == 415


def test_a_full_queue_is_429_before_the_body_is_read(tmp_path: Path) -> None:
    with serving(tmp_path, queue=2) as server, ThreadPoolExecutor(2) as pool:
        server.model.hold()
        held = [pool.submit(httpx.post, f"{server.url}/v1/emotion", content=b"1", timeout=PATIENCE_S) for _ in range(2)]
        until(lambda: server.service.worker.depth == 2)
        head = "POST /v1/emotion HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\nExpect: 100-continue\r\n\r\n"
        status, answer = server.ask(head.encode())
        assert status == 429
        assert b"100 Continue" not in answer
        assert int(answer.lower().split(b"retry-after: ")[1].split()[0]) >= 1
        server.model.allow(2)
        assert [each.result(PATIENCE_S).status_code for each in held] == [200, 200]
        assert httpx.get(f"{server.url}/metrics").text.count("mosear_rejected_total 1.0") == 1


def test_two_hundred_at_once_get_an_answer_or_a_refusal(tmp_path: Path) -> None:
    with serving(tmp_path, queue=4) as server:
        start = threading.Barrier(200)

        def ask(number: int) -> int:
            start.wait(PATIENCE_S)
            answer = httpx.post(f"{server.url}/v1/emotion", content=b"2", timeout=60)
            if answer.status_code != 200:
                assert int(answer.headers["retry-after"]) >= 1
                told(answer)
            return answer.status_code

        with ThreadPoolExecutor(200) as pool:
            statuses = list(pool.map(ask, range(200)))
        assert set(statuses) <= {200, 429, 503}
        assert statuses.count(200) >= 4
        until(server.at_rest)
        assert httpx.post(f"{server.url}/v1/emotion", content=b"2").status_code == 200


def test_live_without_a_source(server: Running) -> None:
    about = httpx.get(f"{server.url}/v1/live").json()
    assert about["model"] == {
        "name": "toy",
        "labels": ["neutral", "angry", "happy", "sad", "worried", "surprise"],
        "layers": 2,
        "heads": 2,
        "reallocating_layers": [0, 1],
        "temperature": 1.5,
        "precision": "fp32",
        "target": "cpu",
    }
    assert about["notice"] == "This is a toy and reads nobody."
    assert (about["status"], about["picture_allowed"], about["window_s"]) == (None, False, 3.0)
    assert httpx.post(f"{server.url}/v1/live/reason").status_code == 404
    assert httpx.get(f"{server.url}/v1/live/picture").status_code == 403


def test_live_with_a_source(tmp_path: Path) -> None:
    live = FakeLive()
    with serving(tmp_path, live, allow_picture=True) as server:
        about = httpx.get(f"{server.url}/v1/live").json()
        assert (about["status"], about["hop_s"]) == (live.status(), 0.5)
        picture = httpx.get(f"{server.url}/v1/live/picture")
        assert (picture.content, picture.headers["content-type"]) == (live.picture, "image/jpeg")
        assert picture.headers["cache-control"] == "no-store"
        live.picture = None
        assert httpx.get(f"{server.url}/v1/live/picture").status_code == 404
        assert httpx.post(f"{server.url}/v1/live/reason").status_code == 202
        assert live.asked == 1
        text = httpx.get(f"{server.url}/metrics").text
        for line in (
            'mosear_source_up{kind="camera",name="camera 0"} 1.0',
            'mosear_source_reconnects_total{kind="camera",name="camera 0"} 2.0',
            'mosear_sink_up{name="jsonl:x"} 0.0',
            'mosear_sink_dropped_total{name="jsonl:x"} 7.0',
            "mosear_dropped_windows_total 3.0",
        ):
            assert line in text.splitlines()


def test_health_follows_the_model_and_the_stop(server: Running) -> None:
    assert httpx.get(f"{server.url}/v2/health/live").json() == {"live": True}
    assert httpx.get(f"{server.url}/v2/health/ready").json() == {"ready": True}
    server.service.begin_stop()
    ready = httpx.get(f"{server.url}/v2/health/ready")
    assert (ready.status_code, bool(ready.headers["retry-after"])) == (503, True)
    told(ready)
    assert httpx.get(f"{server.url}/v2/health/live").status_code == 200
    refused = httpx.post(f"{server.url}/v1/emotion", content=b"1")
    assert (refused.status_code, bool(refused.headers["retry-after"])) == (503, True)


def test_metrics_tell_paths_by_template_only(server: Running) -> None:
    httpx.post(f"{server.url}/v1/emotion?hop=1", content=b"2")
    for path in ("/v1/emotion/../secret-path", "/secret-path?secret-query", "/page/secret-file", "/v1/emotion"):
        httpx.get(server.url + path)
    httpx.request("SECRETVERB", f"{server.url}/v1/live")
    text = httpx.get(f"{server.url}/metrics").text
    assert "secret" not in text.lower()
    lines = text.splitlines()
    assert 'mosear_requests_total{path="/v1/emotion",status="200"} 1.0' in lines
    assert 'mosear_requests_total{path="/v1/emotion",status="405"} 1.0' in lines
    assert 'mosear_requests_total{path="/page/{name}",status="404"} 1.0' in lines
    assert "mosear_windows_total 2.0" in lines
    assert "mosear_queue_depth 0.0" in lines
    for stage in ("queue", "service", "vision"):
        assert f'mosear_window_seconds_count{{stage="{stage}"}} 2.0' in lines


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/v1/emotion", 405), ("DELETE", "/v1/live", 405), ("GET", "/v1/live/", 404)],
)
def test_even_what_is_not_there_is_refused_in_the_same_form(
    server: Running, method: str, path: str, status: int
) -> None:
    answer = httpx.request(method, server.url + path)
    assert answer.status_code == status
    told(answer)
    assert ("allow" in answer.headers) == (status == 405)


def test_the_page_and_the_documentation_ask_for_nothing_from_outside(server: Running) -> None:
    index = httpx.get(server.url + "/")
    assert index.headers["content-type"].startswith("text/html")
    for part in ("default-src 'self'", "frame-ancestors 'none'"):
        assert part in index.headers["content-security-policy"]
    assert (index.headers["x-content-type-options"], index.headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert httpx.get(server.url + "/page/main.js").headers["content-type"].startswith("text/javascript")
    docs = httpx.get(server.url + "/docs")
    assert docs.status_code == 200
    for path in httpx.get(server.url + "/openapi.json").json()["paths"]:
        assert path in docs.text
    for text in (index.text, docs.text):
        assert "//" not in text.replace("http://www.w3.org/", "")
        assert "<script>" not in text
    assert "server" not in index.headers


def test_the_documentation_escapes_what_it_shows() -> None:
    from mosear.runtime.server.docs_page import docs_page

    evil = "<script>alert(1)</script>"
    operation = {"summary": evil, "description": evil, "responses": {"200": {"description": evil}}}
    operation["parameters"] = [{"name": evil, "in": "query", "description": evil, "schema": {"type": evil}}]
    page = docs_page({"info": {"title": evil, "version": evil}, "paths": {f"/{evil}": {"get": operation}}})
    assert "<script>" not in page
