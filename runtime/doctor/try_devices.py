"""In the child: a camera or a microphone is opened, and what comes is looked at and forgotten."""

import errno
import importlib
from collections.abc import Iterator
from time import monotonic
from typing import Any

import av
import numpy as np

_PICTURES = 10
_SECONDS = 2.0
_NETWORK_SECONDS = 8.0


def camera(question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield ``errno`` when it can't be opened, else size and brightness (0 to 255) of the brightest first picture.

    question: ``source``, a path or URL; ``form``, v4l2 or None.
    """
    source, form = question["source"], question["form"]
    waits = _NETWORK_SECONDS if "://" in source else None
    try:
        with av.open(source, format=form, timeout=waits) as container:
            yield {"opened": True}
            if not container.streams.video:
                yield {"pictures": 0}
                return
            yield from _pictures(container)
    except av.FFmpegError as error:
        yield {"errno": error.errno, "code": errno.errorcode.get(error.errno or 0), "said": error.strerror}


def _pictures(container: Any) -> Iterator[dict[str, Any]]:
    """The brightest of the first pictures: a camera's very first is often black."""
    began, brightest, count, size = monotonic(), 0.0, 0, (0, 0)
    for frame in container.decode(video=0):
        count += 1
        size = frame.width, frame.height
        brightest = max(brightest, float(frame.to_ndarray(format="gray").mean()))
        if count == _PICTURES or monotonic() - began > _SECONDS:
            break
    yield {"pictures": count, "width": size[0], "height": size[1], "brightness": round(brightest, 1)}


def microphone(question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the device, then the level of a second of sound in dB of full scale, None for nothing but zeros.

    question: ``name``: ``default``, an index, or a part of a name.
    """
    library = importlib.import_module("sounddevice")
    inputs = [(index, each) for index, each in enumerate(library.query_devices()) if each["max_input_channels"] > 0]
    yield {"inputs": [each["name"] for _, each in inputs]}
    found = _choose(library, inputs, question["name"])
    if found is None:
        return
    index, device = found
    rate = int(device["default_samplerate"])
    yield {"device": device["name"], "rate": rate, "channels": device["max_input_channels"]}
    samples = library.rec(rate, samplerate=rate, channels=1, dtype="float32", device=index, blocking=True)
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    yield {"level_dbfs": round(10 * float(np.log10(power)), 1) if power > 0 else None}


def _choose(library: Any, inputs: list[tuple[int, Any]], name: str) -> tuple[int, Any] | None:
    if name == "default":
        first = library.default.device[0]
        return next((each for each in inputs if each[0] == first), inputs[0] if inputs else None)
    if name.isdecimal():
        return next((each for each in inputs if each[0] == int(name)), None)
    return next((each for each in inputs if name.casefold() in each[1]["name"].casefold()), None)
