"""What ``mosear profile`` does: one bundle measured, two compared in turns, or two saved profiles compared."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mosear.runtime.bundle import Bundle
from mosear.runtime.commands.interrupts import Interrupts
from mosear.runtime.commands.profile_outputs import check_outputs, put
from mosear.runtime.errors import UsageError
from mosear.runtime.profiling.clip_at_hand import clip_at_hand
from mosear.runtime.profiling.compare import Comparison
from mosear.runtime.profiling.compare_bundles import check_comparable, compare_bundles
from mosear.runtime.profiling.compare_profiles import compare_profiles, read_profile
from mosear.runtime.profiling.forms.write import Form, render, render_comparison, write, write_comparison
from mosear.runtime.profiling.measure import measure
from mosear.runtime.profiling.plan import Plan
from mosear.runtime.profiling.progress import Tell, nobody
from mosear.runtime.profiling.scenario import Scenario
from mosear.runtime.profiling.source import Source
from mosear.runtime.terminal import writing

_NOT_COMPARED = ("hop", "cold", "operators", "idle")
_NOT_SAVED = ("runs", "warmup", "window", "tokens", "threads", "provider")
_PAUSE_S = 0.1


@dataclass(frozen=True)
class Asked:
    """The options of ``mosear profile``; ``spelt`` are the names of those on the command line itself."""

    bundle: Path | None
    clip: Path | None
    compare: tuple[Path, Path] | None
    runs: int
    warmup: int
    window: float | None
    tokens: int | None
    scenario: Scenario
    hop: float | None
    cold: int
    operators: bool
    idle: float
    threads: int | None
    provider: str | None
    outputs: tuple[Path, ...]
    form: Form
    dry_run: bool
    debug: bool
    quiet: bool
    spelt: frozenset[str]


def answer(asked: Asked) -> int:
    """Do what is asked.

    Returns:
        The exit code.

    Raises:
        MosearError: it can't be done.
    """
    check_outputs(asked.outputs, comparison=asked.compare is not None)
    if asked.compare is None:
        return _profile(asked)
    if asked.clip is not None:
        raise UsageError("with --compare the one argument is the clip", "leave the other out")
    if asked.scenario is not Scenario.single_stream:
        raise UsageError("a comparison takes windows one after another", "leave --scenario out")
    _refuse(asked, _NOT_COMPARED, "a comparison")
    saved = [_is_saved(path) for path in asked.compare]
    if saved[0] != saved[1]:
        raise UsageError(
            f"{asked.compare[saved[1]]} is a saved profile and {asked.compare[saved[0]]} is a bundle",
            "compare two bundles, or two files that mosear profile -o wrote",
        )
    return _compare_saved(asked, *asked.compare) if saved[0] else _compare(asked, *asked.compare)


def _refuse(asked: Asked, names: tuple[str, ...], what: str) -> None:
    for name in names:
        if name in asked.spelt:
            flag = "no-operators" if name == "operators" and not asked.operators else name
            raise UsageError(f"--{flag} has no part in {what}", f"leave --{flag} out")


def _is_saved(path: Path) -> bool:
    return path.is_file() or (path.suffix.lower() == ".json" and not path.is_dir())


def _profile(asked: Asked) -> int:
    if asked.bundle is None:
        raise UsageError("no bundle is named", "mosear profile BUNDLE, or mosear profile --compare A B")
    plan = _plan(asked, asked.bundle, asked.clip)
    _check_clip(plan)
    if asked.dry_run:
        return _say(_lines(plan, asked))
    with _progress(asked) as tell:
        profile = measure(plan, tell)
    return put(asked.outputs, partial(write, profile), partial(render, profile, asked.form), asked.debug)


def _compare(asked: Asked, first: Path, second: Path) -> int:
    a, b = _plan(asked, first, asked.bundle), _plan(asked, second, asked.bundle)
    check_comparable(a, b)
    for plan in (a, b):
        _check_clip(plan)
    if asked.dry_run:
        return _say(
            {
                "A": str(first),
                "B": str(second),
                "clip": _clip(a),
                "pairs": f"{asked.runs} after {asked.warmup} for warming up, order within a pair random",
                "text": _text(min(a.tokens or 0, b.tokens or 0)),
                "output": _outputs(asked),
            }
        )
    with _progress(asked) as tell:
        comparison = compare_bundles(a, b, tell=tell)
    return _put(asked, comparison)


def _compare_saved(asked: Asked, first: Path, second: Path) -> int:
    _refuse(asked, _NOT_SAVED, "a comparison of saved profiles")
    if asked.bundle is not None:
        raise UsageError("saved profiles are compared without a clip", f"leave {asked.bundle} out")
    if asked.dry_run:
        for path in (first, second):
            read_profile(path)
        return _say({"A": str(first), "B": str(second), "output": _outputs(asked)})
    return _put(asked, compare_profiles(first, second))


def _put(asked: Asked, comparison: Comparison) -> int:
    render_it = partial(render_comparison, comparison, asked.form)
    return put(asked.outputs, partial(write_comparison, comparison), render_it, asked.debug)


def _plan(asked: Asked, bundle: Path, clip: Path | None) -> Plan:
    # A hop that comes from a file of options is meant for live work as well.
    hop = asked.hop if "hop" in asked.spelt or asked.scenario is Scenario.fixed_rate else None
    return Plan(
        bundle=Bundle.open(bundle),
        clip=clip,
        runs=asked.runs,
        warmup=asked.warmup,
        window_s=asked.window,
        tokens=asked.tokens,
        threads=asked.threads,
        provider=asked.provider,
        scenario=asked.scenario,
        hop_s=hop,
        cold=asked.cold,
        operators=asked.operators,
        idle_s=asked.idle,
        debug=asked.debug,
    ).resolved()


def _check_clip(plan: Plan) -> None:
    """Raise BadInput for a clip that can't be read, before fresh processes are started."""
    if plan.clip is not None:
        with clip_at_hand(plan.clip, plan.window_s or 0.0) as clip:
            Source(clip.path, plan.bundle.manifest.preprocessing, plan.window_s, clip.transcript)


def _lines(plan: Plan, asked: Asked) -> dict[str, str]:
    facts = plan.facts
    return {
        "bundle": f"{facts['path']}: {facts['name']} for {facts['target']}, {facts['precision']}, {facts['backend']}",
        "provider": f"{plan.provider}, {plan.threads or 'as many as the library likes'} threads",
        "clip": _clip(plan),
        "scenario": plan.scenario.value + (f", a window every {plan.hop_s:g} s" if plan.hop_s else ""),
        "runs": f"{plan.runs} after {plan.warmup} for warming up",
        "text": _text(plan.tokens or 0),
        "cold starts": str(plan.cold or "none"),
        "idle": f"{plan.idle_s:g} s, where a power rail can be read" if plan.idle_s else "not measured",
        "operators": "in a pass of their own" if plan.operators else "not measured",
        "output": _outputs(asked),
    }


def _clip(plan: Plan) -> str:
    return f"{plan.clip or 'built-in'}, windows of {plan.window_s:g} s"


def _text(tokens: int) -> str:
    return f"up to {tokens} tokens behind each answer" if tokens else "none"


def _outputs(asked: Asked) -> str:
    return ", ".join([f"{asked.form.value} to standard output", *map(str, asked.outputs)])


def _say(lines: dict[str, str]) -> int:
    width = max(map(len, lines))
    with writing():
        print("".join(f"{name:<{width}}  {text}\n" for name, text in lines.items()), end="", flush=True)
    return 0


@contextmanager
def _progress(asked: Asked) -> Iterator[Tell]:
    """Shows how far it is, and ends it between two runs when Ctrl-C came."""
    with Interrupts() as interrupts, _shown(asked) as show:

        def tell(stage: str, done: int, of: int) -> None:
            interrupts.check()
            show(stage, done, of)

        yield tell


@contextmanager
def _shown(asked: Asked) -> Iterator[Tell]:
    console = Console(stderr=True)
    if asked.quiet or not console.is_terminal:
        yield nobody
        return
    # Drawn between runs only: a thread that draws by itself would take time from what is measured.
    with Live(console=console, transient=True, auto_refresh=False, redirect_stdout=False) as live:
        drawn, stage_now = 0.0, ""

        def tell(stage: str, done: int, of: int) -> None:
            nonlocal drawn, stage_now
            if stage == stage_now and time.monotonic() - drawn < _PAUSE_S:
                return
            drawn, stage_now = time.monotonic(), stage
            live.update(Text(f"{stage} … {done} of {of}" if of > 1 else f"{stage} …"), refresh=True)

        yield tell
