"""Where the face is: YuNet from a file that the user supplies, and a square crop around the face that is chosen.

Only boxes are read: the network's landmarks are left alone, and nothing that could tell one person from another is
computed. The decoding follows OpenCV's ``FaceDetectorYN`` (modules/objdetect/src/face_detect.cpp), step by step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation

from mosear.runtime.bundle import sha256_file
from mosear.runtime.errors import BadInput
from mosear.runtime.sessions import Session
from mosear.runtime.sessions.onnxruntime import OnnxRuntime

# SHA-256 of the files in models/face_detection_yunet of the repository opencv/opencv_zoo: of the first from its git-lfs
# pointer there (232589 bytes), of the second (229738 bytes) as several public projects that pin that repository's
# commit 47534e27 state it.
KNOWN = {
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4": "face_detection_yunet_2023mar.onnx",
    "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0": "face_detection_yunet_2026may.onnx",
}

_STRIDES = (8, 16, 32)
_OUTPUTS = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox") for stride in _STRIDES]
_MULTIPLE = 32

# The network finds faces of about 10 to 300 pixels (its README). With the long side of the picture at 320, those are
# faces of a 32nd of the picture up to nearly all of it: what a person in front of a kiosk looks like.
_LONGEST = 320
# As in the repository's own class for the network (yunet.py), and OpenCV's top_k.
_LEAST_SCORE, _MOST_OVERLAP, _MOST_CANDIDATES = 0.6, 0.3, 5000

# Of the training clips' faces, whose geometry is known exactly (example clips: box from hairline to chin and from cheek
# to cheek): the picture is 1.40 times as long as the box (1.27 to 1.56), and its middle lies 0.08 box heights higher.
_MARGIN = 0.4
_HIGHER = 0.08

_SMALLEST = 16
_LARGEST_ASPECT = 8


class Choice(str, Enum):
    """Which face is taken when there are several."""

    largest = "largest"
    central = "central"


@dataclass(frozen=True, eq=False)
class Crop:
    """The chosen face of a frame.

    Attributes:
        picture: uint8 [side, side, 3] RGB, contiguous, upright; None when there is no face.
        score: 0 to 1, how sure the network is of the face; 0 when there is none.
        box: left, top, width and height of the face itself in pixels of the upright frame; None when there is none.
        faces: how many were found.
    """

    picture: np.ndarray | None
    score: float = 0.0
    box: tuple[float, float, float, float] | None = None
    faces: int = 0


class FaceDetector:
    """YuNet over ONNX Runtime. For one thread.

    Args:
        session: the network; its outputs by name.
        input_name: of the network's one input, float32 [1, 3, h, w], BGR, 0 to 255.
        size: height and width that the network takes; None when it takes any multiple of 32.
        choice: which face is taken.
        least_score: faces below that are left out, 0 to 1.
        margin: how much longer the crop is than the face, as a share of the face.
    """

    def __init__(
        self,
        session: Session,
        input_name: str,
        size: tuple[int, int] | None = None,
        choice: Choice = Choice.largest,
        least_score: float = _LEAST_SCORE,
        margin: float = _MARGIN,
    ) -> None:
        self._session = session
        self._input = input_name
        self._size = size
        self._choice = Choice(choice)
        self._least_score = least_score
        self._margin = margin

    @classmethod
    def open(
        cls,
        path: str | Path,
        sha256: str | None = None,
        choice: Choice = Choice.largest,
        least_score: float = _LEAST_SCORE,
        margin: float = _MARGIN,
    ) -> "FaceDetector":
        """Load the network from a file, on one thread of the CPU, and run it once.

        Args:
            path: an ONNX file; see ``KNOWN``.
            sha256: what the file must hash to; left out, it must be one of the known files.
            choice: see the class, as for the others.
            least_score: likewise.
            margin: likewise.

        Raises:
            BadInput: the file is missing, hashes to something else, or is not YuNet.
            Failed: ONNX Runtime is missing.
        """
        path = Path(path)
        _check_hash(path, sha256)
        library = OnnxRuntime(threads=1)
        try:
            inputs = library.load(path).get_inputs()
        except BadInput as error:
            raise _not_yunet(path, "can't be loaded") from error
        height, width = ([*inputs[0].shape, None, None])[2:4] if inputs else (None, None)
        fixed = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        session = library.session(path)
        missing = [name for name in _OUTPUTS if name not in session.output_names]
        if missing or len(inputs) != 1:
            what = f"lacks the output {missing[0]}" if missing else f"takes {len(inputs)} inputs"
            raise _not_yunet(path, what)
        detector = cls(session, inputs[0].name, fixed, choice, least_score, margin)
        try:
            detector.find(np.zeros((_LONGEST, _LONGEST, 3), np.uint8))
        except (ValueError, IndexError) as error:
            raise _not_yunet(path, f"gives something else ({error})") from error
        return detector

    def crop(self, frame: av.VideoFrame) -> Crop:
        """Find the faces of a frame and cut out the chosen one.

        The crop is a square around the face with the margin, moved to lie inside the frame, and no larger than the
        frame's short side. The rotation that the frame asks for is applied in steps of 90 degrees.
        """
        turns = round(frame.rotation / 90) % 4
        height, width = (frame.width, frame.height) if turns % 2 else (frame.height, frame.width)
        if min(height, width) < _SMALLEST or max(height, width) > _LARGEST_ASPECT * min(height, width):
            return Crop(None)
        small = np.rot90(self._reduced(frame), turns)
        boxes, scores = self.find(small)
        if not len(boxes):
            return Crop(None)
        boxes = boxes * np.tile([width / small.shape[1], height / small.shape[0]], 2)
        best = _chosen(boxes, self._choice, height, width)
        left, top, side = _square(boxes[best], self._margin, height, width)
        upright = np.rot90(frame.to_ndarray(format="rgb24"), turns)
        picture = np.ascontiguousarray(upright[top : top + side, left : left + side])
        x, y, w, h = (float(each) for each in boxes[best])
        return Crop(picture, float(scores[best]), (x, y, w, h), len(boxes))

    def find(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Faces of a picture that is already small enough for the network, best first.

        Args:
            picture: uint8 [h, w, 3] RGB; no larger than the network's size where that is fixed.

        Returns:
            Boxes float32 [n, 4] (left, top, width, height in pixels) and scores float32 [n], 0 to 1.
        """
        height, width = picture.shape[:2]
        rows, columns = self._size or (-(-side // _MULTIPLE) * _MULTIPLE for side in (height, width))
        blob = np.zeros((1, 3, rows, columns), np.float32)
        blob[0, :, :height, :width] = picture[:, :, ::-1].transpose(2, 0, 1)
        outputs = self._session.run({self._input: blob})
        boxes, scores = decode(outputs, rows, columns, self._least_score)
        kept = suppress(boxes, scores)
        return boxes[kept], scores[kept]

    def _reduced(self, frame: av.VideoFrame) -> np.ndarray:
        """The frame, not turned, at the size that faces are looked for in: uint8 [h, w, 3] RGB."""
        room = min(self._size) if self._size else _LONGEST
        scale = min(1.0, min(_LONGEST, room) / max(frame.height, frame.width))
        return frame.reformat(
            width=max(2, round(frame.width * scale)),
            height=max(2, round(frame.height * scale)),
            format="rgb24",
            interpolation=Interpolation.AREA,
            threads=1,
        ).to_ndarray()


def decode(
    outputs: Mapping[str, np.ndarray], rows: int, columns: int, least_score: float
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores from the network's outputs, before any are left out for overlapping.

    Each place of a grid with the step ``stride`` says how sure it is (the root of class times object), and where the
    middle of a box lies from there in strides, and the logarithm of its sides in strides.

    Args:
        outputs: ``cls_S`` and ``obj_S`` [1, n, 1], ``bbox_S`` [1, n, 4], for the strides S.
        rows: height of the network's input in pixels.
        columns: its width.
        least_score: boxes below that are left out.

    Returns:
        float32 [n, 4] (left, top, width, height in pixels) and float32 [n].

    Raises:
        ValueError: an output has another size.
    """
    boxes, scores = [], []
    for stride in _STRIDES:
        down, across = rows // stride, columns // stride
        sure = [outputs[f"{kind}_{stride}"].reshape(down * across).clip(0, 1) for kind in ("cls", "obj")]
        score = np.sqrt(sure[0] * sure[1]).astype(np.float32)
        places = np.flatnonzero(score >= least_score)
        raw = outputs[f"bbox_{stride}"].reshape(down * across, 4)[places]
        grid = np.stack([places % across, places // across], axis=1)
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of that is left out below
            sides = np.exp(raw[:, 2:]) * stride
            near = (grid + raw[:, :2]) * stride - sides / 2
            boxes.append(np.concatenate([near, sides], axis=1).astype(np.float32))
        scores.append(score[places])
    found, sure_of = np.concatenate(boxes), np.concatenate(scores)
    # What is no number, not one pixel large, or far outside is no face.
    possible = (np.abs(found) < 2 * max(rows, columns)).all(axis=1) & (found[:, 2:] >= 1).all(axis=1)
    return found[possible], sure_of[possible]


def suppress(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Which of the boxes [n, 4] remain when no two may overlap by more than 0.3, best first: int [k].

    Overlap is that of the boxes in whole pixels, cut off, as OpenCV has it.
    """
    order = np.argsort(-scores, kind="stable")[:_MOST_CANDIDATES]
    whole = np.trunc(boxes).astype(np.int64)
    near, far = whole[:, :2], whole[:, :2] + whole[:, 2:]
    area = whole[:, 2] * whole[:, 3]
    kept = []
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        shared = np.minimum(far[first], far[order]) - np.maximum(near[first], near[order])
        common = shared.clip(0).prod(axis=1)
        together = area[first] + area[order] - common
        order = order[common <= _MOST_OVERLAP * np.maximum(together, 1)]
    return np.array(kept, np.intp)


def _chosen(boxes: np.ndarray, choice: Choice, height: int, width: int) -> int:
    near = boxes[:, :2].clip(0, [width, height])
    far = (boxes[:, :2] + boxes[:, 2:]).clip(0, [width, height])
    if choice is Choice.largest:
        return int(np.argmax((far - near).prod(axis=1)))
    return int(np.argmin(np.hypot(*((near + far) / 2 - [width / 2, height / 2]).T)))


def _square(box: np.ndarray, margin: float, height: int, width: int) -> tuple[int, int, int]:
    """Left, top and side of the crop around ``box`` in a frame of ``height`` by ``width`` pixels."""
    x, y, w, h = box
    side = int(np.clip(round((1 + margin) * max(w, h)), 2, min(height, width)))
    left = int(np.clip(round(x + w / 2 - side / 2), 0, width - side))
    top = int(np.clip(round(y + (0.5 - _HIGHER) * h - side / 2), 0, height - side))
    return left, top, side


def _check_hash(path: Path, sha256: str | None) -> None:
    try:
        found = sha256_file(path)
    except OSError as error:
        raise BadInput(
            f"the face detector {path} can't be read ({error.strerror or error})",
            f"give the path of {' or '.join(KNOWN.values())}, from OpenCV's model zoo",
        ) from error
    if sha256 is not None and found != sha256.strip().lower():
        raise BadInput(
            f"the face detector {path} has the SHA-256 {found} and not {sha256}",
            "fetch the file again, or give the SHA-256 of the file that you mean",
        )
    if sha256 is None and found not in KNOWN:
        raise BadInput(
            f"the face detector {path} is none of the known files: its SHA-256 is {found}",
            f"use {' or '.join(KNOWN.values())}, or, if you trust this file, give its SHA-256 with it",
        )


def _not_yunet(path: Path, what: str) -> BadInput:
    return BadInput(
        f"{path} is not a YuNet face detector: it {what}", f"use {' or '.join(KNOWN.values())} from OpenCV's model zoo"
    )
