"""An answer for people to read."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mosear.runtime.errors import one_line
from mosear.runtime.results import Emotion

_BAR = 20


def card(emotion: Emotion) -> RenderableType:
    """The answer as a block of lines: label and scores, face against voice, what it relied on, states, reason."""
    head = Text()
    head.append(one_line(emotion.clip) or "window", style="bold")
    head.append(f"  {emotion.start:.2f} to {emotion.end:.2f} s  ")
    head.append(emotion.label, style="bold cyan")
    if emotion.scores:
        head.append(f" {emotion.scores[emotion.label]:.2f}")
    parts: list[RenderableType] = [head]
    if emotion.scores:
        parts.append(_scores(emotion))
    facts = _facts(emotion)
    if facts.row_count:
        parts.append(facts)
    return Group(*parts, Text())


def heading(width: int) -> Text:
    """The line above many ``line``s; ``width`` columns for the clip's name."""
    labels = "  ".join(f"{name:13}" for name in ("emotion", "face alone", "voice alone"))
    return Text(f"{'clip':{width}}  {'window':>13}  {labels}  conflict  heads  states", style="bold")


def line(emotion: Emotion, width: int) -> Text:
    """The answer on one line, for many windows below each other."""
    seen, heard = emotion.by_modality.get("visual"), emotion.by_modality.get("audio")
    conflict = "-" if emotion.conflict is None else f"{emotion.conflict:.2f}"
    text = Text(f"{one_line(emotion.clip)[-width:]:{width}}  {emotion.start:5.1f} - {emotion.end:5.1f}  ")
    text.append(f"{_best(emotion.scores):13}", style="bold cyan")
    text.append(f"  {_best(seen):13}  {_best(heard):13}  {conflict:>8}  {len(emotion.reallocated_heads):>5}  ")
    text.append(", ".join(emotion.states), style="yellow")
    return text


def live_heading() -> Text:
    """The line above many ``live_line``s."""
    labels = "  ".join(f"{name:13}" for name in ("over time", "this window", "face alone", "voice alone"))
    return Text(f"{'time':8}  {labels}  conflict  heads  {'ms':>5}  states", style="bold")


def live_line(emotion: Emotion) -> Text:
    """A live answer on one line; its time is the end of the window, in UTC."""
    live = emotion.live
    if live is None:
        raise ValueError("only a live answer has a time")
    conflict = "-" if emotion.conflict is None else f"{emotion.conflict:.2f}"
    text = Text(f"{live.time[11:19]}  ")
    text.append(f"{_best(live.smoothed_scores, live.smoothed_label):13}", style="bold cyan")
    alone = "  ".join(f"{_best(emotion.by_modality.get(name)):13}" for name in ("visual", "audio"))
    text.append(f"  {_best(emotion.scores):13}  {alone}  {conflict:>8}  {len(emotion.reallocated_heads):>5}  ")
    text.append(f"{live.latency_ms:>5.0f}  ")
    text.append(", ".join(emotion.states + ([f"{live.dropped} dropped"] if live.dropped else [])), style="yellow")
    if emotion.reason:
        text.append(f"\n          {one_line(emotion.reason, limit=4000)}")
    return text


def _best(scores: dict[str, float] | None, label: str | None = None) -> str:
    if not scores:
        return "-"
    label = label if label in scores else max(scores, key=lambda name: scores[name])
    return f"{label} {scores[label]:.2f}"


def _scores(emotion: Emotion) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    face, voice = emotion.by_modality.get("visual"), emotion.by_modality.get("audio")
    for name in ("", "", "all", "face", "voice"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for label, score in sorted(emotion.scores.items(), key=lambda item: -item[1]):
        style = "bold" if label == emotion.label else ""
        bar = Text("█" * round(score * _BAR), style="cyan" if style else "dim")
        alone = [f"{each[label]:.2f}" if each else "-" for each in (face, voice)]
        table.add_row(Text("  " + label, style=style), bar, f"{score:.2f}", *alone)
    return table


def _facts(emotion: Emotion) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    if emotion.conflict is not None:
        table.add_row("  conflict", f"{emotion.conflict:.2f} between face and voice (0 agree, 1 disagree)")
    if emotion.reliance is not None:
        shares = emotion.reliance
        named = f"{shares['visual']:.0%} picture, {shares['audio']:.0%} sound, {shares['text']:.0%} text"
        table.add_row("  relied on", named)
        table.add_row("  reallocated", f"{len(emotion.reallocated_heads)} heads, from sound to picture")
    if emotion.states:
        table.add_row("  states", Text(", ".join(emotion.states), style="yellow"))
    if emotion.reason:
        table.add_row("  reason", Text(one_line(emotion.reason, limit=4000)))
    return table
