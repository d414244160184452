"""Items one after the other in this process."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from mosear.evaluation.distribution.outcome import Done, Key, Opener, Outcome, Refused, Work
from mosear.evaluation.distribution.station import REPORT
from mosear.runtime.errors import BadInput, Failed, MosearError, one_line


def run_here(open_worker: Opener, items: Iterable[tuple[Key, Any]]) -> Generator[Outcome, None, None]:
    """Answer items in their order. The model is opened when the first one comes.

    Args:
        open_worker: opens the model.
        items: key and item of each, read one at a time.

    Raises:
        MosearError: of ``open_worker``, and of an item where it is no BadInput; ``Failed`` for any other exception.
    """
    work: Work | None = None
    for key, item in items:
        if work is None:
            work = _open(open_worker)
        yield _answer(work, key, item)


def _open(open_worker: Opener) -> Work:
    try:
        return open_worker()
    except MosearError:
        raise
    except Exception as error:
        raise _unexpected("what is needed can't be opened", error) from error


def _answer(work: Work, key: Key, item: Any) -> Done | Refused:
    try:
        return Done(key, work(item))
    except BadInput as error:
        return Refused(key, error.what, error.remedy)
    except MosearError:
        raise
    except Exception as error:
        raise _unexpected(f"{key} failed", error) from error


def _unexpected(doing: str, error: Exception) -> Failed:
    return Failed(one_line(f"{doing}: {type(error).__name__}: {error}"), REPORT)
