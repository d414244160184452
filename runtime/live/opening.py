"""A plan → a live run: sources, what is made of them, the loop, and where its answers go."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.sources import MediaFile, Nothing, open_feeds
from mosear.runtime.capture.stream import Item, Sound
from mosear.runtime.live.assembly import Assembly, Words
from mosear.runtime.live.hearing import Hearing
from mosear.runtime.live.looking import looker
from mosear.runtime.live.loop import Answer, LiveLoop, LoopSettings
from mosear.runtime.live.plan import LivePlan
from mosear.runtime.live.preview import jpeg
from mosear.runtime.live.sightings import Sightings
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.perception.live_words import LiveWords
from mosear.runtime.perception.speech import LEAST_SHARE, SpeechDetector, SpeechTrail
from mosear.runtime.perception.words import Transcriber
from mosear.runtime.privacy.recording import Recorder
from mosear.runtime.results import Emotion
from mosear.runtime.sinks.fanout import open_sinks
from mosear.runtime.transcript import sidecar_transcript

_CLOSING_S = 5.0

Publish = Callable[[Emotion], None]
Take = Callable[[Item], None]


@dataclass(eq=False)
class LiveRun:
    """A live run, set up.

    Attributes:
        plan: what it does.
        loop: answers the windows.
    """

    plan: LivePlan
    loop: LiveLoop
    _sightings: Sightings | None
    _closers: ExitStack

    def newest_picture(self) -> bytes | None:
        """The camera's newest picture as JPEG; None when there is none."""
        picture = self._sightings.newest() if self._sightings is not None else None
        return None if picture is None else jpeg(picture)

    def close(self) -> None:
        """Deliver what waits for the sinks, and give everything back. The loop must have ended; may be called again."""
        self._closers.close()


def open_live(
    plan: LivePlan,
    preprocessing: Preprocessing,
    answer: Answer,
    publish: Publish,
    tick: Callable[[], None] = lambda: None,
) -> LiveRun:
    """Set up a live run. Sinks are opened; nothing is captured before its loop runs.

    Args:
        plan: from ``plan_live``.
        preprocessing: the model's sizes and rates.
        answer: the model.
        publish: takes every answer beside the sinks; it must not block.
        tick: called as long as the loop is alive.

    Raises:
        BadInput: a file or folder that was named can't be used.
        Failed: a library is missing.
    """
    options, rate = plan.options, preprocessing.sample_rate
    clock = Clock(options.speed)
    with ExitStack() as closers:
        sightings = hearing = voice = None
        if not isinstance(plan.camera, Nothing):
            look = looker(preprocessing.frame_size, plan.faces)
            sightings = Sightings(plan.window, preprocessing.frames, look)
        if not isinstance(plan.microphone, Nothing):
            hearing = Hearing(plan.window, rate)
            voice = SpeechTrail(rate) if options.voice_activity else None
        words, takes = _words(plan, rate, closers)
        assembly = Assembly(preprocessing, plan.window, sightings, hearing, voice, words)
        takes = [assembly.take, *takes]
        if options.save_media is not None and options.keep_for is not None:
            recorder = Recorder(options.save_media, options.keep_for, rate)
            closers.callback(recorder.close)
            takes.append(recorder.take)
        feeds = open_feeds(plan.camera, plan.microphone, rate, clock, _to_all(takes), options.loop)
        sinks = open_sinks(options.sinks, plan.labels)
        closers.callback(sinks.close, _CLOSING_S)

        def deliver(emotion: Emotion) -> None:
            sinks.publish(emotion)
            publish(emotion)

        settings = LoopSettings(plan.name, plan.hop, options.reasons)
        loop = LiveLoop(settings, clock, feeds, assembly, answer, plan.smoother, deliver, tick, sinks.status)
        return LiveRun(plan, loop, sightings, closers.pop_all())


def _words(plan: LivePlan, rate: int, closers: ExitStack) -> tuple[Words | None, list[Take]]:
    """Who knows what is said, and who must hear it for that."""
    options = plan.options
    said = options.transcript
    if said is None and options.asr is None and isinstance(plan.camera, MediaFile):
        said = sidecar_transcript(plan.camera.path)
    if said is not None:
        return (lambda start, end: said), []
    if options.asr is None:
        return None, []
    detector = SpeechDetector(rate) if options.voice_activity else None
    is_speech = (lambda samples: detector.share(samples) >= LEAST_SHARE) if detector else (lambda samples: True)
    words = LiveWords(Transcriber.open(options.asr), rate, is_speech)
    words.start()
    closers.callback(words.stop, _CLOSING_S)
    return words.words, [lambda item: words.feed(item) if isinstance(item, Sound) else None]


def _to_all(takes: Sequence[Take]) -> Take:
    def take(item: Item) -> None:
        for each in takes:
            each(item)

    return take
