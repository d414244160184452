"""What each target is and can do: one record a target, read by everything that would otherwise ask for its name.

A target of one's own is a YAML file, given by its path: it states every field, or a ``base`` and what differs::

    base: jetson-orin-nx
    name: orin-nx-8gb
    memory_gb: 8

NVFP4 is not offered although Thor and the RTX 50 series have it: its scales are calibrated with kernels that need such
a GPU, and a precision that could not be checked before it ships is none.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from mosear.runtime.errors import BadInput, UsageError

Backend = Literal["onnxruntime", "tensorrt", "tensorrt_rtx", "standard"]

FEATURE_FLOORS = {
    "native_attention": (10, 14),
    "native_rotary": (10, 15),
    "native_norm": (10, 15),
    "native_kv_update": (10, 15),
}
"""What TensorRT may have as a layer of its own, and the first version whose parser makes it."""

BACKEND_PRECISIONS: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("fp32", "fp16", "int8", "int4", "mixed"),
    "standard": ("fp16", "fp32", "int8", "int4"),
    "tensorrt": ("fp16", "int8", "int4", "fp8", "fp32"),
    "tensorrt_rtx": ("fp16", "int8", "int4", "fp8"),
}
"""What a backend's lowering can write at all. TensorRT-RTX has no float32 product on Turing, so none is offered."""

PRECISION_FLOORS = {"int4": (8, 0), "fp8": (8, 9)}
"""The first compute capability for which TensorRT-RTX builds products of a type; it refuses int4 for Turing."""


@dataclass(frozen=True)
class Target:
    """A device class.

    Attributes:
        name: what ``--target`` takes and the manifest records.
        backend: which lowering it gets and which session runs it.
        precisions: what it can run, the default first.
        description: one line for people.
        provider: of ONNX Runtime, ``cpu`` or ``cuda``; None for the other backends.
        compute_capabilities: of its GPUs, as NVIDIA writes them: ``8.6``.
        tensorrt: the oldest version of TensorRT or TensorRT-RTX that its graphs are for.
        memory_gb: of the device: a GPU's own, or all of a Jetson's, which its CPU shares. None: of any size.
        features: of `FEATURE_FLOORS`, what its version has.

    Raises ValueError when these contradict one another.
    """

    name: str
    backend: str
    precisions: tuple[str, ...]
    description: str
    provider: Literal["cpu", "cuda"] | None = None
    compute_capabilities: tuple[str, ...] = ()
    tensorrt: str | None = None
    memory_gb: float | None = None
    features: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        known = BACKEND_PRECISIONS[self.backend]
        foreign = [name for name in self.precisions if name not in known]
        if foreign or not self.precisions:
            raise ValueError(f"precisions of {self.backend} are {', '.join(known)}, not {', '.join(foreign) or 'none'}")
        if (self.provider is not None) != (self.backend == "onnxruntime"):
            raise ValueError("a provider belongs to the backend onnxruntime, and to no other")
        own = self.backend in ("tensorrt", "tensorrt_rtx")
        if bool(self.compute_capabilities) != own or (self.tensorrt is not None) != own:
            raise ValueError("compute_capabilities and tensorrt belong to the backends tensorrt and tensorrt_rtx")
        unknown = sorted(self.features - set(FEATURE_FLOORS))
        if unknown or (self.features and not own):
            raise ValueError(f"features are of TensorRT: {', '.join(FEATURE_FLOORS)}")
        for name, floor in PRECISION_FLOORS.items():
            if name in self.precisions and any(version_of(each) < floor for each in self.compute_capabilities):
                raise ValueError(f"{name} needs compute capability {floor[0]}.{floor[1]} or later")
        if self.backend == "tensorrt":
            early = sorted(name for name in self.features if version_of(self.tensorrt or "") < FEATURE_FLOORS[name])
            if early:
                raise ValueError(f"TensorRT {self.tensorrt} has no {', '.join(early)}")


def version_of(text: str) -> tuple[int, ...]:
    """``10.3`` as (10, 3). Raises ValueError for anything else than numbers and dots."""
    return tuple(int(part) for part in text.split("."))


_ALL = frozenset(FEATURE_FLOORS)
_RTX = "1.7"


def _rtx(series: str, capability: str, memory: float, *more: str) -> Target:
    return Target(
        name=f"rtx-{series}",
        backend="tensorrt_rtx",
        precisions=("fp16", "int8", *more),
        description=f"GeForce RTX {series} series, TensorRT-RTX; memory is the smallest model's",
        compute_capabilities=(capability,),
        tensorrt=_RTX,
        memory_gb=memory,
        features=_ALL,
    )


def _orin(module: str, title: str, memory: float) -> tuple[Target, Target]:
    newer = Target(
        name=f"jetson-{module}",
        backend="tensorrt",
        precisions=("fp16", "int8", "int4", "fp32"),
        description=f"Jetson {title}, JetPack 7.2 (TensorRT 10.16)",
        compute_capabilities=("8.7",),
        tensorrt="10.15",
        memory_gb=memory,
        features=_ALL,
    )
    older = replace(
        newer,
        name=f"{newer.name}-jp6",
        description=f"Jetson {title}, JetPack 6.2 (TensorRT 10.3): attention, rotary and cache in plain operators",
        tensorrt="10.3",
        features=frozenset(),
    )
    return newer, older


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="cpu",
            backend="onnxruntime",
            precisions=("fp32", "int8", "int4", "mixed"),
            description="ONNX Runtime on any CPU; mixed is int8 for the prompt and int4 for decoding",
            provider="cpu",
        ),
        # int8 is missing here on purpose: ONNX Runtime's dynamic int8 product has no CUDA kernel, so each would go
        # through the CPU.
        Target(
            name="cuda",
            backend="onnxruntime",
            precisions=("fp16", "fp32", "int4"),
            description="ONNX Runtime's CUDA provider, any NVIDIA GPU that it supports",
            provider="cuda",
        ),
        Target(
            name="standard",
            backend="standard",
            precisions=("fp16", "fp32", "int8", "int4"),
            description="standard ONNX operators only, for any other tool",
        ),
        _rtx("20", "7.5", 6),
        _rtx("30", "8.6", 8, "int4"),
        _rtx("40", "8.9", 8, "int4", "fp8"),
        _rtx("50", "12.0", 8, "int4", "fp8"),
        *_orin("orin-nano", "Orin Nano", 8),
        *_orin("orin-nx", "Orin NX", 16),
        *_orin("agx-orin", "AGX Orin", 64),
        Target(
            name="jetson-thor",
            backend="tensorrt",
            precisions=("fp16", "int8", "int4", "fp8", "fp32"),
            description="Jetson Thor, JetPack 7.2 (TensorRT 10.16)",
            compute_capabilities=("11.0",),
            tensorrt="10.15",
            memory_gb=128,
            features=_ALL,
        ),
    )
}


class _OwnTarget(BaseModel):
    """A target file. Types are strict but for versions, where YAML reads 8.6 as a number."""

    model_config = ConfigDict(extra="forbid")

    base: str | None = None
    name: str | None = None
    backend: Backend | None = None
    precisions: list[str] | None = None
    description: str | None = None
    provider: Literal["cpu", "cuda"] | None = None
    compute_capabilities: list[str] | None = None
    tensorrt: str | None = None
    memory_gb: float | None = None
    features: list[str] | None = None

    @field_validator("compute_capabilities", "tensorrt", mode="before")
    @classmethod
    def _versions(cls, value: Any) -> Any:
        """Numbers as texts. A version such as 10.10 must be quoted, or YAML makes it 10.1."""
        one = isinstance(value, (str, int, float))
        texts = [str(each) for each in ([value] if one else value or [])]
        for text in texts:
            if [part for part in text.split(".") if not part.isdecimal()] or "." not in text:
                raise ValueError(f"{text!r} is no version such as 8.6")
        return texts[0] if one else texts


def find_target(name: str, precision: str | None) -> tuple[Target, str]:
    """The target and the precision to build for it.

    name: one of `TARGETS`, or the path of a YAML file (``*.yaml``, ``*.yml``) that describes one's own.
    precision: one of the target's, or None for its default.

    Raises:
        UsageError: there is no such target, or it lacks the precision; the message lists those there are.
        BadInput: the file is missing, or does not describe a target.
    """
    target = _read(Path(name)) if Path(name).suffix in (".yaml", ".yml") else _named(name)
    if precision is not None and precision not in target.precisions:
        raise UsageError(
            f"target {target.name} has no precision {precision!r}", f"use one of: {', '.join(target.precisions)}"
        )
    return target, precision or target.precisions[0]


def _named(name: str) -> Target:
    if name not in TARGETS:
        raise UsageError(
            f"no target is called {name!r}", f"use one of: {', '.join(TARGETS)}; or the path of a YAML file"
        )
    return TARGETS[name]


def _read(path: Path) -> Target:
    from mosear.export.strict_yaml import read_yaml

    document = read_yaml(path)
    try:
        own = _OwnTarget.model_validate(document.content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadInput(
            f"{document.where(first['loc'])}: {place}: {first['msg'].removeprefix('Value error, ')}",
            f"a target file has: base, {', '.join(each.name for each in fields(Target))}",
        ) from error
    given = own.model_dump(exclude_none=True, exclude={"base"})
    given |= {key: tuple(given[key]) for key in ("precisions", "compute_capabilities") if key in given}
    if "features" in given:
        given["features"] = frozenset(given["features"])
    if own.base is not None and own.base not in TARGETS:
        raise BadInput(
            f"{document.where(['base'])}: no target is called {own.base!r}", f"use one of: {', '.join(TARGETS)}"
        )
    given.setdefault("name", path.stem)
    given.setdefault("description", f"described by {path.name}" + (f", after {own.base}" if own.base else ""))
    missing = [] if own.base else [key for key in ("backend", "precisions") if key not in given]
    if missing:
        raise BadInput(f"{path} states no {' and no '.join(missing)}", "state it, or a base to take it from")
    try:
        return replace(TARGETS[own.base], **given) if own.base else Target(**given)
    except ValueError as error:
        raise BadInput(f"{path}: {error}", "correct the file; mosear-export targets shows what others have") from error
