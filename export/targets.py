"""What each target is and can do: one record a target, read by everything that would otherwise ask for its name."""

from __future__ import annotations

from dataclasses import dataclass

from mosear.runtime.errors import UsageError


@dataclass(frozen=True)
class Target:
    """A device class.

    Attributes:
        name: what ``--target`` takes and the manifest records.
        backend: which lowering it gets and which session runs it.
        precisions: what it can run, the default first.
        description: one line for people.
    """

    name: str
    backend: str
    precisions: tuple[str, ...]
    description: str


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="cpu",
            backend="onnxruntime",
            precisions=("fp32", "int8"),
            description="ONNX Runtime on any CPU; int8 gains most with VNNI (x86) or dot product (Arm)",
        ),
    )
}


def find_target(name: str, precision: str | None) -> tuple[Target, str]:
    """The target and the precision to build for it.

    Raises:
        UsageError: there is no such target, or it lacks the precision; the message lists those there are.
    """
    if name not in TARGETS:
        raise UsageError(f"no target is called {name!r}", f"use one of: {', '.join(TARGETS)}")
    target = TARGETS[name]
    if precision is not None and precision not in target.precisions:
        raise UsageError(f"target {name} has no precision {precision!r}", f"use one of: {', '.join(target.precisions)}")
    return target, precision or target.precisions[0]
