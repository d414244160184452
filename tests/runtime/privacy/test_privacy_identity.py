"""Who somebody is is never computed, as far as code and results can show it."""

import ast
import json
import re
from pathlib import Path

import pytest
from runtime_commands import mosear

from mosear.runtime import privacy

RUNTIME = Path(privacy.__file__).parents[1]

# Libraries that tell people apart, and the parts of those which are used here (OpenCV, sherpa-onnx) that could.
LIBRARIES = {
    "deepface", "dlib", "face_recognition", "facenet_pytorch", "insightface", "mtcnn", "pyannote", "resemblyzer",
    "retinaface", "speechbrain",
}  # fmt: skip
PARTS = re.compile(
    r"FaceRecognizer|face_recogni[sz]|Speaker(Embedding|Diari[sz]ation|Manager|Segmentation)|SFace|ArcFace"
)

ANSWER = {
    "schema", "clip", "start", "end", "label", "scores", "by_modality", "conflict", "reliance", "reallocated_heads",
    "states", "timings_ms", "reason", "live",
}  # fmt: skip


def suspicious(code: str) -> set[str]:
    """Names in the code, as it runs and not as it is commented, by which people could be told apart."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.split(".")[0] in LIBRARIES}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in LIBRARIES:
            found.add(node.module or "")
        named = getattr(node, "attr", None) or getattr(node, "id", None) or getattr(node, "name", None)
        if isinstance(named, str) and PARTS.search(named):
            found.add(named)
    return found


def test_no_part_of_the_runtime_tells_people_apart() -> None:
    files = sorted(RUNTIME.rglob("*.py"))
    assert len(files) > 50
    assert {path.name: found for path in files if (found := suspicious(path.read_text(encoding="utf-8")))} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import insightface.app",
        "from resemblyzer import VoiceEncoder",
        "def f():\n    return cv2.FaceRecognizerSF.create('x')",
        "sherpa_onnx.SpeakerEmbeddingExtractor(config)",
    ],
)
def test_such_a_part_would_be_found(code: str) -> None:
    assert suspicious(code)


def test_an_answer_holds_nothing_by_which_a_person_could_be_found_again(toy_bundle: Path, clip: Path) -> None:
    """No vector of features: besides scores by label an answer has single numbers only."""
    done = mosear("run", toy_bundle, clip, "--format", "jsonl", "--reason")
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        assert set(answer) <= ANSWER
        labels = set(answer["scores"])
        assert all(set(each) == labels for each in answer["by_modality"].values() if each)
        numbers = {name for name, value in answer.items() if isinstance(value, list) and value}
        assert numbers <= {"reallocated_heads", "states"}
    assert done.stdout
