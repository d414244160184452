"""The face detector against OpenCV's own on the same network, and its crops against known places."""

import hashlib
import math
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import perception_networks
import pytest
import runtime_media
from hypothesis import given, settings
from hypothesis import strategies as st

from mosear.runtime.errors import BadInput
from mosear.runtime.perception.faces import KNOWN, Choice, FaceDetector, decode, suppress

YELLOW = (255, 255, 0)  # red and green: class and object 1; no blue


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def opened(path: Path, **options) -> FaceDetector:
    return FaceDetector.open(path, sha256=hash_of(path), **options)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces at every stride, input 640 by 640 as in the real file."""
    return perception_networks.write(tmp_path_factory.mktemp("yunet") / "full.onnx")


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces at every stride, any input."""
    return perception_networks.write(tmp_path_factory.mktemp("yunet") / "dynamic.onnx", None)


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces at stride 32 only: a yellow cell of 32 pixels is one face."""
    return perception_networks.write(tmp_path_factory.mktemp("yunet") / "coarse.onnx", (640, 640), (32,))


def opencv_faces(
    path: Path, picture: np.ndarray, least: float, most_overlap: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    height, width = picture.shape[:2]
    detector = cv2.FaceDetectorYN.create(str(path), "", (width, height), least, most_overlap, 5000)
    _, found = detector.detect(np.ascontiguousarray(picture[:, :, ::-1]))
    found = np.zeros((0, 15)) if found is None else found
    return found[:, :4], found[:, 14]


def mosaic(seed: int, height: int, width: int, cell: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (-(-height // cell), -(-width // cell), 3), np.uint8)
    return np.ascontiguousarray(small.repeat(cell, 0).repeat(cell, 1)[:height, :width])


def candidates(detector: FaceDetector, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores before any are left out for overlapping."""
    height, width = (-(-side // 32) * 32 for side in picture.shape[:2])
    blob = np.zeros((1, 3, height, width), np.float32)
    blob[0, :, : picture.shape[0], : picture.shape[1]] = picture[:, :, ::-1].transpose(2, 0, 1)
    return decode(detector._session.run({"input": blob}), height, width, 0.0)


def turns_on_rounding(boxes: np.ndarray, scores: np.ndarray, least: float) -> bool:
    """Whether what remains depends on the last digits: of a score, of a side cut off to whole pixels, of an overlap."""
    gaps = np.diff(np.sort(np.append(scores[scores > least - 1e-4], least)))
    boxes = boxes[scores > least - 1e-4].astype(np.float64)
    if (gaps < 1e-5).any() or (np.abs(boxes - np.rint(boxes)) < 2e-4).any():
        return True
    whole = np.trunc(boxes)
    near, far, area = whole[:, :2], whole[:, :2] + whole[:, 2:], whole[:, 2] * whole[:, 3]
    shared = np.minimum(far[:, None], far[None]) - np.maximum(near[:, None], near[None])
    common = shared.clip(0).prod(axis=-1)
    overlap = common / np.maximum(area[:, None] + area[None] - common, 1)
    return bool((np.abs(overlap - 0.3) < 1e-6).any())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([4, 8, 16, 32, 50]), st.integers(33, 320), st.integers(33, 320))
def test_the_same_candidates_as_opencv_in_any_picture(
    dynamic: Path, seed: int, cell: int, height: int, width: int
) -> None:
    picture = mosaic(seed, height, width, cell)
    boxes, scores = candidates(opened(dynamic), picture)
    theirs, their_scores = opencv_faces(dynamic, picture, 0.5, most_overlap=1.0)
    # What is larger than a face in the picture can be is none for us.
    far = 2 * 32 * -(-max(height, width) // 32)
    possible = (np.abs(theirs) < far - 0.1).all(axis=1) & (theirs[:, 2:] >= 1.1).all(axis=1)
    theirs, their_scores = theirs[possible], their_scores[possible]
    possible = (np.abs(boxes) < far - 0.1).all(axis=1) & (boxes[:, 2:] >= 1.1).all(axis=1)
    boxes, scores = boxes[possible], scores[possible]
    # A score within rounding of the threshold may fall on either side of it, and the order is that of equal scores.
    for some, some_scores, others, other_scores in (
        (boxes, scores, theirs, their_scores),
        (theirs, their_scores, boxes, scores),
    ):
        for box, score in zip(some, some_scores, strict=True):
            if score > 0.5 + 1e-5:
                near = (np.abs(others - box).max(axis=1) < 0.05) & (np.abs(other_scores - score) < 1e-5)
                assert near.any(), (box, score)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([4, 8, 16, 32, 50]), st.integers(33, 320), st.integers(33, 320))
def test_the_same_faces_as_opencv_in_any_picture(dynamic: Path, seed: int, cell: int, height: int, width: int) -> None:
    picture = mosaic(seed, height, width, cell)
    detector = opened(dynamic, least_score=0.5)
    boxes, scores = detector.find(picture)
    theirs, their_scores = opencv_faces(dynamic, picture, 0.5)
    if turns_on_rounding(*candidates(detector, picture), 0.5):
        return
    assert len(boxes) == len(theirs)
    np.testing.assert_allclose(scores, their_scores, atol=1e-5)
    np.testing.assert_allclose(boxes, theirs, atol=0.05)


def test_that_comparison_sees_many_faces_that_overlap(dynamic: Path) -> None:
    boxes, _ = opened(dynamic, least_score=0.5).find(mosaic(1, 320, 320, 8))
    candidates = opened(dynamic, least_score=0.5)._session.run(
        {"input": mosaic(1, 320, 320, 8)[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32)}
    )
    assert 20 < len(boxes) < len(decode(candidates, 320, 320, 0.5)[0]) / 2


def test_the_same_faces_as_opencv_at_the_fixed_size(full: Path) -> None:
    """A smaller picture is padded with black, as OpenCV pads to its multiple of 32."""
    picture = np.zeros((640, 640, 3), np.uint8)
    picture[:200, :320] = mosaic(5, 200, 320, 16)
    boxes, scores = opened(full, least_score=0.7).find(picture[:200, :320])
    theirs, their_scores = opencv_faces(full, picture, 0.7)
    assert len(theirs) > 5
    np.testing.assert_allclose(scores, their_scores, atol=1e-5)
    np.testing.assert_allclose(boxes, theirs, atol=0.05)


def test_decoding_by_hand() -> None:
    """One cell of the middle stride, worked out on paper."""
    outputs = {}
    for stride, count in ((8, 64), (16, 16), (32, 4)):
        outputs |= {f"{kind}_{stride}": np.zeros((1, count, 1), np.float32) for kind in ("cls", "obj")}
        outputs[f"bbox_{stride}"] = np.zeros((1, count, 4), np.float32)
    outputs["cls_16"][0, 6], outputs["obj_16"][0, 6] = 1.7, 0.49  # row 1, column 2; above 1 counts as 1
    outputs["bbox_16"][0, 6] = [0.5, 0.25, math.log(2), math.log(3)]
    boxes, scores = decode(outputs, 64, 64, 0.6)
    np.testing.assert_allclose(boxes, [[2.5 * 16 - 16, 1.25 * 16 - 24, 32, 48]], atol=1e-4)
    np.testing.assert_allclose(scores, [0.7], atol=1e-6)


def test_values_that_are_no_numbers_are_no_faces() -> None:
    outputs = {}
    for stride, count in ((8, 64), (16, 16), (32, 4)):
        outputs |= {f"{kind}_{stride}": np.ones((1, count, 1), np.float32) for kind in ("cls", "obj")}
        outputs[f"bbox_{stride}"] = np.full((1, count, 4), (np.nan, 1e30, np.inf)[stride // 16], np.float32)
    assert not len(decode(outputs, 64, 64, 0.6)[0])
    for stride in (8, 16, 32):
        outputs[f"bbox_{stride}"][:] = (0, 0, -20, -20)
    assert not len(decode(outputs, 64, 64, 0.6)[0]), "a box smaller than a pixel"
    outputs["cls_8"][:] = np.nan
    assert not len(decode(outputs, 64, 64, 0.6)[0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 60))
def test_suppression_is_opencvs(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    boxes = np.concatenate([random.uniform(-20, 80, (count, 2)), random.uniform(1, 60, (count, 2))], 1)
    boxes, scores = boxes.astype(np.float32), random.permutation(count).astype(np.float32) / 100 + 0.1
    theirs = cv2.dnn.NMSBoxes(np.trunc(boxes).astype(int).tolist(), scores.tolist(), 0.05, 0.3) if count else []
    assert suppress(boxes, scores).tolist() == list(np.array(theirs, int).ravel())


def frame_of(picture: np.ndarray) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(picture, format="rgb24")


def scene(*cells: tuple[int, int], blue: tuple[int, ...] = (), height: int = 480, width: int = 640) -> np.ndarray:
    """Dark, with a yellow cell of 64 pixels at each (row, column): one face each, the larger the bluer."""
    picture = np.zeros((height, width, 3), np.uint8)
    for i, (row, column) in enumerate(cells):
        picture[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64] = (*YELLOW[:2], blue[i] if blue else 0)
    return picture


def expected_box(row: int, column: int, blue: int = 0) -> np.ndarray:
    """Of a scene's cell in its full pixels: the picture is looked at in half size, and a stride there is 32."""
    b, r = blue / 255, 1.0
    x, y = (column + b) * 64, (row + 0.5 * b + 0.5 * r - 0.25) * 64
    w, h = math.exp(1.5 * b + 0.5) * 64, math.exp(1.5 * r + 0.25) * 64
    return np.array([x - w / 2, y - h / 2, w, h])


def test_the_crop_is_where_the_face_is(coarse: Path) -> None:
    crop = opened(coarse).crop(frame_of(scene((3, 5))))
    box = expected_box(3, 5)
    np.testing.assert_allclose(crop.box, box, atol=2)
    assert crop.faces == 1
    assert crop.score == pytest.approx(1, abs=0.02)
    # 1.4 times the longer side is more than the frame is high here, so all of its height is seen.
    assert crop.picture.shape == (480, 480, 3)


def test_the_margin_and_the_place_of_the_crop(coarse: Path) -> None:
    """The crop of a face well inside a large frame is a slice of the frame."""
    picture = np.random.default_rng(0).integers(0, 60, (1280, 1280, 3), np.uint8)
    picture[640:768, 640:768] = YELLOW
    crop = opened(coarse, margin=0.4).crop(frame_of(picture))
    x, y, w, h = crop.box
    side = round(1.4 * max(w, h))
    left, top = round(x + w / 2 - side / 2), round(y + 0.42 * h - side / 2)
    assert (left > 0, top >= 0, side < 1280) == (True, True, True)
    np.testing.assert_array_equal(crop.picture, picture[top : top + side, left : left + side])
    assert crop.picture.flags.c_contiguous
    wider = opened(coarse, margin=0.6).crop(frame_of(picture))
    assert wider.picture.shape[0] == pytest.approx(1.6 / 1.4 * side, abs=2)


def test_largest_and_central(coarse: Path) -> None:
    picture = scene((3, 1), (3, 5), (6, 8), blue=(128, 0, 0))
    detector = opened(coarse)
    crop = detector.crop(frame_of(picture))
    assert crop.faces == 3
    np.testing.assert_allclose(crop.box, expected_box(3, 1, 128), atol=2.5)
    central = opened(coarse, choice=Choice.central).crop(frame_of(picture))
    np.testing.assert_allclose(central.box, expected_box(3, 5), atol=2.5)


def test_no_face_is_no_picture(coarse: Path) -> None:
    for picture in (np.zeros((480, 640, 3), np.uint8), np.full((480, 640, 3), 90, np.uint8)):
        crop = opened(coarse).crop(frame_of(picture))
        assert (crop.picture, crop.score, crop.box, crop.faces) == (None, 0.0, None, 0)


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_a_turned_frame_is_cropped_upright(coarse: Path, tmp_path, rotation: int) -> None:
    """Stored turned so that the display matrix brings it upright: same face, same crop."""
    upright = scene((2, 2), height=384, width=640)
    upright[:, 600:] = (0, 0, 255)
    turns = round(rotation / 90) % 4
    stored = np.ascontiguousarray(np.rot90(upright, -turns))
    height, width = stored.shape[:2]
    path = runtime_media.write(
        tmp_path / "r.mp4", 0.3, frames=lambda i: stored, size=(width, height), rotation=rotation, audio=False
    )
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert round(frame.rotation) % 360 == rotation % 360
    crop = opened(coarse).crop(frame)
    straight = opened(coarse).crop(frame_of(upright))
    # The codec halves the resolution of colours, which is what this network goes by.
    np.testing.assert_allclose(crop.box, straight.box, atol=6)
    assert crop.picture.shape == straight.picture.shape
    assert np.abs(crop.picture.astype(int) - straight.picture).mean() < 6


@pytest.mark.parametrize(("height", "width"), [(17, 40), (240, 1900), (1080, 1920), (99, 101), (16, 16), (720, 406)])
@pytest.mark.parametrize("form", ["yuv420p", "yuyv422", "nv12", "gray", "rgba"])
def test_any_frame_gives_a_crop_inside_it(dynamic: Path, height: int, width: int, form: str) -> None:
    frame = frame_of(mosaic(3, height, width, 16)).reformat(format=form)
    crop = opened(dynamic, least_score=0.3).crop(frame)
    assert crop.faces > 0
    side = crop.picture.shape[0]
    assert crop.picture.shape == (side, side, 3)
    assert 2 <= side <= min(height, width)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (1, 50), (2, 4000), (8, 640)])
def test_slivers_have_no_face(dynamic: Path, height: int, width: int) -> None:
    assert opened(dynamic).crop(frame_of(np.full((height, width, 3), 255, np.uint8))).picture is None


def test_a_strange_file_is_refused_with_its_hash(coarse: Path) -> None:
    with pytest.raises(BadInput) as caught:
        FaceDetector.open(coarse)
    assert hash_of(coarse) in caught.value.what
    assert "SHA-256" in caught.value.remedy


def test_another_hash_is_refused_and_the_right_one_taken_in_capitals(coarse: Path) -> None:
    with pytest.raises(BadInput) as caught:
        FaceDetector.open(coarse, sha256="0" * 64)
    assert hash_of(coarse) in caught.value.what
    FaceDetector.open(coarse, sha256=hash_of(coarse).upper())


def test_the_known_file_is_not_taken_for_another_when_a_hash_is_given(coarse: Path) -> None:
    with pytest.raises(BadInput):
        FaceDetector.open(coarse, sha256=next(iter(KNOWN)))


def test_a_missing_file_and_a_folder_are_bad_input(tmp_path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(BadInput):
            FaceDetector.open(path)


def test_files_that_are_no_yunet_are_bad_input(tmp_path, toy_bundle: Path, full: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(full.read_bytes()[:500])
    lacking = perception_networks.write(tmp_path / "lacking.onnx", without="obj_16")
    sized = onnx.load(full)
    for node in sized.graph.node:
        if node.name == "" and node.op_type == "Conv" and node.output[0] == "bbox_8_c":
            node.attribute[1].ints[:] = [16, 16]
    other = tmp_path / "other.onnx"
    onnx.save(sized, other)
    for path in (damaged, lacking, other, toy_bundle / "vision.onnx"):
        with pytest.raises(BadInput, match="not a YuNet"):
            opened(path)
