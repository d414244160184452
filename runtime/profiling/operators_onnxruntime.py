"""Time by operator from ONNX Runtime's own profile: a file of events, one a line, that a session writes when it ends.

An event ``…_kernel_time`` is one execution of a node, and ``model_run`` is one run of the graph, written after its
nodes. What a run took and its nodes did not is called ``(between operators)``: the library's own work, and that of
noting these events.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mosear.runtime.profiling.operators_fold import GraphNames, NoProfile, Totals
from mosear.runtime.profiling.record import Operator
from mosear.runtime.sessions import Observer

BETWEEN = "(between operators)"
"""The operator that stands for what a run took beside its nodes."""

_KERNEL, _RUN = "_kernel_time", "model_run"
_TOO_MANY = "ONNX Runtime keeps a million events of a session: ask for fewer runs or tokens"


class OnnxRuntimeProfile(Observer):
    """Profiles every session that is opened while it observes.

    Args:
        folder: where the library writes; an empty one, which its owner removes after ``end``.
        names: what runs are called.
    """

    def __init__(self, folder: Path, names: GraphNames) -> None:
        self._folder = folder
        self._names = names
        self._sessions: dict[Path, CountedSession] = {}
        self._opened = 0

    def configure(self, options: Any) -> None:
        """A file of its own for the next session: the library tells files apart by the millisecond only."""
        self._opened += 1
        options.enable_profiling = True
        options.profile_file_prefix = str(self._folder / str(self._opened))

    def opened(self, path: Path, session: Any) -> Any:
        """The session, with its runs counted."""
        self._sessions[path] = CountedSession(session, self._names[path])
        return self._sessions[path]

    def start(self) -> None:
        """Leave out whatever ran so far."""
        for session in self._sessions.values():
            session.skip = len(session.runs)

    def end(self) -> list[Path]:
        """End all profiles; their files, in the order of the sessions. Sessions run on, unprofiled."""
        return [session.end() for session in self._sessions.values()]

    def operators(self, runs: int) -> list[Operator]:
        """What ran since ``start``, during ``runs`` runs of the pipeline; after ``end``.

        Raises:
            NoProfile: a file is missing, damaged or incomplete.
        """
        totals = Totals()
        for path, session in self._sessions.items():
            count = 0
            for place, run in enumerate(read_runs(session.end())):
                if session.skip <= place < len(session.runs):
                    for node, operator, ms in run.by_node():
                        totals.add(session.runs[place], node, operator, ms)
                count += 1
            if count != len(session.runs):
                raise NoProfile(f"its profile has {count} of {len(session.runs)} runs of {path.name}; {_TOO_MANY}")
        return totals.operators(runs)


class CountedSession:
    """ONNX Runtime's session, which notes what each of its runs is called.

    Attributes:
        runs: the name of each run so far.
        skip: how many of them are not to be looked at.
    """

    def __init__(self, session: Any, names: tuple[str, str]) -> None:
        self._session = session
        self._names = names
        self._file: Path | None = None
        self.runs: list[str] = []
        self.skip = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, outputs: Any, inputs: Any, *options: Any) -> Any:
        """As the library's. One graph may do both phases, and a step has one token."""
        embeds = inputs.get("inputs_embeds")
        self.runs.append(self._names[1 if embeds is not None and embeds.shape[1] == 1 else 0])
        return self._session.run(outputs, inputs, *options)

    def run_with_iobinding(self, binding: Any, *options: Any) -> None:
        """As the library's."""
        self.runs.append(self._names[0])
        self._session.run_with_iobinding(binding, *options)

    def end(self) -> Path:
        """End the profile once; its file."""
        if self._file is None:
            self._file = Path(self._session.end_profiling())
        return self._file


@dataclass(frozen=True)
class Event:
    """One execution of a node: its name and type, its thread, start and duration in microseconds."""

    node: str
    operator: str
    thread: int
    start: int
    duration: int


@dataclass(frozen=True)
class Run:
    """One run of a graph: its duration in microseconds, and its events in any order."""

    duration: int
    events: list[Event]

    def by_node(self) -> Iterator[tuple[str, str, float]]:
        """Name, type and milliseconds of each execution, those inside of it taken off; then what is between them.

        A node with graphs of its own (If, Loop, Scan) is an execution around those of its graphs, on the same thread.
        """
        inside: dict[int, int] = defaultdict(int)
        outer = 0
        threads: dict[int, list[Event]] = defaultdict(list)
        for event in sorted(self.events, key=lambda each: (each.start, -each.duration)):
            around = threads[event.thread]
            while around and around[-1].start + around[-1].duration <= event.start:
                around.pop()
            if around:
                inside[id(around[-1])] += event.duration
            else:
                outer += event.duration
            around.append(event)
        for event in self.events:
            yield event.node, event.operator, max(0, event.duration - inside[id(event)]) / 1000
        yield "", BETWEEN, max(0, self.duration - outer) / 1000


def read_runs(path: Path) -> Iterator[Run]:
    """The runs in a profile of ONNX Runtime, in order; read line by line, since a long one has a gigabyte.

    Raises:
        NoProfile: the file is missing or damaged.
    """
    events: list[Event] = []
    complete = False
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                text = line.strip().rstrip(",")
                complete = text == "]"
                if text in ("", "[", "]"):
                    continue
                event = json.loads(text)
                if event["name"].endswith(_KERNEL):
                    events.append(_event(event))
                elif event["name"] == _RUN:
                    yield Run(int(event["dur"]), events)
                    events = []
    except OSError as error:
        raise NoProfile(f"its profile can't be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoProfile("its profile is damaged: is the folder for temporary files full?") from error
    if not complete:
        raise NoProfile("its profile breaks off: is the folder for temporary files full?")


def _event(event: Any) -> Event:
    return Event(
        node=event["name"].removesuffix(_KERNEL),
        operator=str(event["args"]["op_name"]),
        thread=int(event["tid"]),
        start=int(event["ts"]),
        duration=int(event["dur"]),
    )
