"""``mosear-export``: build, calibrate, engine, inspect, verify and list targets."""

from __future__ import annotations

import dataclasses
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
from rich.table import Table

from mosear.export.targets import TARGETS
from mosear.export.terminal import print_checks, print_plan, print_report, print_targets, stages
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
    recipe: Annotated[
        str | None, typer.Option(envvar="MOSEAR_RECIPE", help="a YAML file, or the name of one that ships")
    ] = None,
    target: Annotated[
        str | None, typer.Option(envvar="MOSEAR_TARGET", help="see `mosear-export targets`, or a YAML file [cpu]")
    ] = None,
    precision: Annotated[str | None, typer.Option(envvar="MOSEAR_PRECISION", help="one of the target's")] = None,
    mose: Annotated[
        str | None, typer.Option(help="merged: constant gates; dynamic: exact; auto: merged if close enough [auto]")
    ] = None,
    max_kl: Annotated[float | None, typer.Option(help="auto merges up to this KL from dynamic, nats")] = None,
    min_agreement: Annotated[float | None, typer.Option(help="auto merges from this label agreement on")] = None,
    rank: Annotated[int | None, typer.Option(help="truncate the visual low-rank term to this rank by SVD")] = None,
    reallocation: Annotated[str | None, typer.Option(help="checkpoint: as it has it; off [checkpoint]")] = None,
    lm_head: Annotated[
        str | None, typer.Option(help="labels: also a graph that projects onto the label words only [full]")
    ] = None,
    calibration: Annotated[Path | None, typer.Option(help="folder of a calibration [the checkpoint's own]")] = None,
    capacity: Annotated[int | None, typer.Option(help="length of the KV cache, tokens [512]")] = None,
    clips: Annotated[Path | None, typer.Option(help="verify on this folder's clips (labels.csv)")] = None,
    examples: Annotated[int | None, typer.Option(help="synthetic clips to verify on, without --clips [300]")] = None,
    sensitivity: Annotated[
        bool | None, typer.Option("--sensitivity/--no-sensitivity", help="measure what each layer alone costs")
    ] = None,
    engines: Annotated[
        bool, typer.Option("--engines/--no-engines", help="for an rtx target: compile its engines here")
    ] = True,
    intended_use: Annotated[str | None, typer.Option(help="what the bundle is for; recorded in it")] = None,
    use_reason: Annotated[str | None, typer.Option(help="medical or safety reason for workplace or education")] = None,
    threads: ThreadsOption = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan and do nothing")] = False,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Build and verify a bundle; the last line on stdout is its path."""
    with _errors(debug):
        from mosear.export import build as builder
        from mosear.export.plan import describe, make_plan
        from mosear.export.recipe import Recipe
        from mosear.export.recipe_files import find_recipe, override

        chosen = override(
            find_recipe(recipe) if recipe else Recipe(),
            target=target,
            precision=precision,
            mose=mose,
            max_kl=max_kl,
            min_agreement=min_agreement,
            rank=rank,
            reallocation=reallocation,
            lm_head=lm_head,
            calibration=calibration,
            capacity=capacity,
            clips=clips,
            examples=examples,
            sensitivity=sensitivity,
            intended_use=intended_use,
            use_reason=use_reason,
        )
        plan = make_plan(checkpoint, output, chosen, threads, engines)
        if dry_run:
            print_plan(describe(plan), as_json)
            return
        failed: builder.VerificationFailed | None = None
        try:
            with stages() as progress:
                result = builder.build(plan, progress)
        except builder.VerificationFailed as error:
            failed, result = error, error.report
        print_report(result.as_dict(), output, as_json)
        if failed:
            raise failed
        if not as_json:
            print(output)


@app.command()
def calibrate(
    checkpoint: Annotated[str, typer.Argument(help="a checkpoint's folder, or `reference`")],
    clips: Annotated[Path, typer.Argument(help="folder of clips (labels.csv) or of arrays")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the two files")],
    count: Annotated[int, typer.Option(min=16, help="clips to draw at most")] = 512,
    seed: Annotated[int, typer.Option(min=0, help="of the draw")] = 0,
    max_audio_loss: Annotated[float, typer.Option(min=0, max=1, help="bound on audio-aligned loss")] = 0.01,
    ranges: Annotated[
        bool, typer.Option("--ranges/--no-ranges", help="measure ranges and scales (needs the extra `calibration`)")
    ] = True,
    threads: ThreadsOption = 2,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Learn from clips what a build needs; the last line on stdout is the folder."""
    with _errors(debug):
        import torch

        from mosear.calibration.quantization import METHODS
        from mosear.calibration.run import calibrate_clips
        from mosear.model.checkpoint import resolve

        torch.set_num_threads(threads)
        with stages() as progress:
            record = calibrate_clips(
                resolve(checkpoint),
                clips,
                count=count,
                seed=seed,
                max_audio_loss=max_audio_loss,
                methods=METHODS if ranges else None,
                progress=progress,
            )
        record.save(output)
        for note in record.notes:
            print(f"note: {note}", file=sys.stderr)
        print((output / "calibration.json").read_text(encoding="utf-8") if as_json else output)


@app.command()
def engine(
    bundle: Annotated[Path, typer.Argument(help="a bundle for a jetson or rtx target")],
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(help="build for this GPU, e.g. 8.9 (repeatable; rtx only) [the one that is here]"),
    ] = None,
    debug: DebugFlag = False,
) -> None:
    """Compile a bundle's graphs into engines, on the device that runs them; the last line on stdout is the bundle."""
    with _errors(debug):
        from mosear.export.engine import add_engines

        with stages() as progress:
            add_engines(Bundle.open(bundle), tuple(compute_capability or ()), progress)
        print(bundle)


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
            print_checks(manifest.verification)


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

        with stages() as progress:
            result = reverify(opened, against, clips, examples, threads, progress)
        print_report(result.as_dict(), bundle, as_json)
        if not result.passed:
            raise typer.Exit(4)


@app.command()
def targets(as_json: JsonFlag = False) -> None:
    """List the targets that a bundle can be built for."""
    if as_json:
        rows: list[dict[str, Any]] = [
            dataclasses.asdict(t) | {"features": sorted(t.features)} for t in TARGETS.values()
        ]
        print(json.dumps(rows, indent=2))
        return
    print_targets(TARGETS.values())


def main() -> None:
    """Entry point of ``mosear-export``."""
    app()
