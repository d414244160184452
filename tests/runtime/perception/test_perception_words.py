"""The transcriber: which model a folder holds, what is wrong with it, and words of live sound without waiting."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mosear.runtime.capture.stream import Sound
from mosear.runtime.errors import BadInput, Failed
from mosear.runtime.perception.live_words import LiveWords
from mosear.runtime.perception.words import Transcriber

RATE = 16000


class Stream:
    """What both kinds of sherpa-onnx's streams have that is used."""

    def __init__(self) -> None:
        self.heard: list[np.ndarray] = []
        self.rate = 0
        self.finished = False
        self.steps = 0
        self.result = type("Result", (), {"text": ""})()

    def accept_waveform(self, rate: int, samples: np.ndarray) -> None:
        assert samples.dtype == np.float32
        assert samples.flags.c_contiguous
        assert np.isfinite(samples).all()
        self.rate = rate
        self.heard.append(samples)

    def input_finished(self) -> None:
        self.finished = True


class Offline:
    """Says how many hundredths of a second it heard."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.calls = 0

    def create_stream(self) -> Stream:
        return Stream()

    def decode_stream(self, stream: Stream) -> None:
        self.entered.set()
        assert self.gate.wait(20)
        self.calls += 1
        samples = np.concatenate(stream.heard)
        stream.result.text = f"  heard\n{round(100 * len(samples) / stream.rate)} "


class Online(Offline):
    """Gives one word for each half second that it was fed, when asked to decode until it is no longer ready."""

    def is_ready(self, stream: Stream) -> bool:
        total = sum(map(len, stream.heard)) / stream.rate
        return stream.finished and stream.steps < total / 0.5 - 1

    def decode_stream(self, stream: Stream) -> None:
        assert self.is_ready(stream)
        stream.steps += 1

    def get_result(self, stream: Stream) -> str:
        return " ".join(["word"] * stream.steps)


def until(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def tone(seconds: float, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(np.arange(round(seconds * RATE)) * 0.2)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def feed(words: LiveWords, samples: np.ndarray, start: float = 0.0, piece: int = 700) -> None:
    for at in range(0, len(samples), piece):
        words.feed(Sound(start + at / RATE, samples[at : at + piece]))


@pytest.fixture
def recognizer() -> Offline:
    return Offline()


@pytest.fixture
def live(recognizer: Offline):
    made = LiveWords(Transcriber(recognizer, "offline"), RATE)
    made.start()
    yield made
    recognizer.gate.set()
    made.stop(10)


def test_a_stretch_at_once() -> None:
    transcriber = Transcriber(Offline(), "offline")
    assert transcriber.transcribe(tone(1.5), RATE) == "heard 150"
    assert transcriber.transcribe(np.zeros(0, np.float32), RATE) == ""


def test_a_streaming_model_is_fed_to_its_end_and_with_a_tail() -> None:
    # 2 s and the tail of 0.66 s: the last word only comes with it.
    assert Transcriber(Online(), "streaming").transcribe(tone(2.0), RATE) == "word word word word word"


def test_values_that_are_no_numbers_do_not_reach_the_library() -> None:
    samples = tone(1.0)
    samples[5] = np.nan
    assert Transcriber(Offline(), "offline").transcribe(samples.astype(np.float64)[::2], RATE) == "heard 50"


def test_a_library_that_fails_is_one_line() -> None:
    class Broken(Offline):
        def decode_stream(self, stream: Stream) -> None:
            raise RuntimeError("no memory")

    with pytest.raises(Failed, match="no memory"):
        Transcriber(Broken(), "offline").transcribe(tone(1), RATE)


def write(folder: Path, *names: str, content: bytes = b"nothing") -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "no \\*encoder"),
        (("encoder.onnx", "tokens.txt"), "\\*decoder\\*.onnx"),
        (("encoder.onnx", "joiner.onnx", "tokens.txt"), "\\*decoder\\*.onnx"),
        (("preprocess.onnx", "encode.int8.onnx", "uncached_decode.onnx", "tokens.txt"), "\\*cached_decode\\*.onnx"),
        (("encoder.onnx", "decoder.onnx", "joiner.onnx", "tokens.txt"), "another kind"),
        (("model.onnx", "tokens.txt"), "another kind"),
    ],
)
def test_what_a_folder_lacks_is_named(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Transcriber.open(write(tmp_path / "model", *names))


def test_missing_folder_and_missing_tokens(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a folder"):
        Transcriber.open(tmp_path / "none")
    folder = write(
        tmp_path / "model", "tiny-encoder.onnx", "tiny-decoder.onnx", content=b"..model_type..whisper-tiny.."
    )
    with pytest.raises(BadInput, match=r"tokens\.txt"):
        Transcriber.open(folder)


@pytest.mark.parametrize(
    ("names", "mark", "kind"),
    [
        (("encoder.onnx", "decoder.onnx", "joiner.onnx"), b"decode_chunk_len", "streaming zipformer"),
        (("encoder.int8.onnx", "decoder.int8.onnx"), b"lfr_window_size", "streaming paraformer"),
        (("base-encoder.onnx", "base-decoder.onnx"), b"whisper-base", "whisper"),
        (("model.int8.onnx", "model.onnx"), b"sense_voice_ctc", "sense-voice"),
        (
            ("preprocess.onnx", "encode.int8.onnx", "cached_decode.int8.onnx", "uncached_decode.int8.onnx"),
            b"-",
            "moonshine",
        ),
    ],
)
def test_each_kind_is_recognised_and_damage_is_bad_input(tmp_path: Path, names, mark: bytes, kind: str) -> None:
    """The real library is asked to load the files, and says that they are no model."""
    pytest.importorskip("sherpa_onnx")
    # The mark lies across the border of the blocks in which the file is read.
    content = b"\x00" * ((1 << 22) - 5) + mark
    folder = write(write(tmp_path / "model", *names, content=content), "tokens.txt", content=b"a 0\n")
    with pytest.raises(BadInput, match=f"the {kind} model"):
        Transcriber.open(folder)


def test_the_library_gets_the_int8_files_and_the_language(tmp_path: Path, monkeypatch) -> None:
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    got = {}

    def from_whisper(**options) -> Offline:
        got.update(options)
        return Offline()

    monkeypatch.setattr(sherpa_onnx.OfflineRecognizer, "from_whisper", from_whisper)
    names = ("b-encoder.int8.onnx", "b-encoder.onnx", "b-decoder.onnx", "b-tokens.txt")
    folder = write(tmp_path / "model", *names, content=b"whisper-b")
    assert Transcriber.open(folder, "de", 2).transcribe(tone(1), RATE) == "heard 100"
    assert got == {
        "encoder": str(folder / "b-encoder.int8.onnx"),
        "decoder": str(folder / "b-decoder.onnx"),
        "tokens": str(folder / "b-tokens.txt"),
        "language": "de",
        "num_threads": 2,
    }


def test_moonshines_decoders_are_told_apart(tmp_path: Path, monkeypatch) -> None:
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    got = {}
    monkeypatch.setattr(sherpa_onnx.OfflineRecognizer, "from_moonshine", lambda **options: got.update(options))
    names = ("preprocess.onnx", "encode.onnx", "uncached_decode.onnx", "cached_decode.onnx", "tokens.txt")
    Transcriber.open(write(tmp_path / "model", *names))
    named = {name: Path(str(path)).name for name, path in got.items()}
    assert (named["cached_decoder"], named["uncached_decoder"]) == ("cached_decode.onnx", "uncached_decode.onnx")
    assert named["encoder"] == "encode.onnx"


def test_words_of_live_sound_by_stretch(live: LiveWords) -> None:
    """Two utterances with pauses: each has its own words at its own time."""
    assert live.words(0, 100) is None
    feed(live, np.concatenate([silence(1), tone(1), silence(1), tone(2), silence(1)]), start=10.0)
    assert until(lambda: len((live.words(10, 16) or "").split()) == 4)
    # An utterance is transcribed with the pause that ended it, of 0.4 to 0.5 s.
    first, second = live.words(10.5, 12.5), live.words(12.5, 15.5)
    assert 140 <= int(first.split()[1]) <= 155
    assert 240 <= int(second.split()[1]) <= 255
    assert live.words(10, 16) == f"{first} {second}"
    assert live.words(14.9, 16.0) is None
    assert live.words(13.0, 14.0) == second, "a stretch in the midst of an utterance"


def test_a_long_speech_is_cut(live: LiveWords) -> None:
    feed(live, tone(13))
    assert until(lambda: len((live.words(0, 12.5) or "").split()) == 4)
    lengths = [int(word) for word in live.words(0, 12.5).split()[1::2]]
    assert all(600 <= length <= 615 for length in lengths), lengths


def test_silence_and_clicks_are_not_transcribed(live: LiveWords, recognizer: Offline) -> None:
    feed(live, np.concatenate([silence(2), tone(0.05), silence(1), tone(1), silence(1)]))
    assert until(lambda: live.words(0, 6) is not None)
    assert recognizer.calls == 1


def test_a_hole_ends_an_utterance(live: LiveWords) -> None:
    feed(live, tone(1.0), start=0.0)
    feed(live, np.concatenate([tone(0.5), silence(1)]), start=30.0)
    assert until(lambda: live.words(29, 31) is not None)
    assert live.words(0, 1) == "heard 100"


def test_what_is_no_speech_is_left_out(recognizer: Offline) -> None:
    asked = []
    live = LiveWords(
        Transcriber(recognizer, "offline"), RATE, is_speech=lambda samples: bool(asked.append(len(samples)))
    )
    live.start()
    feed(live, np.concatenate([tone(1), silence(1)]))
    assert until(lambda: asked)
    live.stop(10)
    assert recognizer.calls == 0


def test_a_recognizer_that_hangs_blocks_nobody_and_memory_is_bounded(live: LiveWords, recognizer: Offline) -> None:
    recognizer.gate.clear()
    feed(live, np.concatenate([tone(1), silence(1)]))
    assert recognizer.entered.wait(20)
    for i in range(3000):
        live.feed(Sound(2.0 + i * 0.01, tone(0.01)))
        live.words(0, 100)
    assert live.dropped > 1000
    assert live._queue.qsize() <= 500
    recognizer.gate.set()
    assert until(lambda: live.words(0, 2) is not None)


def test_a_failure_costs_one_utterance_only(live: LiveWords, recognizer: Offline, monkeypatch) -> None:
    once = iter([RuntimeError("broken")])
    real = recognizer.decode_stream

    def decode(stream: Stream) -> None:
        for error in once:
            raise error
        real(stream)

    monkeypatch.setattr(recognizer, "decode_stream", decode)
    feed(live, np.concatenate([tone(1), silence(1), tone(1), silence(1)]))
    assert until(lambda: live.words(2, 3) is not None)
    assert live.words(0, 1.5) is None


def test_words_never_reach_the_log(live: LiveWords, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    feed(live, np.concatenate([tone(1), silence(1)]))
    assert until(lambda: live.words(0, 2) is not None)
    assert "heard" not in caplog.text


def test_stopping_ends_the_thread_at_once_and_twice(recognizer: Offline) -> None:
    live = LiveWords(Transcriber(recognizer, "offline"), RATE)
    live.start()
    feed(live, tone(3))
    live.stop(10)
    live.stop(10)
    assert not live._thread.is_alive()
    LiveWords(Transcriber(recognizer, "offline"), RATE).stop(1)


def test_old_words_are_forgotten(recognizer: Offline) -> None:
    live = LiveWords(Transcriber(recognizer, "offline"), RATE, keep=5.0)
    live.start()
    feed(live, np.concatenate([np.concatenate([tone(1), silence(1)]) for _ in range(10)]))
    assert until(lambda: live.words(18, 19.5) is not None)
    live.stop(10)
    assert live.words(0, 11.5) is None
    assert len(live._said) <= 4
