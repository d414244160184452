"""The reason behind a clip's label, in one or two sentences of a small and regular vocabulary."""

from __future__ import annotations

from mosear.clips.synthetic.action_units import PHRASES, UNITS
from mosear.clips.synthetic.prosody import words
from mosear.clips.synthetic.specification import ClipSpec

_VISIBLE = 0.22
ADJECTIVES: dict[str, str] = {
    "neutral": "neutral",
    "angry": "angry",
    "happy": "happy",
    "sad": "sad",
    "worried": "worried",
    "surprise": "surprised",
}


def describe(spec: ClipSpec) -> str:
    """What face and voice show, which of them is the stronger cue, and the label (the last word, as an adjective)."""
    face = f"The face shows {_face_phrase(spec)}"
    voice = f"the voice is {_voice_phrase(spec)}"
    seems = f"so the person seems {ADJECTIVES[spec.label]}."
    if spec.subset == "consistent":
        return f"{face}, and {voice}. Both cues agree, {seems}"
    cue, other = ("face", "voice") if spec.subset == "video_aligned" else ("voice", "face")
    if spec.label == "neutral":
        return f"{face}, while {voice}. The {other} is only a weak cue, {seems}"
    return f"{face}, while {voice}. The {cue} is the stronger cue, {seems}"


def _face_phrase(spec: ClipSpec) -> str:
    ranked = sorted(zip(spec.expression.peaks, UNITS, strict=True), reverse=True)
    shown = [PHRASES[unit] for peak, unit in ranked[:2] if peak >= _VISIBLE]
    return " and ".join(shown) if shown else "no movement"


def _voice_phrase(spec: ClipSpec) -> str:
    return " and ".join(words(spec.prosody)) or "calm"
