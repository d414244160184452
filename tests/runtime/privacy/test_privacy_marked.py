"""A marked transcript goes through the commands, and must be nowhere afterwards: not in results, logs, or files."""

import subprocess
from pathlib import Path

import pytest
import runtime_fakes
import runtime_media
from runtime_commands import mosear

MARK = "MARKED-xyzzy-7f3a"
LONG = " ".join([MARK] * 120)
"""More words than a model of little memory holds."""

FAST = ("--speed", "8", "--no-vad", "--hop", "1")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the program works, and the only place where it may leave a file: home, temporary files, and media."""
    for name in ("home", "tmp", "media", "sinks"):
        (tmp_path / name).mkdir()
    size = (128, 96)
    runtime_media.write(
        tmp_path / "media" / "clip.mp4",
        4.0,
        fps=10,
        size=size,
        frames=lambda index: runtime_media.flat(size, 40 + 30 * (index // 10 % 5)),
    )
    return tmp_path


def run(place: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return mosear(*arguments, HOME=str(place / "home"), TMPDIR=str(place / "tmp"), XDG_CACHE_HOME=str(place / "home"))


def marked(place: Path, done: subprocess.CompletedProcess[str]) -> list[str]:
    """Where the mark is: streams and files, as UTF-8 and as UTF-16."""
    forms = [MARK.encode(), MARK.encode("utf-16-le")]
    found = [name for name, text in (("stdout", done.stdout), ("stderr", done.stderr)) if MARK in text]
    for path in sorted(place.rglob("*")):
        if MARK in path.name or (path.is_file() and any(form in path.read_bytes() for form in forms)):
            found.append(str(path.relative_to(place)))
    return found


def sinks(place: Path) -> list[str]:
    """Two that work, and one that can't be reached."""
    specs = (f"jsonl:{place / 'sinks' / 'a.jsonl'}", f"csv:{place / 'sinks' / 'a.csv'}", "ws://127.0.0.1:9/x")
    return [part for spec in specs for part in ("--sink", spec)]


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that holds a prompt, but none with a long transcript."""
    decoder = {**runtime_fakes.manifest_fields()["decoder"], "capacity": 40}
    return runtime_fakes.make_bundle(tmp_path_factory.mktemp("bundles") / "forgetful", decoder=decoder)


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_watch(place: Path, toy_bundle: Path, debug: list[str]) -> None:
    clip = place / "media" / "clip.mp4"
    given = ("--camera", clip, "--transcript", f"hello {MARK}", "--format", "jsonl", "--reason", "always")
    done = run(place, "watch", toy_bundle, *given, *FAST, *sinks(place), *debug)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") >= 2
    assert (place / "sinks" / "a.jsonl").stat().st_size
    assert (place / "sinks" / "a.csv").stat().st_size
    assert "127.0.0.1:9" in done.stderr, "the sink that fails is in the log"
    assert marked(place, done) == []


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_watch_whose_windows_fail_for_the_length_of_the_transcript(
    place: Path, forgetful: Path, debug: list[str]
) -> None:
    given = ("--camera", place / "media" / "clip.mp4", "--loop", "--transcript", LONG)
    done = run(place, "watch", forgetful, *given, *FAST, *sinks(place), *debug)
    assert done.returncode == 3, done.stderr
    assert "could not be answered" in done.stderr
    assert "error: " in done.stderr
    assert ("Traceback" in done.stderr) == bool(debug)
    assert marked(place, done) == []


@pytest.mark.parametrize("form", ["human", "jsonl", "csv"])
def test_run(place: Path, toy_bundle: Path, form: str) -> None:
    given = ("--transcript", f"hello {MARK}", "--format", form, "--reason", "--debug")
    done = run(place, "run", toy_bundle, place / "media" / "clip.mp4", *given)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert marked(place, done) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [(LONG, 3), (f"{MARK} \udcff {MARK}", 1), (f"{MARK}\n{MARK}\x1b[2J", 0)],
    ids=["long", "no text", "control"],
)
def test_run_with_a_transcript_that_makes_trouble(place: Path, forgetful: Path, text: str, code: int) -> None:
    done = run(place, "run", forgetful, place / "media" / "clip.mp4", "--transcript", text, "--debug")
    assert done.returncode == code, done.stderr
    assert marked(place, done) == []


@pytest.mark.parametrize("command", ["run", "watch"])
@pytest.mark.parametrize(
    "data", [MARK.encode(), MARK.encode() + b"\xff", MARK.encode() * 5000], ids=["fine", "no text", "long"]
)
def test_a_transcript_beside_the_clip_is_read_and_stays_there(
    place: Path, toy_bundle: Path, command: str, data: bytes
) -> None:
    clip = place / "media" / "clip.mp4"
    clip.with_suffix(".txt").write_bytes(data)
    given = (clip,) if command == "run" else ("--camera", clip, *FAST)
    done = run(place, command, toy_bundle, *given, "--debug")
    assert done.returncode == (0 if data == MARK.encode() else 3), done.stderr
    # This is also what shows that the search finds what is there.
    assert marked(place, done) == ["media/clip.txt"]


def test_kept_media_hold_no_transcript(place: Path, toy_bundle: Path) -> None:
    kept = place / "media" / "kept"
    given = ("--camera", place / "media" / "clip.mp4", "--transcript", MARK, "--save-media", kept, "--keep-for", "1h")
    done = run(place, "watch", toy_bundle, *given, *FAST)
    assert done.returncode == 0, done.stderr
    assert [path.suffix for path in kept.iterdir()] == [".mkv"]
    assert marked(place, done) == []
