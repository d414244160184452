"""Microphones by way of sounddevice (PortAudio)."""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.listening import Listener
from mosear.runtime.capture.pump import Pump
from mosear.runtime.capture.stream import Lost, Sound
from mosear.runtime.capture.timeline import Timeline
from mosear.runtime.errors import Failed, one_line

_BLOCK_SECONDS = 0.03
_SILENT_SECONDS = 2.0
_BACKLOG_BLOCKS = 200
_ODDLY_OLD = 2.0

# Looking for devices anew ends every stream that is open in this process.
_open_streams = 0
_library = threading.Lock()


def sounddevice() -> Any:
    """The module ``sounddevice``.

    Raises:
        Failed: it or PortAudio is not installed.
    """
    try:
        import sounddevice as module
    except ImportError as error:
        raise Failed(f"sounddevice can't be imported ({one_line(error)})", "pip install 'mosear[live]'") from error
    except OSError as error:
        raise Failed(
            f"PortAudio can't be loaded ({one_line(error)})",
            "install the system's library (Debian: apt install libportaudio2)",
        ) from error
    return module


@dataclass(frozen=True, eq=False)
class _Block:
    """float32 [n, channels], when its first sample was heard (device and clock seconds)."""

    samples: np.ndarray
    stamp: float
    heard: float


class Microphone:
    """An open microphone.

    Args:
        device: PortAudio's index, part of its name, or None for the system's default.
        rate: samples a second of what is given.
        clock: what the times are on.

    Raises:
        Failed: see ``sounddevice``.
    """

    def __init__(self, device: int | str | None, rate: int, clock: Clock) -> None:
        self.overflows = 0
        self._module = sounddevice()
        self._device, self._rate, self._clock = device, rate, clock
        self._device_rate = rate
        self._timeline = Timeline()
        self._listener = Listener(rate)
        self._pump = Pump("mosear-microphone", self._read, _trim, patience=2 * _SILENT_SECONDS)

    @property
    def released(self) -> bool:
        """Whether the microphone is no longer held."""
        return self._pump.released

    def __iter__(self) -> Iterator[Sound]:
        """Sound as it comes; see ``Device``."""
        for block in self._pump:
            time = self._timeline.map(block.stamp, block.heard)
            mono = np.nan_to_num(block.samples.mean(axis=1, dtype=np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
            frame = av.AudioFrame.from_ndarray(mono[None], format="fltp", layout="mono")
            frame.sample_rate, frame.time_base = self._device_rate, Fraction(1, self._device_rate)
            yield from self._listener.hear(time, frame)

    def close(self) -> None:
        """Release the microphone; see ``Device``."""
        self._pump.close()

    def _read(self, closing: threading.Event) -> Generator[_Block, None, None]:
        blocks: queue.Queue[_Block] = queue.Queue(_BACKLOG_BLOCKS)

        def hear(data: np.ndarray, count: int, times: Any, status: Any) -> None:
            self.overflows += bool(status.input_overflow)
            now = self._clock.now()
            length = count / self._device_rate
            age = times.currentTime - times.inputBufferAdcTime
            # Some of PortAudio's backends do not say when a block was heard: it ended when it came, at the latest.
            is_told = times.inputBufferAdcTime > 0 and 0 <= age <= _ODDLY_OLD
            heard = now - (age if is_told else length)
            stamp = times.inputBufferAdcTime if is_told else heard
            with contextlib.suppress(queue.Full):
                blocks.put_nowait(_Block(data.copy(), stamp, heard))

        with self._stream(hear):
            while not closing.is_set():
                try:
                    yield blocks.get(timeout=_SILENT_SECONDS)
                except queue.Empty:
                    raise Lost(f"it gave no sound for {_SILENT_SECONDS:g} s") from None

    @contextlib.contextmanager
    def _stream(self, hear: Any) -> Iterator[None]:
        """The device, open and running."""
        global _open_streams
        errors = self._module.PortAudioError, ValueError, OSError
        with _library:
            try:
                if not _open_streams:
                    # PortAudio sees devices only as they were when it was started.
                    self._module._terminate()
                    self._module._initialize()
                rate, channels = self._form()
                self._device_rate = rate
                stream = self._module.InputStream(
                    samplerate=rate,
                    blocksize=round(rate * _BLOCK_SECONDS),
                    device=self._device,
                    channels=channels,
                    dtype="float32",
                    callback=hear,
                )
            except errors as error:
                raise Lost(one_line(error)) from None
            _open_streams += 1
        try:
            stream.start()
            yield
        except errors as error:
            raise Lost(one_line(error)) from None
        finally:
            with contextlib.suppress(*errors):
                stream.abort()
            with contextlib.suppress(*errors):
                stream.close()
            with _library:
                _open_streams -= 1

    def _form(self) -> tuple[int, int]:
        """The rate and number of channels that the device takes: the model's and one if it can, else its own."""
        told = self._module.query_devices(self._device, "input")
        own, most = round(told["default_samplerate"]), max(1, min(2, told["max_input_channels"]))
        for rate, channels in ((self._rate, 1), (own, 1), (self._rate, most)):
            try:
                self._module.check_input_settings(self._device, channels, "float32", None, rate)
            except (self._module.PortAudioError, ValueError):
                continue
            return rate, channels
        return own, most


def _trim(waiting: deque[_Block]) -> None:
    while len(waiting) > _BACKLOG_BLOCKS:
        waiting.popleft()
