"""A judge behind an address: a real server that misbehaves in every way."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from judge_server import body, breaks_off, drips, hangs, says, serving, status

from mosear.evaluation.judging.endpoint import EndpointJudge
from mosear.evaluation.judging.judge import LONGEST, NoAnswerError
from mosear.runtime.errors import Failed, UsageError

KEY = "sk-secret-0815"


def judge_at(address: str, waits: list[float] | None = None, **more: object) -> EndpointJudge:
    return EndpointJudge(address, "small-model", sleep=(waits if waits is not None else []).append, **more)  # type: ignore[arg-type]


def test_what_is_asked_and_answered() -> None:
    with serving(says('{"clue": 3, "label": 4}')) as server:
        judge = judge_at(server.address)
        assert judge.ask("Rate this: “é”.") == '{"clue": 3, "label": 4}'
        judge.close()
    ((path, headers, content),) = server.asked
    assert path == "/v1/chat/completions"
    assert (content["model"], content["temperature"], content["stream"]) == ("small-model", 0, False)
    assert content["messages"] == [{"role": "user", "content": "Rate this: “é”."}]
    assert "authorization" not in headers
    assert judge.identity == {
        "kind": "endpoint",
        "address": f"{server.address}/v1/chat/completions",
        "model": "small-model",
    }


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/api/v1"])
def test_the_address_with_and_without_its_path(path: str) -> None:
    with serving(says("x")) as server:
        judge_at(server.address + path).ask("x")
    assert server.asked[0][0] == ("/api" if "api" in path else "") + "/v1/chat/completions"


def test_failing_and_overloaded_servers_are_asked_again() -> None:
    waits: list[float] = []
    acts = [status(500), status(429, Retry_After="7"), status(503), says("fine")]
    with serving(*acts) as server:
        assert judge_at(server.address, waits).ask("x") == "fine"
    assert waits == [1.0, 7.0, 4.0], "twice as long each time, but for what the server asks"
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("told", "low", "high"),
    [
        (timedelta(seconds=50), 20, 50),
        (timedelta(hours=-1), 0, 0),
        ("86400", 60, 60),
        ("soon", 1, 1),
        ("-5", 1, 1),
        ("nan", 1, 1),
    ],
)
def test_retry_after_in_every_form(told: timedelta | str, low: float, high: float) -> None:
    waits: list[float] = []
    date = told if isinstance(told, str) else format_datetime(datetime.now(timezone.utc) + told, usegmt=True)
    with serving(status(429, Retry_After=date), says("fine")) as server:
        judge_at(server.address, waits).ask("x")
    assert low <= waits[0] <= high


def test_a_server_that_never_recovers_gives_no_answer() -> None:
    waits: list[float] = []
    with serving(status(503)) as server, pytest.raises(NoAnswerError, match="status 503"):
        judge_at(server.address, waits, attempts=3).ask("x")
    assert (len(server.asked), waits) == (3, [1.0, 2.0])


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_prompt_that_is_refused_is_not_asked_again(code: int) -> None:
    with serving(status(code)) as server, pytest.raises(NoAnswerError, match=f"status {code}"):
        judge_at(server.address).ask("x")
    assert len(server.asked) == 1


@pytest.mark.parametrize("code", [401, 403, 404, 204, 302])
def test_a_judge_that_refuses_every_prompt_ends_it(code: int) -> None:
    """A redirect too: what is meant for this machine is not sent to where it points."""
    with serving(status(code, Location="http://example.com/")) as server, pytest.raises(Failed, match=f"status {code}"):
        judge_at(server.address).ask("x")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": null}}]}',
        b'{"choices": [{"text": "x"}]}',
        b'{"error": "no"}',
    ],
)
def test_what_is_no_chat_completion_is_no_answer(content: bytes) -> None:
    with serving(body(content)) as server, pytest.raises(NoAnswerError, match="form of a chat completion"):
        judge_at(server.address).ask("x")


def test_an_answer_without_end() -> None:
    with serving(body(b" " * (LONGEST + 1))) as server, pytest.raises(NoAnswerError, match="too long"):
        judge_at(server.address).ask("x")


def test_slow_answers_are_not_waited_for() -> None:
    gone = threading.Event()
    with serving(hangs(gone)) as server:
        with pytest.raises(NoAnswerError, match="too long"):
            judge_at(server.address, timeout_s=0.2).ask("x")
        gone.set()
    with serving(drips(8)) as server, pytest.raises(NoAnswerError, match="took too long"):
        judge_at(server.address, timeout_s=0.3).ask("x")
    assert len(server.asked) == 1


def test_a_connection_that_breaks_off() -> None:
    with serving(breaks_off, says("fine")) as server:
        assert judge_at(server.address).ask("x") == "fine"
    with serving(breaks_off) as server, pytest.raises(NoAnswerError, match="broke off"):
        judge_at(server.address).ask("x")


def test_nobody_there() -> None:
    with serving(says("x")) as server:
        address = server.address
    waits: list[float] = []
    with pytest.raises(Failed, match="no judge can be reached"):
        judge_at(address, waits).ask("x")
    assert waits == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    "address",
    [
        "http://192.168.1.5:8080",
        "http://judge.example.com",
        "https://api.example.com/v1",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://0.0.0.0:8080",
        "http://[2001:db8::1]:8080",
        "http://2130706433.example.com",
    ],
)
def test_other_machines_are_refused_unless_permitted(address: str) -> None:
    with pytest.raises(UsageError, match="is not this machine"):
        EndpointJudge(address, "m")
    EndpointJudge(address, "m", allow_remote=True).close()


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1", "http://127.9.9.9:1", "http://localhost:1", "http://[::1]:1"]
)
def test_this_machine_by_all_its_names(address: str) -> None:
    EndpointJudge(address, "m").close()


@pytest.mark.parametrize(
    ("address", "says_"),
    [
        ("127.0.0.1:8080", "no address"),
        ("ftp://127.0.0.1/", "no address"),
        ("http://", "no address"),
        ("http://127.0.0.1:port/", "no address"),
        ("http://user:word@127.0.0.1:8080", "more than a place"),
        ("http://127.0.0.1@example.com", "more than a place"),
        ("http://127.0.0.1:8080/v1?key=x", "more than a place"),
    ],
)
def test_addresses_that_are_none_or_hold_a_secret(address: str, says_: str) -> None:
    with pytest.raises(UsageError, match=says_):
        EndpointJudge(address, "m")


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_JUDGE", KEY)
    with serving(says(f"the key is {KEY}"), status(401)) as server:
        judge = judge_at(server.address, key_variable="MY_JUDGE")
        assert KEY not in judge.ask("x"), "not even where the server repeats it"
        with pytest.raises(Failed) as caught:
            judge.ask("x")
    assert server.asked[0][1]["authorization"] == f"Bearer {KEY}"
    assert KEY not in json.dumps(judge.identity) + repr(judge) + str(caught.value) + caught.value.remedy


def test_a_key_that_is_not_there_or_would_be_read_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_JUDGE", raising=False)
    with pytest.raises(UsageError, match="MY_JUDGE holds no key"):
        judge_at("http://127.0.0.1:1", key_variable="MY_JUDGE")
    monkeypatch.setenv("MY_JUDGE", KEY)
    with pytest.raises(UsageError, match="unencrypted"):
        judge_at("http://192.168.1.5", key_variable="MY_JUDGE", allow_remote=True)
    judge_at("https://192.168.1.5", key_variable="MY_JUDGE", allow_remote=True).close()


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(says("by the proxy")) as proxy, serving(says("by the judge")) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.address)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert judge_at(server.address).ask("x") == "by the judge"
    assert proxy.asked == []
