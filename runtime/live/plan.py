"""What a live run would do: its options checked, and nothing opened that others could miss."""

from dataclasses import dataclass
from typing import Any

from mosear.runtime.capture.sources import (
    Camera,
    CameraSound,
    MediaFile,
    MicrophoneSource,
    Nothing,
    default_microphone,
    parse_camera,
    parse_microphone,
)
from mosear.runtime.errors import UsageError
from mosear.runtime.live.loop import Reasons
from mosear.runtime.live.options import LiveOptions
from mosear.runtime.live.smoothing import Smoother
from mosear.runtime.manifest import Manifest
from mosear.runtime.media.file import probe
from mosear.runtime.perception.faces import FaceDetector
from mosear.runtime.pipeline import REASON_TASK
from mosear.runtime.sinks.specs import parse_sinks
from mosear.runtime.windows import lengths


@dataclass(frozen=True, eq=False)
class LivePlan:
    """What a live run would do.

    Attributes:
        options: what it was told.
        camera, microphone: the sources.
        window, hop: seconds.
        faces: finds the face that is cropped; None when the whole frame is used.
        smoother: the filter over time.
        labels: the model's.
    """

    options: LiveOptions
    camera: Camera
    microphone: MicrophoneSource
    window: float
    hop: float
    faces: FaceDetector | None
    smoother: Smoother
    labels: list[str]

    @property
    def name(self) -> str:
        """What answers name as their clip."""
        return self.microphone.name if isinstance(self.camera, Nothing) else self.camera.name

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without secrets."""
        options = self.options
        return {
            "camera": self.camera.name,
            "microphone": self.microphone.name,
            "window_s": self.window,
            "hop_s": self.hop,
            "smoothing_s": options.smoothing,
            "reasons": options.reasons.value,
            "faces": None if options.faces is None else str(options.faces),
            "voice_activity": options.voice_activity,
            "save_media": None if options.save_media is None else str(options.save_media),
            "keep_for_s": options.keep_for,
            "sinks": [spec.name for spec in parse_sinks(options.sinks)],
        }


def plan_live(options: LiveOptions, manifest: Manifest) -> LivePlan:
    """Check what a live run was told. No device, sink or folder is opened; files are looked at.

    Raises:
        UsageError: an option is out of range, or two do not go together.
        BadInput: a file that was named is missing or of another kind.
        Failed: a library is missing.
    """
    camera = parse_camera(options.camera)
    named = options.microphone
    microphone = default_microphone(camera) if named is None else parse_microphone(named)
    _check(options, camera, microphone, REASON_TASK in manifest.prompt.tasks)
    window, hop = lengths(manifest.preprocessing, options.window, options.hop)
    labels = [label.name for label in manifest.labels]
    smoother = Smoother(labels, options.smoothing, options.margin, options.forget)
    parse_sinks(options.sinks)
    for source in (camera, microphone):
        if isinstance(source, MediaFile):
            probe(source.path)
    faces = FaceDetector.open(options.faces, options.faces_sha256, options.face) if options.faces else None
    return LivePlan(options, camera, microphone, window, hop, faces, smoother, labels)


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
