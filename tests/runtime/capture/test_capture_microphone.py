"""A microphone up to the library, which is played by the test."""

import builtins
import sys
import threading
import time
from types import SimpleNamespace

import capture_fakes
import numpy as np
import pytest
from capture_fakes import until

from mosear.runtime.capture import microphone as microphone_module
from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.feed import Backoff, Feed
from mosear.runtime.capture.microphone import Microphone
from mosear.runtime.capture.pump import OneAtATime
from mosear.runtime.capture.stream import Condition, Lost, Sound
from mosear.runtime.errors import Failed

RATE = 16000


class PortAudioError(Exception):
    pass


class FakeLibrary:
    """sounddevice with one microphone, which hears a ramp that says when each sample was heard."""

    PortAudioError = PortAudioError

    def __init__(self) -> None:
        self.there = True
        self.rates = {RATE, 48000}
        self.channels = {1}
        self.told_times = True
        self.origin = time.monotonic() - 1000.0  # PortAudio's clock is its own
        self.latency = 0.05
        self.overflow_at = -1
        self.open_now = self.most_open = self.opens = 0
        self.fresh = True
        self.asked: list[object] = []
        self.initialized = 1

    def _terminate(self) -> None:
        assert self.open_now == 0, "that ends the open stream"
        self.initialized -= 1
        self.fresh = False

    def _initialize(self) -> None:
        self.initialized += 1
        self.fresh = self.there

    def query_devices(self, device: object, kind: str) -> dict:
        assert kind == "input"
        self.asked.append(device)
        if not self.fresh:
            raise ValueError(f"No input device matching {device!r}")
        return {"default_samplerate": 48000.0, "max_input_channels": 8}

    def check_input_settings(self, device, channels, dtype, extra_settings, samplerate) -> None:
        if samplerate not in self.rates or channels not in self.channels:
            raise PortAudioError("Invalid sample rate")

    def InputStream(self, **settings):
        return FakeStream(self, **settings)


class FakeStream:
    def __init__(self, library: FakeLibrary, samplerate, blocksize, device, channels, dtype, callback) -> None:
        assert samplerate in library.rates
        assert channels in library.channels
        assert dtype == "float32"
        self.library, self.rate, self.size, self.channels = library, samplerate, blocksize, channels
        self.callback = callback
        self.stop = threading.Event()
        library.opens += 1
        library.open_now += 1
        library.most_open = max(library.most_open, library.open_now)
        self.thread = threading.Thread(target=self.run)

    def start(self) -> None:
        self.thread.start()

    def run(self) -> None:
        began, count = time.monotonic(), 0
        while self.library.there:
            heard = began + count * self.size / self.rate
            come = heard + self.size / self.rate + self.library.latency
            if self.stop.wait(max(0.0, come - time.monotonic())):
                return
            ramp = (heard - self.library.origin + np.arange(self.size) / self.rate) / 10000
            data = np.repeat(ramp[:, None], self.channels, axis=1).astype(np.float32)
            told = heard - self.library.origin if self.library.told_times else 0.0
            times = SimpleNamespace(
                inputBufferAdcTime=told, currentTime=time.monotonic() - self.library.origin, outputBufferDacTime=0
            )
            self.callback(data, self.size, times, SimpleNamespace(input_overflow=count == self.library.overflow_at))
            data[:] = 99  # the library uses its buffer again
            count += 1

    def abort(self) -> None:
        self.stop.set()

    def close(self) -> None:
        self.stop.set()
        self.thread.join()
        self.library.open_now -= 1


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch):
    fake = FakeLibrary()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    yield fake
    until(lambda: not capture_fakes.threads())
    assert fake.open_now == 0
    assert fake.initialized == 1


def _listen(microphone: Microphone, seconds: float) -> list[Sound]:
    sounds, count = [], 0
    for sound in microphone:
        sounds.append(sound)
        count += len(sound.samples)
        if count >= seconds * RATE:
            break
    microphone.close()
    return sounds


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
@pytest.mark.parametrize(("rates", "channels"), [({RATE}, {1}), ({48000}, {1}), ({48000}, {2})])
def test_sound_is_placed_when_it_was_heard(library: FakeLibrary, rates: set, channels: set, told: bool) -> None:
    """Every sample says when it was heard; where the library does not say, the latency of the device is not known."""
    library.rates, library.channels, library.told_times = rates, channels, told
    clock = Clock()
    sounds = _listen(Microphone("USB", RATE, clock), 0.6)
    assert library.asked[-1] == "USB"
    shift = time.monotonic() - clock.now() - library.origin
    end = sounds[0].time
    for sound in sounds:
        assert sound.samples.dtype == np.float32
        assert sound.samples.max() < 1
        assert sound.time == pytest.approx(end, abs=1e-6)
        end = sound.time + len(sound.samples) / RATE
    last = sounds[-1]
    middle = len(last.samples) // 2
    said = float(last.samples[middle]) * 10000 - shift
    late = last.time + middle / RATE - said
    assert late == pytest.approx(0.0 if told else library.latency, abs=0.02)


def test_overflows_are_counted(library: FakeLibrary) -> None:
    library.overflow_at = 3
    microphone = Microphone(None, RATE, Clock())
    _listen(microphone, 0.3)
    assert microphone.overflows == 1


def test_a_microphone_that_is_not_there(library: FakeLibrary) -> None:
    library.there = False
    microphone = Microphone("USB", RATE, Clock())
    with pytest.raises(Lost, match="No input device"):
        list(microphone)
    microphone.close()


def test_pulled_out_and_plugged_in_again(library: FakeLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone_module, "_SILENT_SECONDS", 0.2)
    clock, sounds = Clock(), []
    opener = OneAtATime(lambda: Microphone(1, RATE, clock))
    feed = Feed("microphone", "1", opener, sounds.append, clock, Backoff(first=0.02, most=0.05))
    feed.start()
    for comebacks in range(4):
        until(lambda: feed.status().condition is Condition.live)
        assert feed.status().reconnects == comebacks
        library.there = False
        until(lambda: feed.status().condition is Condition.lost)
        until(lambda: "No input device" in (feed.status().error or ""))
        library.there = True
    until(lambda: feed.status().condition is Condition.live)
    assert feed.stop(5)
    assert library.most_open == 1
    times = [sound.time for sound in sounds]
    assert times == sorted(times)


def test_a_device_that_refuses_every_form(library: FakeLibrary) -> None:
    library.rates, library.channels = set(), set()

    def refuse(**settings):
        raise PortAudioError("Error opening InputStream: Device unavailable")

    library.InputStream = refuse
    microphone = Microphone(None, RATE, Clock())
    with pytest.raises(Lost, match="Device unavailable"):
        list(microphone)
    microphone.close()


def test_a_missing_library_or_port_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(Failed) as missing:
        Microphone(None, RATE, Clock())
    assert "mosear[live]" in missing.value.remedy
    monkeypatch.delitem(sys.modules, "sounddevice")
    real = builtins.__import__

    def no_port_audio(name: str, *rest):
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_port_audio)
    with pytest.raises(Failed) as missing:
        Microphone(None, RATE, Clock())
    assert "libportaudio2" in missing.value.remedy


def test_the_real_library_without_a_microphone() -> None:
    """The calls that are made of the library are there, with these arguments."""
    sounddevice = pytest.importorskip("sounddevice", exc_type=(ImportError, OSError))
    if any(device["max_input_channels"] for device in sounddevice.query_devices()):
        pytest.skip("this machine has a microphone")
    for device in (None, 0, "no such microphone"):
        microphone = Microphone(device, RATE, Clock())
        with pytest.raises(Lost, match="device"):
            list(microphone)
        microphone.close()
        until(lambda microphone=microphone: microphone.released)
