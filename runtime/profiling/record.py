"""What a profile holds: samples by metric, spans, what was cold, memory, energy, the timeline, operators, context."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from mosear.runtime.board.records import Energy, Memory, Reading

SCHEMA = "mosear.profile/1"

STAGES = (
    "capture",
    "media_decode",
    "preprocess",
    "vision",
    "audio",
    "prefill",
    "label_scoring",
    "token_decode",
)
"""A window's stages in their order: reading packets from the file, decoding pictures and sound, scaling and resampling
them, each encoder, the prompt, the labels behind it, and text token by token."""

END_TO_END = "end_to_end"
"""From the first byte of the window's media to the answer, without the text that a reason costs."""


@dataclass(frozen=True)
class Span:
    """A stretch of work in one run.

    Attributes:
        name: a stage, or what it holds.
        run: the run's number, from 0; negative for the warm-up.
        start: seconds on the profile's clock, which begins at 0.
        duration: seconds.
    """

    name: str
    run: int
    start: float
    duration: float


@dataclass(frozen=True)
class Operator:
    """Time of one kind of operator in one layer of one graph.

    Attributes:
        graph: ``vision``, ``audio``, ``prefill`` or ``decode``.
        layer: of the decoder or the encoder, or None for what is outside of them or not known.
        operator: its type, or the library's name for what it fused.
        calls: executions a run.
        ms: milliseconds a run, all its calls together.
    """

    graph: str
    layer: int | None
    operator: str
    calls: float
    ms: float


@dataclass(frozen=True)
class Profile:
    """A profile of one bundle.

    Attributes:
        bundle: name, path, sha256 (of the manifest, which holds those of all files), target, precision, backend.
        clip: what was profiled on: a path, or the built-in one.
        settings: runs, warmup, threads, provider, tokens, window_s.
        scenario: ``kind`` (``single-stream`` or ``fixed-rate``); of a fixed rate also ``hop_s``, ``arrived``,
            ``answered`` and ``dropped``.
        samples: by metric, one value a run, in the order of the runs. Metrics are ``STAGES``, ``END_TO_END``,
            ``time_to_first_token``, ``inter_token_latency`` (one value a token), ``output_token_throughput`` and
            ``real_time_factor``, and ``text_prefill``, the prompt of the text behind an answer; of a fixed rate also
            ``latency``, from a window's arrival to its answer. What was not measured is missing.
        units: by metric: ``ms``, ``tokens/s`` or ``ratio``.
        cold_start: by phase, milliseconds of a fresh process, one list a phase with one value a start; empty when not
            measured.
        memory: peaks; of this process, of fresh ones, and of the device.
        energy: None where no rail can be read.
        timeline: readings, in order.
        operators: None when not measured.
        operators_method: how, in one line; why not, when ``operators`` is None.
        spans: of all runs; of those beyond the first ones only ``END_TO_END``, so that a long profile stays readable.
        context: facts before the runs, and those that changed under ``after``.
        warnings: what makes the figures hard to compare, a line each.
        created: RFC 3339, UTC.
    """

    bundle: dict[str, Any]
    clip: str
    settings: dict[str, Any]
    scenario: dict[str, Any]
    samples: dict[str, list[float]]
    units: dict[str, str]
    cold_start: dict[str, list[float]] = field(default_factory=dict)
    memory: list[Memory] = field(default_factory=list)
    energy: Energy | None = None
    timeline: list[Reading] = field(default_factory=list)
    operators: list[Operator] | None = None
    operators_method: str = ""
    spans: list[Span] = field(default_factory=list)
    context: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    created: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data; see ``from_dict``."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Profile:
        """Back from ``to_dict``; keys that it does not know are ignored.

        Raises:
            ValueError: another schema, or a field is missing or of another form.
        """
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"not a {SCHEMA}")
        try:
            values = {each.name: content[each.name] for each in dataclasses.fields(cls)}
            for name, kind in (("memory", Memory), ("timeline", Reading), ("operators", Operator), ("spans", Span)):
                if values[name] is not None:
                    values[name] = [kind(**each) for each in values[name]]
            values["energy"] = None if values["energy"] is None else Energy(**values["energy"])
            return cls(**values)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"a field is missing or of another form ({error})") from error
