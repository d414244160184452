"""``mosear-eval run``: a bundle or a checkpoint against a benchmark."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mosear.clips.benchmarks.options import ReadOptions
from mosear.clips.benchmarks.registry import DATASETS
from mosear.evaluation.commands.pairs import numbers_of, pairs_of
from mosear.evaluation.commands.progress import clip_bar
from mosear.evaluation.commands.tables import print_ablation, print_plan, print_run
from mosear.evaluation.distribution.threads import threads_for
from mosear.evaluation.finish import finish
from mosear.evaluation.metrics.synonyms import load_synonyms
from mosear.evaluation.plan import Wishes, make_plan
from mosear.evaluation.report.ablation_page import write_ablation
from mosear.evaluation.run import Where, answer_all
from mosear.evaluation.variants import AS_IS
from mosear.runtime.commands.choices import Debug, DryRun, Provider
from mosear.runtime.terminal import exits


def run(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE|CHECKPOINT",
            envvar="MOSEAR_BUNDLE",
            help="A bundle, or a checkpoint (its folder, or the word reference), which runs in PyTorch.",
        ),
    ],
    dataset: Annotated[str, typer.Option(help=f"One of: {', '.join(DATASETS)}.")],
    root: Annotated[Path, typer.Option(metavar="DIR", help="Its folder, in the layout that its authors give it.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="RESULTS",
            help="Folder of the results; results/NAME-PRECISION-DATASET by default. A run that was stopped goes on.",
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Part of the benchmark, in its own words.")] = None,
    fold: Annotated[int | None, typer.Option(min=1, help="Only this fold's test set; all folds by default.")] = None,
    labels: Annotated[Path | None, typer.Option(metavar="FILE", help="A label file elsewhere.")] = None,
    media: Annotated[Path | None, typer.Option(metavar="DIR", help="The clips, where they lie elsewhere.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=COLUMN", help="Of a CSV or JSON file; repeatable.")
    ] = None,
    separator: Annotated[str | None, typer.Option(help="Between several labels in one cell.")] = None,
    words: Annotated[
        str,
        typer.Option(help="model: answers in the model's label words; benchmark: asks for the benchmark's own words."),
    ] = "model",
    mapped: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="LABEL=WORD", help="A label of the benchmark is met by this word; repeatable."),
    ] = None,
    answer: Annotated[
        str, typer.Option(help="score: label words are scored; write: the model writes its answer, which is parsed.")
    ] = "score",
    reason: Annotated[
        bool, typer.Option("--reason", help="Also ask for reasons: for EMER, open vocabulary, and studies.")
    ] = False,
    window: Annotated[float | None, typer.Option(metavar="S", help="Seconds a window, as for mosear run.")] = None,
    hop: Annotated[float | None, typer.Option(metavar="S", help="Seconds between windows, as for mosear run.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="So many clips, evenly spaced over the list.")] = None,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="A checkpoint four times: base, +MoSE, +AR, both; encoders run once.")
    ] = False,
    base_reallocation: Annotated[
        str | None,
        typer.Option(metavar="RATE,THRESHOLD", help="Of the row +AR; the checkpoint's by default, made for MoSE."),
    ] = None,
    synonyms: Annotated[
        Path | None, typer.Option(metavar="FILE", help="More emotion words and what they are folded to: JSON or CSV.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that answer, each with its own model.")] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Answer on a Ray cluster that is there already.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(envvar="MOSEAR_THREADS", min=1, help="CPU threads of each model.")
    ] = None,
    provider: Annotated[
        Provider | None, typer.Option(envvar="MOSEAR_PROVIDER", help="Where a bundle computes.")
    ] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Also write report.html.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON in place of tables.")] = False,
    dry_run: DryRun = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    debug: Debug = False,
) -> None:
    """Answer a benchmark's clips and measure the answers; see the help above."""
    with exits(debug):
        if threads is None and ray is not None:
            threads = 1
        elif threads is None and workers is not None:
            threads = threads_for(workers)
        wishes = Wishes(
            subject=subject,
            dataset=dataset,
            root=root,
            read=ReadOptions(split, fold, labels, pairs_of("--column", column), media, separator),
            output=output,
            words=words,
            own_words=pairs_of("--map", mapped),
            answer=answer,
            reason=reason,
            window_s=window,
            hop_s=hop,
            limit=limit,
            ablate=ablate,
            base_reallocation=numbers_of("--base-reallocation", base_reallocation),
            threads=threads,
            provider=None if provider is None else provider.value,
            synonyms=None if synonyms is None else load_synonyms(synonyms),
            debug=debug,
        )
        plan = make_plan(wishes)
        print(f"licence: {plan.benchmark.licence}", file=sys.stderr)
        if dry_run:
            print_plan(plan.describe(), as_json)
            return
        print(plan.subject.notice, file=sys.stderr, flush=True)
        with clip_bar(len(plan.clips), quiet) as progress:
            skipped = answer_all(plan, Where(workers, ray), progress)
        if skipped:
            print(f"{len(skipped)} clips were left out; skipped.jsonl says why", file=sys.stderr, flush=True)
        figures = {name: finish(folder, wishes.synonyms, report) for name, folder in plan.outputs.items()}
        if ablate and report:
            write_ablation(plan.output, figures)
        if as_json:
            print(json.dumps(figures if ablate else figures[AS_IS], indent=1, ensure_ascii=False, allow_nan=False))
        elif ablate:
            print_ablation(figures)
        else:
            print_run(figures[AS_IS])
        if not as_json:
            print(plan.output)
