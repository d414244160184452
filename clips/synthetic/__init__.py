"""The synthetic conflict set: rendered faces and source-filter voices that agree or disagree, by seed."""

from mosear.clips.synthetic.description import describe
from mosear.clips.synthetic.face import render_face
from mosear.clips.synthetic.specification import DURATION_S, LABELS, SUBSETS, ClipSpec, draw_spec
from mosear.clips.synthetic.voice import render_voice
from mosear.clips.synthetic.window import render_window

__all__ = [
    "DURATION_S",
    "LABELS",
    "SUBSETS",
    "ClipSpec",
    "describe",
    "draw_spec",
    "render_face",
    "render_voice",
    "render_window",
]
