"""A decoder process that was taken over: what it may reach, and what it can make the server believe."""

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from test_server_decoding import pool_of

from mosear.runtime.errors import BadInput
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.server import decode_worker
from mosear.runtime.server.decode_wire import MAX_HEADER
from mosear.runtime.server.decoding import DecoderCrashed, TooLong

FRAMES, SAMPLES = bytes(8 * 64 * 64 * 3), bytes(4 * 48000)

LIAR = """
import os, socket, struct, sys
end = socket.socket(fileno=os.dup(0))
def hear():
    length = struct.unpack(">I", end.recv(4, socket.MSG_WAITALL))[0]
    return end.recv(length, socket.MSG_WAITALL)
def say(text):
    end.sendall(struct.pack(">I", len(text)) + text)
hear()
say(b'{"answer": "ready", "files": true, "calls": true}')
hear()
end.sendall(bytes.fromhex(sys.argv[1]))
while end.recv(1000):
    pass
"""


def _framed(header: object) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">I", len(text)) + text


def _window(**changes: object) -> bytes:
    window = {"answer": "window", "start": 0.0, "end": 3.0, "states": [], "frames": False, "samples": False}
    return _framed({"answer": "opened"}) + _framed({**window, **changes})


LIES = {
    "a long header": struct.pack(">I", MAX_HEADER + 1) + b" " * 100,
    "an endless header": b"\xff\xff\xff\xff",
    "no header": struct.pack(">I", 0),
    "no JSON": _framed(b"\x80\x04K\x01."),
    "no object": _framed([1, 2]),
    "deep JSON": _framed(b"[" * 9000 + b"]"),
    "no text": _framed(b"\xff\xfe{}"),
    "another answer": _framed({"answer": "closed"}),
    "no answer": _framed({}),
    "an answer of a list": _framed({"answer": ["opened"]}),
    "an error of no kind": _framed({"answer": "error", "kind": "x", "what": "a", "remedy": "b"}),
    "an error of no words": _framed({"answer": "error", "kind": "bad", "what": 1, "remedy": None}),
    "a fault": _framed({"answer": "error", "kind": "fault", "what": "x\nerror: forged", "remedy": ""}),
    "no start": _window(start=None),
    "a text for a start": _window(start="0"),
    "a start that is true": _window(start=True),
    "no number": _window(end=float("nan")),
    "for ever": _window(end=float("inf")),
    "before the clip": _window(start=-1.0, end=1.0),
    "backwards": _window(start=2.0, end=1.0),
    "a long window": _window(end=4.0),
    "an unknown state": _window(states=["dark"]),
    "states of lists": _window(states=[["short"]]),
    "many states": _window(states=["short"] * 100),
    "states that are a text": _window(states="short"),
    "a number for a flag": _window(frames=1),
    "a shape for a flag": _window(samples=[1, 2]),
    "the same window again": _window()
    + _framed({"answer": "window", "start": 0.0, "end": 3.0, "states": [], "frames": False, "samples": False}),
    "sound that is no number": _window(samples=True) + np.full(48000, np.nan, np.float32).tobytes(),
    "infinite sound": _window(frames=True, samples=True) + FRAMES + np.full(48000, np.inf, np.float32).tobytes(),
    "bytes in a row": b"{" * 5000,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_process_that_lies_is_not_believed(tmp_path: Path, preprocessing: Preprocessing, lie: str) -> None:
    command = [sys.executable, "-S", "-c", LIAR, LIES[lie].hex()]
    if len(command[-1]) > 100_000:  # as long as an argument may be
        script = tmp_path / "liar.py"
        script.write_text(LIAR.replace("sys.argv[1]", repr(command[-1])))
        command = [sys.executable, "-S", str(script)]
    (tmp_path / "x.mp4").write_bytes(b"x")
    with pool_of(tmp_path, preprocessing, command=command) as pool:
        (pid,) = pool.pids
        with pytest.raises(DecoderCrashed):
            list(pool.windows(tmp_path / "x.mp4"))
        assert pid not in pool.pids


def test_windows_beyond_the_limit_end_the_clip(tmp_path: Path, preprocessing: Preprocessing) -> None:
    command = [sys.executable, "-S", "-c", LIAR, _window(start=100.0, end=103.0).hex()]
    with pool_of(tmp_path, preprocessing, command=command) as pool, pytest.raises(TooLong):
        list(pool.windows(tmp_path / "x.mp4"))


def test_words_of_a_process_stay_on_one_line(tmp_path: Path, preprocessing: Preprocessing) -> None:
    path = tmp_path / "x.mp4"
    error = {"answer": "error", "kind": "bad", "what": f"{path} is\nerror: forged\x1b[2J", "remedy": "r\n"}
    with pool_of(tmp_path, preprocessing, command=[sys.executable, "-S", "-c", LIAR, _framed(error).hex()]) as pool:
        with pytest.raises(BadInput) as raised:
            list(pool.windows(path))
        assert raised.value.what == "the upload is error: forged [2J"
        assert raised.value.remedy == "r"


def test_a_process_gets_no_secret_and_no_descriptor(
    tmp_path: Path, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by the process itself, which is closed to others."""
    monkeypatch.setenv("MOSEAR_TOKEN", "marked-secret")
    telling = LIAR.replace(
        "end.sendall(bytes.fromhex(sys.argv[1]))",
        "import json\n"
        "places = ['/proc/self/fd/' + name for name in os.listdir('/proc/self/fd')]\n"
        "held = [os.readlink(place) for place in places if os.path.lexists(place)]\n"
        "said = json.dumps([dict(os.environ), held, os.getcwd(), os.getsid(0) == os.getpid()])\n"
        "say(json.dumps({'answer': 'error', 'kind': 'bad', 'what': said, 'remedy': ''}).encode())\n",
    )
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # the words of an error are cut where they get long
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with open(tmp_path / "open", "w") as held:
        os.set_inheritable(held.fileno(), True)
        command = [sys.executable, "-S", "-c", telling]
        with pool_of(tmp_path, preprocessing, command=command) as pool, pytest.raises(BadInput) as error:
            list(pool.windows(tmp_path / "x.mp4"))
    environment, links, folder, leads = json.loads(error.value.what)
    assert "marked-secret" not in error.value.what
    assert not any(name.startswith("MOSEAR") for name in environment)
    assert sum(link.startswith("socket:") for link in links) == 2  # its end, and the copy that it made
    assert all(link == "/dev/null" or link.startswith("socket:") for link in links)
    assert (folder, leads) == ("/", True)


def test_a_process_may_gain_no_rights(tmp_path: Path, preprocessing: Preprocessing) -> None:
    with pool_of(tmp_path, preprocessing) as pool:
        (pid,) = pool.pids
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        limits = Path(f"/proc/{pid}/limits").read_text() if os.geteuid() == 0 else None
    assert status["NoNewPrivs"] == "1"
    assert limits is None or "Max file size             0                    0" in limits


CAGED = """
import ctypes, errno, os, resource, socket, subprocess, sys
from pathlib import Path
from mosear.runtime.server import decode_cage
inside, outside = map(Path, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
decode_cage.tie_to_parent(os.getppid())
exhausted = decode_cage.limit_resources(64, 1000)
walls = decode_cage.forbid_files([inside.parent]), decode_cage.forbid_calls()
said = []
def attempt(name, call):
    try:
        call()
        said.append(name)
    except (OSError, MemoryError):
        pass
attempt("read inside", lambda: inside.read_bytes())
attempt("read outside", lambda: outside.read_bytes())
attempt("write inside", lambda: inside.write_bytes(b"x"))
attempt("write a new file", lambda: (inside.parent / "new").write_bytes(b"x"))
attempt("remove", lambda: inside.unlink())
attempt("list outside", lambda: list(outside.parent.iterdir()))
attempt("internet", lambda: socket.socket(socket.AF_INET))
attempt("unix socket", lambda: socket.socket(socket.AF_UNIX))
attempt("program", lambda: os.execv("/bin/true", ["true"]))
attempt("memory", lambda: bytearray(200 * 2**20))
attempt("some memory", lambda: bytearray(20 * 2**20))
attempt("no warning", lambda: exhausted() and bytearray(10**12))
attempt("much memory", lambda: bytearray(70 * 2**20))
attempt("still no warning", lambda: exhausted() and bytearray(10**12))
attempt("many files", lambda: [os.dup(1) for _ in range(100)])
print(*walls, ", ".join(said), sep="|")
"""


def test_the_walls_hold(tmp_path: Path) -> None:
    inside, outside = tmp_path / "scratch" / "a", tmp_path / "outside" / "b"
    for path in (inside, outside):
        path.parent.mkdir()
        path.write_bytes(b"content")
    done = subprocess.run([sys.executable, "-c", CAGED, inside, outside], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    files, calls, said = done.stdout.strip().split("|")
    reached = said.split(", ")
    # What the kernel says of itself, so that walls that fail to go up are not taken for a kernel without them.
    version = ctypes.CDLL(None).syscall(444, None, 0, 1)  # landlock_create_ruleset(2), which answers with its version
    has = version > 0, Path("/proc/sys/kernel/seccomp/actions_avail").exists()
    assert (files, calls) == tuple(map(str, has))
    if not all(has):
        pytest.skip(f"this kernel lacks Landlock or seccomp (Landlock {version})")
    assert reached == ["read inside", "some memory", "no warning", "much memory"]
    assert inside.read_bytes() == b"content"


@pytest.fixture
def listener() -> Iterator[tuple[int, list[str]]]:
    """A port of this machine and what came in there."""
    caught: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                caught.append("connected")
                connection.close()

        thread = threading.Thread(target=take)
        thread.start()
        yield server.getsockname()[1], caught
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def _references(target: str) -> dict[str, bytes]:
    """Files that name another file or address, in the ways that media have for it."""
    return {
        "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{target}\n#EXT-X-ENDLIST\n".encode(),
        "b.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{target}\n#EXT-X-ENDLIST\n".encode(),
        "c.ffconcat": f"ffconcat version 1.0\nfile '{target}'\n".encode(),
        "d.sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
        b"a=rtpmap:96 H264/90000\n",
        "e.mpd": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        f"<BaseURL>{target}</BaseURL></Period></MPD>".encode(),
        "f.asx": f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>'.encode(),
        "g.ram": f"{target}\n".encode(),
    }


def _with_data_reference(movie: bytes, target: str) -> bytes:
    """A movie whose data lie in another file, says its ``dref`` box, by an alias with a path."""
    name = target.encode()
    name += b"\0" * (len(name) % 2)
    record = b"\0" * 130 + struct.pack(">hh", -1, -1) + b"\0" * 16  # no volume, no name, not to be found relatively
    record += struct.pack(">hH", 2, len(name)) + name + struct.pack(">hH", -1, 0)
    alias = b"alis" + struct.pack(">I", 0) + record
    entry = struct.pack(">I", len(alias) + 4) + alias
    old = b"\x00\x00\x00\x1cdref\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0curl \x00\x00\x00\x01"
    assert old in movie
    new = struct.pack(">I", 16 + len(entry)) + old[4:16] + entry
    return _grown(movie, old, new)


def _grown(movie: bytes, old: bytes, new: bytes) -> bytes:
    """``movie`` with every ``old`` box replaced and the sizes of the boxes around it corrected."""
    out, at = b"", 0
    while at < len(movie):
        size, kind = struct.unpack_from(">I4s", movie, at)
        body = movie[at + 8 : at + size]
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
            body = _grown(body, old, new)
        elif movie[at : at + size] == old:
            body = new[8:]
        out += struct.pack(">I4s", len(body) + 8, kind) + body
        at += size
    return out


@pytest.mark.parametrize("scheme", ["http", "file", "path"])
def test_a_file_that_names_another_opens_nothing(
    tmp_path: Path, preprocessing: Preprocessing, clip: Path, listener: tuple[int, list[str]], scheme: str
) -> None:
    port, caught = listener
    scratch, trap = tmp_path / "scratch", tmp_path / "trap.mp4"
    scratch.mkdir()
    os.mkfifo(trap)
    target = {"http": f"http://127.0.0.1:{port}/x.ts", "file": f"file://{trap}", "path": str(trap)}[scheme]
    files = {**_references(target), "h.mov": _with_data_reference(clip.read_bytes(), target)}
    with pool_of(scratch, preprocessing) as pool:
        for name, data in files.items():
            (scratch / name).write_bytes(data)
            with pytest.raises(BadInput) as error:
                list(pool.windows(scratch / name))
            assert error.type is BadInput
            with pytest.raises(OSError, match="No such device"):  # a fifo that nobody reads
                os.close(os.open(trap, os.O_WRONLY | os.O_NONBLOCK))
    assert caught == []


def test_a_reference_to_another_upload_is_not_followed(
    tmp_path: Path, preprocessing: Preprocessing, clip: Path
) -> None:
    """One that lies where the process may read: only the formats and their options stand before it."""
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    files = {**_references(str(other)), "h.mov": _with_data_reference(clip.read_bytes(), str(other))}
    with pool_of(tmp_path, preprocessing) as pool:
        assert len(list(pool.windows(other))) == 1
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            with pytest.raises(BadInput) as error:
                list(pool.windows(tmp_path / name))
            assert error.type is BadInput


def test_the_traps_catch_a_library_that_is_left_to_itself(
    tmp_path: Path, clip: Path, listener: tuple[int, list[str]]
) -> None:
    port, caught = listener
    playlist, movie = tmp_path / "a.m3u8", tmp_path / "h.mov"
    playlist.write_bytes(_references(f"http://127.0.0.1:{port}/x.ts")["a.m3u8"])
    with pytest.raises(av.FFmpegError):
        av.open(str(playlist), options={"protocol_whitelist": "file,http,tcp"}, timeout=10)
    assert caught
    movie.write_bytes(_with_data_reference(clip.read_bytes(), str(clip)))
    with av.open(str(movie), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert sum(packet.size for packet in container.demux()) > 1000


def test_a_fault_of_ours_in_the_process_is_told_without_the_path(
    tmp_path: Path, preprocessing: Preprocessing, clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x.mp4").write_bytes(clip.read_bytes())
    broken = (
        "from mosear.runtime.server import decode_worker\n"
        "def fail(path, *rest, **limits):\n    raise KeyError(str(path))\n"
        "decode_worker.read_windows = fail\n"
        "decode_worker.main()\n"
    )
    command = [sys.executable, "-c", broken]
    with pool_of(tmp_path, preprocessing, command=command) as pool, pytest.raises(DecoderCrashed):
        list(pool.windows(tmp_path / "x.mp4"))
    assert "KeyError" in caplog.text
    assert str(tmp_path) not in caplog.text


def test_the_worker_ends_when_the_server_hangs_up() -> None:
    ours, theirs = socket.socketpair()
    with subprocess.Popen([sys.executable, "-m", decode_worker.__name__], stdin=theirs.fileno()) as process:
        theirs.close()
        ours.close()
        assert process.wait(30) == 0
