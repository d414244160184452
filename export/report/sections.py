"""The sections of the page, one function each; a section without figures is empty."""

from __future__ import annotations

from itertools import groupby

from mosear.evaluation.metrics.calibration import Bin
from mosear.export.checks.record import Check, Report
from mosear.export.report.charts import gate_bars, heads_map, pair_bars, reliability_diagram, subset_bars
from mosear.runtime.report.markup import Markup, figures, joined, megabytes, number, percent, table, tag

NOTHING = Markup()
_SHOWN = 8  # parts whose sensitivity is shown; the rest is folded away
_LAYER_HEAD = ("Layer", "Cosine", "Max difference", "relative", "Heads alike", "Telemetry, max difference")
_RUN_BY = {"vision": "vision", "audio": "audio", "prefill": "decoder", "labels": "decoder"}
_COMPONENTS = {
    "vision": "Vision encoder",
    "audio": "Audio encoder",
    "decoder": "Decoder",
    "whole": "The whole model",
    "PyTorch": "PyTorch, for comparison",
    "experts": "Merged experts against dynamic ones, both in PyTorch",
}


def heading(report: Report) -> Markup:
    """Verdict, notice, and what was verified."""
    facts = report.identity
    failed = len(report.failed)
    gates = sum(check.tolerance is not None for check in report.checks)
    verdict = f"failed: {failed} of {gates} checks" if failed else f"passed: {gates} checks"
    rows = {
        "Made from": joined("checkpoint ", tag("code", facts.checkpoint)),
        "For": f"{facts.target}, {facts.backend}",
        "Precision": ", ".join([facts.precision, *(f"{part} {kind}" for part, kind in facts.precisions.items())]),
        "Experts": facts.mose,
        "Reallocation": facts.reallocation,
        "Labels": ", ".join(facts.labels),
        "Calibrated on": joined(
            f"{facts.calibration_clips} clips: {facts.calibration_source} ", tag("code", facts.calibration_sha256)
        ),
        "Compared on": f"{report.examples} windows by label, {report.numeric_examples} of them number by number",
        "Built": f"{facts.created} by mosear {facts.tool_version}",
        "Intended use": facts.intended_use,
        "Licences": "; ".join(facts.licences) or "none stated",
    }
    items = [joined(tag("dt", name), tag("dd", text)) for name, text in rows.items()]
    estimate = "A predicted emotion is an estimate of how an expression reads, not of what a person feels."
    return joined(
        tag("h1", f"Verification of {facts.name}"),
        tag("p", tag("span", verdict, class_=f"verdict {'fail' if failed else 'pass'}")),
        _failures(report),
        tag(
            "div",
            tag("p", joined(tag("strong", facts.notice), " " if facts.notice else "", estimate)),
            class_="callout",
        ),
        tag("dl", items),
    )


def _failures(report: Report) -> Markup:
    if report.passed:
        return NOTHING
    lines = [tag("p", f"{c.name}: {number(c.measured)}, must be {_bound(c)}") for c in report.failed]
    return tag("div", lines, class_="callout fail")


def _bound(check: Check) -> str:
    if check.tolerance is None:
        return "reported"
    sign = "≤" if check.relation == "<=" else "≥"
    bound = f"{sign} {number(check.tolerance)}"
    if not check.margin:
        return bound
    return f"{bound} {'+' if check.relation == '<=' else '−'} {number(check.margin)} = {number(check.bound or 0.0)}"


def checks(report: Report) -> Markup:
    """Every check, by component."""
    rows: list[Markup] = []
    for (component, precision), group in groupby(report.checks, lambda check: (check.component, check.precision)):
        title = ", ".join(filter(None, (_COMPONENTS.get(component, component), precision)))
        rows.append(tag("tr", tag("td", title, colspan=5), class_="group"))
        rows += [_check_row(check) for check in group]
    head = tag("tr", [tag("th", name, scope="col") for name in ("Check", "Measured", "Must be", "n", "")])
    body = tag("table", tag("thead", head), tag("tbody", rows), class_="checks")
    note = (
        "n: windows, clips or layers behind the figure. A number after + is what sampling noise adds to the tolerance: "
        "1.645 standard errors of the difference on these n clips, so that a check fails when its bound is exceeded "
        "with 95 % confidence. Few clips can only show a large loss."
    )
    return _section("Checks", tag("div", body, class_="box", tabindex="0"), tag("p", note, class_="soft"))


def _check_row(check: Check) -> Markup:
    mark = ("–", None) if check.tolerance is None else ("pass", "pass") if check.passed else ("FAIL", "fail")
    return tag(
        "tr",
        tag("td", check.name),
        tag("td", number(check.measured), class_="number"),
        tag("td", _bound(check)),
        tag("td", number(check.count) if check.count else "", class_="number"),
        tag("td", mark[0], class_=mark[1]),
    )


def accuracy(report: Report) -> Markup:
    """Accuracy and agreement by subset."""
    if not report.accuracy:
        return NOTHING
    head = ("Subset", "Clips", "PyTorch", "Bundle", "Same label", "Lost", "Gained")
    rows = [
        (
            name,
            *(number(row.clips), percent(row.pytorch), percent(row.bundle), percent(row.agreement)),
            *(number(row.lost), number(row.gained)),
        )
        for name, row in report.accuracy.items()
    ]
    note = "Whiskers: Wilson's 95 % interval. Lost: clips that only PyTorch answers right; gained: only the bundle."
    return _section(
        "Accuracy by subset",
        tag("div", subset_bars(report.accuracy), class_="charts"),
        figures("the numbers", table(head, rows)),
        tag("p", note, class_="soft"),
    )


def reliability(report: Report) -> Markup:
    """Confidence against accuracy."""
    trust = report.reliability
    if trust is None:
        return NOTHING
    text = (
        f"Expected calibration error on {trust.clips} labelled clips, after temperature {number(trust.temperature)}: "
        f"bundle {number(trust.bundle_error)}, PyTorch {number(trust.pytorch_error)}; standard error of the difference "
        f"{number(trust.noise)}."
    )
    head = ("Whose", "From", "To", "Answers", "Confidence", "Right")
    sides: tuple[tuple[str, tuple[Bin, ...]], ...] = (("bundle", trust.bundle), ("PyTorch", trust.pytorch))
    rows = [
        (
            side,
            *(number(row.low), number(row.high), number(row.count)),
            *(percent(row.confidence), percent(row.accuracy)),
        )
        for side, bins in sides
        for row in bins
    ]
    return _section(
        "Calibration of the scores",
        tag("p", text),
        tag("div", reliability_diagram(trust), class_="charts"),
        figures("the numbers", table(head, rows)),
    )


def experts(report: Report) -> Markup:
    """Gates by layer and class, and what holding them constant changes."""
    parts: list[Markup] = []
    spread = report.divergence
    if spread is not None:
        text = (
            f"Constant gates against dynamic ones, both in PyTorch, on {spread.windows} windows: "
            f"same label {percent(spread.label_agreement)}, KL of the label distributions {number(spread.label_kl)} "
            f"nats on average and {number(spread.worst_kl)} at most."
        )
        parts.append(tag("p", text))
    if report.gates:
        ordered = sorted(report.gates, key=lambda row: (row.projection, row.modality != "visual", row.layer))
        charts = [
            gate_bars(list(rows), f"{projection}, {modality.replace('_', '-')} tokens, by layer")
            for (projection, modality), rows in groupby(ordered, lambda row: (row.projection, row.modality))
        ]
        names = list(report.gates[0].mean)
        head = ("Module", "Layer", "Tokens", *names, *(f"variance, {name}" for name in names))
        lines = [
            (
                *(row.module, number(row.layer), row.modality),
                *(number(row.mean[name]) for name in names),
                *(number(row.variance[name]) for name in names),
            )
            for row in report.gates
        ]
        parts += [
            tag("div", charts, class_="charts"),
            figures("the numbers", table(head, lines, "wide")),
            tag("p", "Whiskers: one standard deviation of the gate over the calibration tokens.", class_="soft"),
        ]
    return _section("Experts", *parts) if parts else NOTHING


def heads(report: Report) -> Markup:
    """Which heads were reallocated."""
    if not report.heads:
        return NOTHING
    across = max(len(row.share) for row in report.heads)
    head = ("Layer", "Alike", *(f"head {place}" for place in range(across)))
    rows = [
        (number(row.layer), percent(row.agreement), *(percent(share) for share in row.share)) for row in report.heads
    ]
    text = "Share of windows in which each head gave up audio attention, all modalities shown."
    note = "Alike: share of decisions on which bundle and PyTorch agree, gates alike."
    return _section(
        "Heads reallocated",
        tag("p", text),
        tag("div", heads_map(report.heads), class_="charts"),
        figures("the numbers", table(head, rows, "wide"), tag("p", note, class_="soft")),
    )


def layers(report: Report) -> Markup:
    """Outputs of the decoder layers against PyTorch's."""
    if not report.layers:
        return NOTHING
    rows = [
        (
            *(number(row.layer), f"{row.cosine:.6g}"),
            *(
                "" if figure is None else number(figure)
                for figure in (row.max_difference, row.relative, row.heads_agree, row.telemetry_difference)
            ),
        )
        for row in report.layers
    ]
    least = min(report.layers, key=lambda row: row.cosine)
    text = f"Outputs of {len(rows)} decoder layers against PyTorch's; the least alike is layer {least.layer}, cosine "
    return _section(
        "Layer by layer",
        tag("p", f"{text}{least.cosine:.6g}."),
        figures("the numbers", table(_LAYER_HEAD, rows, "wide")),
    )


def sensitivity(report: Report) -> Markup:
    """The parts that cost most."""
    if not report.sensitivity:
        return NOTHING
    rows = [
        (
            *(row.part, row.format, number(row.label_kl), number(row.logits_difference)),
            *(percent(row.label_agreement), number(row.weights)),
        )
        for row in report.sensitivity
    ]
    head = ("Part", "Format", "Label KL, nats", "Logits, max", "Same label", "Weights")
    costly = ", ".join(row.part for row in report.sensitivity[:3])
    text = f"Each part quantized alone, all else in float32. These cost most, so keep them finer first: {costly}."
    rest = figures(f"{len(rows) - _SHOWN} parts that cost less", table(head, rows[_SHOWN:], "wide"))
    return _section(
        "What each part's precision costs",
        tag("p", text),
        table(head, rows[:_SHOWN], "wide"),
        rest if len(rows) > _SHOWN else NOTHING,
    )


def cost(report: Report) -> Markup:
    """Size and latency, this precision against float32 PyTorch."""
    charts: list[Markup] = []
    parts: list[Markup] = []
    if report.sizes:
        shown = {
            f"{row.component}{', ' + row.precision if row.precision else ''}": (
                row.float32_bytes / 1e6,
                row.total / 1e6,
            )
            for row in report.sizes
            if row.float32_bytes
        }
        if shown:
            charts.append(pair_bars(shown, "MB", ("float32", "bundle")))
        total = sum(row.total for row in report.sizes)
        rows = [
            (name, row.component, row.precision, number(size))
            for row in report.sizes
            for name, size in row.files.items()
        ]
        whole = [(row.component, number(row.float32_bytes)) for row in report.sizes if row.float32_bytes]
        parts.append(tag("p", f"The bundle takes {megabytes(total)} in {len(rows)} files."))
        parts.append(figures("files", table(("File", "Component", "Precision", "Bytes"), rows)))
        if whole:
            parts.append(figures("parameters in float32", table(("Component", "Bytes"), whole)))
    if report.latency is not None:
        times = report.latency
        kinds = report.identity.precisions
        stages = {
            ", ".join(filter(None, (stage, kinds.get(_RUN_BY.get(stage, ""), "")))): (times.pytorch[stage], median)
            for stage, median in times.bundle.items()
        }
        charts.append(pair_bars(stages, "ms", ("PyTorch eager", "bundle")))
        ratio = times.pytorch["total"] / times.bundle["total"] if times.bundle["total"] else float("nan")
        text = (
            f"Latency: medians of {times.windows} windows, three rows each (all, picture, sound), "
            f"{times.threads} thread{'s' if times.threads != 1 else ''} each, in turns in this verification: the "
            f"bundle is {ratio:.2f} times as fast. The machine was not otherwise quieted."
        )
        parts.insert(0, tag("p", text))
        rows_ms = [(stage, number(pair[0]), number(pair[1])) for stage, pair in stages.items()]
        parts.append(figures("milliseconds", table(("Stage", "PyTorch", "Bundle"), rows_ms)))
    return _section("Size and latency", tag("div", charts, class_="charts"), *parts) if parts else NOTHING


def _section(title: str, *content: str) -> Markup:
    return tag("section", tag("h2", title), *content)
