"""``mosear-export``: build, inspect, verify and list targets."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mosear.export.intended_use import DEFAULT_USE, check_intended_use
from mosear.export.targets import TARGETS, find_target
from mosear.runtime.bundle import Bundle
from mosear.runtime.errors import Failed, MosearError, UsageError, report

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From a trained MoSEAR checkpoint to a verified bundle that `mosear` runs.",
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 bad input, 4 a check failed.",
)
JsonFlag = Annotated[bool, typer.Option("--json", help="print one JSON object instead of tables")]
DebugFlag = Annotated[bool, typer.Option("--debug", help="show the whole trace of an error")]
ThreadsOption = Annotated[int, typer.Option(min=1, envvar="MOSEAR_THREADS", help="CPU threads")]


@contextmanager
def _errors(debug: bool) -> Iterator[None]:
    """Turn errors into two lines and an exit code, and termination into clean-up."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except MosearError as error:
        if debug:
            raise
        report(error)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        print("stopped; nothing was left behind", file=sys.stderr)
        raise typer.Exit(130) from None
    except Exception as error:
        if debug:
            raise
        report(
            Failed(f"unexpected {type(error).__name__}: {error}", "run again with --debug and report what it prints")
        )
        raise typer.Exit(1) from None


@app.command()
def build(
    checkpoint: Annotated[str, typer.Argument(help="a checkpoint's folder, or `reference`: the one that ships")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder of the bundle; replaced only by a good build")],
    target: Annotated[str, typer.Option(envvar="MOSEAR_TARGET", help="see `mosear-export targets`")] = "cpu",
    precision: Annotated[str | None, typer.Option(envvar="MOSEAR_PRECISION", help="one of the target's")] = None,
    mose: Annotated[str, typer.Option(help="merged: constant gates, no cost in decoding; dynamic: exact")] = "merged",
    capacity: Annotated[int, typer.Option(min=64, help="length of the KV cache, tokens")] = 512,
    clips: Annotated[Path | None, typer.Option(help="verify on this folder's clips (labels.csv)")] = None,
    examples: Annotated[int, typer.Option(min=18, help="synthetic clips to verify on, without --clips")] = 300,
    intended_use: Annotated[str, typer.Option(help="what the bundle is for; recorded in it")] = DEFAULT_USE,
    use_reason: Annotated[str | None, typer.Option(help="medical or safety reason for workplace or education")] = None,
    threads: ThreadsOption = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan and do nothing")] = False,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Build and verify a bundle; the last line on stdout is its path."""
    with _errors(debug):
        from mosear.export import build as builder
        from mosear.model.checkpoint import resolve

        chosen, resolved_precision = find_target(target, precision)
        if mose not in ("merged", "dynamic"):
            raise UsageError(f"--mose {mose!r} is unknown", "use merged or dynamic")
        use = check_intended_use(intended_use, use_reason)
        plan = builder.Plan(
            checkpoint=resolve(checkpoint),
            output=output,
            target=chosen,
            precision=resolved_precision,
            mose=mose,
            capacity=capacity,
            clips=clips,
            examples=examples,
            intended_use=use,
            threads=threads,
        )
        if dry_run:
            _print_plan(builder.describe(plan), as_json)
            return
        failed: builder.VerificationFailed | None = None
        try:
            with _stages() as progress:
                result = builder.build(plan, progress)
        except builder.VerificationFailed as error:
            failed, result = error, error.report
        _print_report(result.as_dict(), output, as_json)
        if failed:
            raise failed
        if not as_json:
            print(output)


@app.command()
def inspect(
    bundle: Annotated[Path, typer.Argument(help="a bundle's folder")],
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Show what a bundle is, after checking the hash of every file."""
    with _errors(debug):
        manifest = Bundle.open(bundle).manifest
        if as_json:
            print(manifest.model_dump_json(indent=2))
            return
        size = sum(entry.size for entry in manifest.files.values())
        mode = (manifest.mose or {}).get("mode", "none")
        ar = manifest.reallocation
        rows = {
            "model": f"{manifest.name} ({manifest.checkpoint.sha256[:12]})",
            "made": f"{manifest.created} by mosear {manifest.tool_version}",
            "runs on": f"{manifest.target} with {manifest.backend}, {manifest.precision}",
            "labels": ", ".join(label.name for label in manifest.labels),
            "window": f"{manifest.preprocessing.window_s:g} s, {manifest.preprocessing.frames} frames of "
            f"{manifest.preprocessing.frame_size} px, sound at {manifest.preprocessing.sample_rate} Hz",
            "experts": mode,
            "reallocation": "off" if ar is None else f"rate {ar.rate:g}, threshold {ar.threshold:g}, {ar.rows} rows",
            "calibrated on": "nothing"
            if manifest.calibration is None
            else f"{manifest.calibration.clips} clips: {manifest.calibration.source}",
            "intended use": manifest.intended_use,
            "size": f"{size / 1e6:.1f} MB in {len(manifest.files)} files, every hash right",
            "notice": manifest.notice,
        }
        table = Table(show_header=False, box=None)
        for name, value in rows.items():
            table.add_row(name, value)
        Console().print(table)
        if manifest.verification:
            _print_checks(manifest.verification)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="a bundle's folder")],
    against: Annotated[str | None, typer.Option(help="checkpoint to compare with; hashes only without it")] = None,
    clips: Annotated[Path | None, typer.Option(help="compare on this folder's clips (labels.csv)")] = None,
    examples: Annotated[int, typer.Option(min=18, help="synthetic clips to compare on, without --clips")] = 300,
    threads: ThreadsOption = 2,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Check every file's hash and, with --against, compare the bundle with its PyTorch model again."""
    with _errors(debug):
        opened = Bundle.open(bundle)
        if against is None:
            if clips is not None:
                raise UsageError("--clips needs a model to compare with", "add --against CHECKPOINT")
            print(json.dumps({"bundle": str(bundle), "hashes": "ok"}) if as_json else f"{bundle}: every hash is right")
            return
        from mosear.export.reverify import reverify

        with _stages() as progress:
            result = reverify(opened, against, clips, examples, threads, progress)
        _print_report(result.as_dict(), bundle, as_json)
        if not result.passed:
            raise typer.Exit(4)


@app.command()
def targets(as_json: JsonFlag = False) -> None:
    """List the targets that a bundle can be built for."""
    if as_json:
        rows: list[dict[str, Any]] = [
            {"name": t.name, "backend": t.backend, "precisions": t.precisions, "description": t.description}
            for t in TARGETS.values()
        ]
        print(json.dumps(rows, indent=2))
        return
    table = Table("target", "backend", "precisions", "what it is")
    for t in TARGETS.values():
        table.add_row(t.name, t.backend, ", ".join(t.precisions), t.description)
    Console().print(table)


@contextmanager
def _stages() -> Iterator[Any]:
    """A progress callback that draws one bar a stage on stderr."""
    columns = (TextColumn("{task.description:16}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, fraction: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
            bars.update(tasks[stage], completed=fraction)

        yield show


def _print_plan(plan: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(plan, indent=2))
        return
    table = Table(show_header=False, box=None)
    for name, value in plan.items():
        table.add_row(name.replace("_", " "), str(value))
    Console().print(table)


def _print_report(result: dict[str, Any], path: Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"bundle": str(path), **result}, indent=2))
    else:
        _print_checks(result)


def _print_checks(result: dict[str, Any]) -> None:
    table = Table("check", "measured", "tolerance", "", title=f"parity with PyTorch on {result['examples']} windows")
    for check in result["checks"]:
        bound = "reported" if check["tolerance"] is None else f"{check['relation']} {check['tolerance']:.4g}"
        mark = "-" if check["tolerance"] is None else ("pass" if check["passed"] else "FAIL")
        table.add_row(check["name"], f"{check['measured']:.4g}", bound, mark)
    Console().print(table)


def main() -> None:
    """Entry point of ``mosear-export``."""
    app()
