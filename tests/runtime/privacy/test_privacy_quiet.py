"""Nothing is sent and nothing is left behind: no telemetry, no cache, no look-up of a name."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import runtime_media
from runtime_commands import command

STRACE = shutil.which("strace")

# What a library may take for "nobody is at home": with them set, some keep quiet that would not elsewhere.
HUSHING = re.compile(r"^(CI|GITHUB_\w+|BUILD_\w+|.*TELEMETRY.*|DO_NOT_TRACK|TF_BUILD|MOSEAR_\w+|XDG_\w+|HOME|TMPDIR)$")


def can_trace() -> bool:
    if STRACE is None:
        return False
    return subprocess.run([STRACE, "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("home", "tmp", "work"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = (128, 96)
    path = tmp_path_factory.mktemp("scene") / "scene.mp4"
    return runtime_media.write(path, 3.0, fps=10, size=size, frames=lambda index: runtime_media.flat(size, 60 + index))


def run(place: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command at ``place``: its home, its temporary files, and where it works."""
    kept = {name: value for name, value in os.environ.items() if not HUSHING.match(name)}
    own = {"HOME": str(place / "home"), "TMPDIR": str(place / "tmp"), "XDG_CACHE_HOME": str(place / "home" / "cache")}
    return subprocess.run(
        arguments, env={**kept, **own}, cwd=place / "work", capture_output=True, text=True, timeout=120, check=False
    )


def commands(bundle: Path, scene: Path) -> dict[str, list[str]]:
    return {
        "run": command("run", bundle, scene, "--format", "jsonl", "--reason"),
        "watch": command("watch", bundle, "--camera", scene, "--format", "jsonl", "--speed", "6"),
    }


@pytest.mark.parametrize("name", ["run", "watch"])
def test_no_file_is_left_at_home_or_among_temporary_files(
    place: Path, toy_bundle: Path, scene: Path, name: str
) -> None:
    done = run(place, commands(toy_bundle, scene)[name])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mosear.emotion/1") >= 1
    assert [path for path in place.rglob("*") if path.is_file()] == []
    assert list((place / "home").iterdir()) == [], "not even a folder"


def addresses(trace: Path) -> set[str]:
    """Kinds of socket that were asked for, but for those by which programs of one machine talk."""
    return set(re.findall(r"socket\((AF_\w+)", trace.read_text(errors="replace"))) - {"AF_UNIX"}


@pytest.mark.skipif(not can_trace(), reason="strace is not installed, or may not trace here")
@pytest.mark.parametrize("name", ["run", "watch"])
def test_no_connection_is_tried(place: Path, toy_bundle: Path, scene: Path, name: str) -> None:
    trace = place / "trace"
    tracing = [str(STRACE), "-f", "-qq", "-e", "trace=network", "-o", str(trace)]
    done = run(place, [*tracing, *commands(toy_bundle, scene)[name]])
    assert done.returncode == 0, done.stderr
    assert addresses(trace) == set()
    assert not re.search(r"(connect|sendto|sendmsg|sendmmsg|bind)\(\d+, [^A]*AF_INET", trace.read_text())


@pytest.mark.skipif(not can_trace(), reason="strace is not installed, or may not trace here")
def test_a_connection_would_be_seen(place: Path) -> None:
    trace = place / "trace"
    code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
    run(place, [str(STRACE), "-f", "-qq", "-e", "trace=network", "-o", str(trace), sys.executable, "-c", code])
    assert addresses(trace) == {"AF_INET"}


AUDITED = """
import runpy, sys
tried = []
sys.addaudithook(lambda event, details: tried.append(event) if event in (
    "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind") else None)
arguments = sys.argv[1:]
sys.argv = ["mosear", *arguments]
try:
    runpy.run_module("mosear.runtime.cli", run_name="__main__")
finally:
    print("tried", tried, file=sys.stderr)
"""


@pytest.mark.parametrize("name", ["run", "watch"])
def test_no_connection_is_tried_from_python(place: Path, toy_bundle: Path, scene: Path, name: str) -> None:
    """The same without strace, as far as Python goes."""
    arguments = commands(toy_bundle, scene)[name][3:]
    done = run(place, [sys.executable, "-c", AUDITED, *arguments])
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "tried []"
