"""Options → a live run: sources, what is made of them, the loop, and where its answers go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.sources import (
    Camera,
    CameraSound,
    MediaFile,
    MicrophoneSource,
    Nothing,
    default_microphone,
    open_feeds,
    parse_camera,
    parse_microphone,
)
from mosear.runtime.capture.stream import Item, Sound
from mosear.runtime.errors import UsageError
from mosear.runtime.live.assembly import Assembly, Words
from mosear.runtime.live.hearing import Hearing
from mosear.runtime.live.looking import looker
from mosear.runtime.live.loop import Answer, LiveLoop, LoopSettings, Reasons
from mosear.runtime.live.options import LiveOptions
from mosear.runtime.live.preview import jpeg
from mosear.runtime.live.sightings import Sightings
from mosear.runtime.live.smoothing import Smoother
from mosear.runtime.manifest import Manifest
from mosear.runtime.perception.faces import FaceDetector
from mosear.runtime.perception.live_words import LiveWords
from mosear.runtime.perception.speech import LEAST_SHARE, SpeechDetector, SpeechTrail
from mosear.runtime.perception.words import Transcriber
from mosear.runtime.privacy.recording import Recorder
from mosear.runtime.results import Emotion
from mosear.runtime.sinks.fanout import open_sinks
from mosear.runtime.transcript import sidecar_transcript
from mosear.runtime.windows import lengths

_CLOSING_S = 5.0

Publish = Callable[[Emotion], None]


@dataclass(eq=False)
class LiveRun:
    """A live run, set up.

    Attributes:
        loop: answers the windows.
        name: what answers name as their clip.
        window, hop: seconds.
    """

    loop: LiveLoop
    name: str
    window: float
    hop: float
    _sightings: Sightings | None
    _closers: list[Callable[[], object]] = field(default_factory=list)

    def newest_picture(self) -> bytes | None:
        """The camera's newest picture as JPEG; None when there is none."""
        picture = self._sightings.newest() if self._sightings is not None else None
        return None if picture is None else jpeg(picture)

    def close(self) -> None:
        """Deliver what waits for the sinks, and give everything back. The loop must have ended."""
        for closer in reversed(self._closers):
            closer()
        self._closers.clear()


def open_live(
    options: LiveOptions,
    manifest: Manifest,
    answer: Answer,
    publish: Publish,
    tick: Callable[[], None] = lambda: None,
    can_reason: bool = True,
) -> LiveRun:
    """Set up a live run. Nothing is captured before its loop runs.

    Args:
        options: what it was told.
        manifest: of the bundle.
        answer: the model.
        publish: takes every answer beside the sinks; it must not block.
        tick: called as long as the loop is alive.
        can_reason: whether the model has a task for giving reasons.

    Raises:
        UsageError: an option is out of range, or two do not go together.
        BadInput: a file that was named is missing or of another kind.
        Failed: a library is missing.
    """
    camera = parse_camera(options.camera)
    named = options.microphone
    microphone = default_microphone(camera) if named is None else parse_microphone(named)
    _check(options, camera, microphone, can_reason)
    preprocessing = manifest.preprocessing
    window, hop = lengths(preprocessing, options.window, options.hop)
    rate = preprocessing.sample_rate
    clock = Clock(options.speed)
    closers: list[Callable[[], object]] = []

    sightings = hearing = voice = words = None
    takes: list[Callable[[Item], None]] = []
    if not isinstance(camera, Nothing):
        faces = FaceDetector.open(options.faces, options.faces_sha256, options.face) if options.faces else None
        sightings = Sightings(window, preprocessing.frames, looker(preprocessing.frame_size, faces))
    if not isinstance(microphone, Nothing):
        hearing = Hearing(window, rate)
        voice = SpeechTrail(rate) if options.voice_activity else None
    words, hear_words = _words(options, camera, rate, closers)
    assembly = Assembly(preprocessing, window, sightings, hearing, voice, words)
    takes = [assembly.take, *hear_words]
    if options.save_media is not None and options.keep_for is not None:
        recorder = Recorder(options.save_media, options.keep_for, rate)
        closers.append(recorder.close)
        takes.append(recorder.take)

    name = microphone.name if isinstance(camera, Nothing) else camera.name
    labels = [label.name for label in manifest.labels]
    smoother = Smoother(labels, options.smoothing, options.margin, options.forget)
    feeds = open_feeds(camera, microphone, rate, clock, _to_all(takes), options.loop)
    sinks = open_sinks(options.sinks, labels)
    closers.append(lambda: sinks.close(_CLOSING_S))

    def deliver(emotion: Emotion) -> None:
        sinks.publish(emotion)
        publish(emotion)

    loop = LiveLoop(
        LoopSettings(name, hop, options.reasons),
        clock,
        feeds,
        assembly,
        answer,
        smoother,
        deliver,
        tick,
        sinks.status,
    )
    return LiveRun(loop, name, window, hop, sightings, closers)


def _check(options: LiveOptions, camera: Camera, microphone: MicrophoneSource, can_reason: bool) -> None:
    live = [each for each in (camera, microphone) if not isinstance(each, MediaFile | CameraSound | Nothing)]
    if options.speed != 1.0 and live:
        raise UsageError("--speed goes with files only", "leave it out: devices run at their own speed")
    if (options.save_media is None) != (options.keep_for is None):
        raise UsageError("--save-media and --keep-for go together", "say where media are kept, and for how long")
    if options.faces is None and options.faces_sha256 is not None:
        raise UsageError("--faces-sha256 goes with --faces", "name the face detector's file")
    if options.asr is not None and options.transcript is not None:
        raise UsageError("--asr and --transcript exclude each other", "give one of them")
    if options.asr is not None and isinstance(microphone, Nothing):
        raise UsageError("--asr needs sound", "name a --mic")
    if options.reasons is not Reasons.never and not can_reason:
        raise UsageError("this model can't give reasons", "leave --reason out")


def _words(
    options: LiveOptions, camera: Camera, rate: int, closers: list[Callable[[], object]]
) -> tuple[Words | None, Sequence[Callable[[Item], None]]]:
    """Who knows what is said, and who must hear it for that."""
    said = options.transcript
    if said is None and options.asr is None and isinstance(camera, MediaFile):
        said = sidecar_transcript(camera.path)
    if said is not None:
        return (lambda start, end: said), ()
    if options.asr is None:
        return None, ()
    detector = SpeechDetector(rate) if options.voice_activity else None
    is_speech = (lambda samples: detector.share(samples) >= LEAST_SHARE) if detector else (lambda samples: True)
    words = LiveWords(Transcriber.open(options.asr), rate, is_speech)
    words.start()
    closers.append(lambda: words.stop(_CLOSING_S))
    return words.words, (lambda item: words.feed(item) if isinstance(item, Sound) else None,)


def _to_all(takes: Sequence[Callable[[Item], None]]) -> Callable[[Item], None]:
    def take(item: Item) -> None:
        for each in takes:
            each(item)

    return take
