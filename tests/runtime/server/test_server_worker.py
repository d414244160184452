"""The model's worker: turns, priorities, batches, refusals, and its end."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

import pytest
from server_fakes import PATIENCE_S, FakeModel, submit, until, window

from mosear.runtime.errors import BadInput, Failed, UsageError
from mosear.runtime.server.errors import Busy, Stopping
from mosear.runtime.server.job import Priority
from mosear.runtime.server.worker import ModelWorker


@contextmanager
def working(model: FakeModel, **settings: Any) -> Iterator[ModelWorker]:
    worker = ModelWorker(model, **settings)
    worker.start()
    try:
        yield worker
    finally:
        if model._gate is not None:
            model.allow(10_000)
        worker.stop(finish=False)
        assert not worker._thread.is_alive()


def test_answers_come_back_to_who_asked_and_in_order() -> None:
    with working(FakeModel()) as worker:
        futures = [submit(worker, [window(i), window(i + 0.5)], f"clip {i}") for i in range(10)]
        for i, future in enumerate(futures):
            answers = future.result(PATIENCE_S)
            assert [(each.clip, each.start) for each in answers] == [(f"clip {i}", i), (f"clip {i}", i + 0.5)]
        assert worker.depth == 0


def test_jobs_take_turns_window_by_window() -> None:
    model = FakeModel()
    model.hold()
    with working(model) as worker:
        first = submit(worker, [window(i) for i in range(20)], "long")
        until(model.busy.is_set)
        second, third = submit(worker, [window()], "short"), submit(worker, [window(i) for i in range(2)], "middle")
        model.allow(100)
        for each in (first, second, third):
            each.result(PATIENCE_S)
    # "long" has the model when the others come; then each of them gets a window before "long" gets its third.
    assert [clip for clip, _ in model.order[:6]] == ["long", "long", "short", "middle", "long", "middle"]


def test_live_windows_go_first_and_are_not_refused() -> None:
    model = FakeModel()
    model.hold()
    with working(model, queue=1) as worker:
        uploads = submit(worker, [window(i) for i in range(3)], "upload")
        until(model.busy.is_set)
        with pytest.raises(Busy):
            worker.open("another upload")
        live = submit(worker, [window()], "camera", priority=Priority.live)
        model.allow(10)
        live.result(PATIENCE_S)
        uploads.result(PATIENCE_S)
    assert [clip for clip, _ in model.order] == ["upload", "camera", "upload", "upload"]


def test_a_full_queue_says_when_to_come_back() -> None:
    model = FakeModel()
    with working(model, queue=2) as worker:
        submit(worker, [window()], "measures the model").result(PATIENCE_S)
        worker._window_s = 3.0
        worker.count_job(1)
        jobs = [worker.open("a"), worker.open("b")]
        with pytest.raises(Busy) as refused:
            worker.open("c")
        assert refused.value.status == 429
        assert refused.value.retry_after == 6  # two jobs of one window of three seconds
        jobs[0].close()
        jobs[0].close()
        worker.open("c").close()
        assert worker.depth == 1
        jobs[1].close()


def test_waiting_windows_share_a_batch_up_to_its_limit() -> None:
    model = FakeModel()
    model.hold()
    with working(model, max_batch=3) as worker:
        first = submit(worker, [window()], "first")
        until(model.busy.is_set)
        rest = [submit(worker, [window()], f"clip {i}") for i in range(5)]
        model.allow(10)
        for i, each in enumerate(rest):
            assert each.result(PATIENCE_S)[0].clip == f"clip {i}"
        first.result(PATIENCE_S)
    assert [len(batch) for batch in model.batches] == [1, 3, 2]


def test_the_model_limits_the_batch_and_reasons_are_given_alone() -> None:
    with pytest.raises(UsageError, match="take 1 window at once, not 8"):
        ModelWorker(FakeModel(batch_limit=1), max_batch=8)
    model = FakeModel()
    model.hold()
    with working(model, max_batch=8) as worker:
        futures = [submit(worker, [window()], "first")]
        until(model.busy.is_set)
        futures += [submit(worker, [window()], f"clip {i}", reason=i == 1) for i in range(3)]
        model.allow(10)
        reasons = [each.result(PATIENCE_S)[0].reason for each in futures]
    assert reasons == [None, None, "because", None]
    assert all(len(batch) == 1 or "clip 1" not in dict(batch) for batch in model.batches)


@pytest.mark.parametrize("max_batch", [1, 4])
def test_a_window_that_fails_fails_its_own_job_only(max_batch: int) -> None:
    model = FakeModel()
    model.hold()
    model.fails = lambda each: {7.0: BadInput("too long", "shorten"), 8.0: ZeroDivisionError("secret")}.get(each.start)
    with working(model, max_batch=max_batch) as worker:
        held = submit(worker, [window()], "held")
        until(model.busy.is_set)
        good = submit(worker, [window(1), window(2)], "good")
        bad = submit(worker, [window(7), window(9)], "bad")
        broken = submit(worker, [window(8)], "broken")
        model.allow(100)
        assert len(good.result(PATIENCE_S)) == 2
        with pytest.raises(BadInput, match="too long"):
            bad.result(PATIENCE_S)
        with pytest.raises(Failed, match="ZeroDivisionError") as failed:
            broken.result(PATIENCE_S)
        assert "secret" not in failed.value.what
        held.result(PATIENCE_S)
        until(lambda: worker.depth == 0)
        assert worker.ready


def test_cancelled_windows_never_reach_the_model() -> None:
    model = FakeModel()
    model.hold()
    with working(model, queue=2) as worker:
        held = submit(worker, [window()], "held")
        until(model.busy.is_set)
        gone = submit(worker, [window(i) for i in range(5)], "gone")
        assert worker.depth == 2
        assert gone.cancel()
        assert worker.depth == 1
        with pytest.raises(CancelledError):
            gone.result(0)
        model.allow(100)
        held.result(PATIENCE_S)
        submit(worker, [window()], "after").result(PATIENCE_S)
    assert {clip for clip, _ in model.order} == {"held", "after"}


def test_closing_a_job_drops_what_waits_and_it_takes_no_more() -> None:
    model = FakeModel()
    model.hold()
    with working(model) as worker:
        job = worker.open("clip")
        running = job.feed(window(0))
        until(model.busy.is_set)
        waiting = job.feed(window(1))
        job.close()
        assert waiting.cancelled()
        model.allow(10)
        assert running.result(PATIENCE_S).start == 0
        with pytest.raises(RuntimeError):
            job.feed(window(2))
    assert model.order == [("clip", 0)]


def test_stop_finishes_open_jobs_and_takes_no_new_ones() -> None:
    model = FakeModel()
    model.hold()
    with working(model) as worker:
        job = worker.open("clip")
        first = job.feed(window(0))
        until(model.busy.is_set)
        stopping = threading.Thread(target=worker.stop, kwargs={"finish": True, "grace": PATIENCE_S})
        stopping.start()
        until(lambda: not worker.ready)
        with pytest.raises(Stopping) as refused:
            worker.open("late")
        assert refused.value.status == 503
        second = job.feed(window(1))  # of the same clip: it is being finished
        model.allow(10)
        assert [first.result(PATIENCE_S).start, second.result(PATIENCE_S).start] == [0, 1]
        assert stopping.is_alive()
        job.close()
        stopping.join(PATIENCE_S)
        assert not stopping.is_alive()


def test_stop_fails_what_does_not_end_within_the_grace() -> None:
    model = FakeModel()
    model.hold()
    with working(model) as worker:
        job = worker.open("clip")
        job.feed(window(0))
        until(model.busy.is_set)
        waiting = job.feed(window(1))
        worker.stop(finish=True, grace=0.05)
        with pytest.raises(Stopping):
            waiting.result(0)
        with pytest.raises(Stopping):
            job.feed(window(2))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_thread_that_died() -> None:
    model, dying = FakeModel(), threading.Event()
    model.hold()

    def tick() -> None:
        if dying.is_set():
            raise MemoryError

    worker = ModelWorker(model, tick=tick)
    worker.start()
    job = worker.open("clip")
    job.feed(window(0))
    until(model.busy.is_set)
    waiting = job.feed(window(1))
    dying.set()
    model.allow(1)
    with pytest.raises(Stopping):
        waiting.result(PATIENCE_S)
    worker._thread.join(PATIENCE_S)
    assert not worker.ready


def test_not_even_an_exit_in_the_model_ends_the_thread() -> None:
    model = FakeModel()
    model.fails = lambda each: SystemExit() if each.start else None  # type: ignore[return-value]
    with working(model) as worker:
        with pytest.raises(Failed):
            submit(worker, [window(1)], "clip").result(PATIENCE_S)
        assert submit(worker, [window(0)], "clip").result(PATIENCE_S)


def test_stages_are_observed_and_the_watchdog_is_fed_by_the_thread() -> None:
    seen: list[str] = []
    fed: list[int] = []
    worker = ModelWorker(
        FakeModel(), observe=lambda stage, seconds: seen.append(stage), tick=lambda: fed.append(threading.get_ident())
    )
    worker.start()
    worker.answer(window(), "camera")
    worker.stop()
    assert seen == ["queue", "service"]
    assert set(fed) == {worker._thread.ident}
