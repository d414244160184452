"""What a live run can be told."""

from dataclasses import dataclass, field
from pathlib import Path

from mosear.runtime.live.loop import Reasons
from mosear.runtime.perception.faces import Choice


@dataclass(frozen=True)
class LiveOptions:
    """What a live run can be told; every field is an option of ``mosear watch`` and ``mosear serve``.

    Attributes:
        camera: see ``mosear.runtime.capture.sources``.
        microphone: likewise; the camera's own sound, or the default microphone, when left out.
        window: seconds of a window; the model's when left out.
        hop: seconds from window to window.
        smoothing, margin, forget: see ``mosear.runtime.live.smoothing``.
        reasons: when the model is asked for its reasons.
        transcript: what is said, given to every window.
        asr: folder of a speech recognizer's files.
        faces: file of a face detector.
        faces_sha256: what that file must hash to.
        face: which face is taken.
        voice_activity: whether speech is told from other sound.
        loop: start a file over at its end.
        speed: how much faster than real time files are played.
        save_media: folder in which picture and sound are kept; nothing is kept when left out.
        keep_for: seconds after which what was kept is deleted.
        sinks: where answers go; see ``mosear.runtime.sinks``.
    """

    camera: str
    microphone: str | None = None
    window: float | None = None
    hop: float = 1.0
    smoothing: float = 2.0
    margin: float = 0.1
    forget: float = 5.0
    reasons: Reasons = Reasons.never
    transcript: str | None = None
    asr: Path | None = None
    faces: Path | None = None
    faces_sha256: str | None = None
    face: Choice = Choice.largest
    voice_activity: bool = True
    loop: bool = False
    speed: float = 1.0
    save_media: Path | None = None
    keep_for: float | None = None
    sinks: list[str] = field(default_factory=list)
