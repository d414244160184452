"""deploy/install.sh, run for real: below another root, and as root on a Debian of its own."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "deploy" / "install.sh"
PYTHON = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
LEFT_OUT = {".git", ".venv", "build", "demo", "tests", "examples", "benchmarks", "docs"}


def clean(home: Path) -> dict[str, str]:
    """An environment with nothing of this one but the way to the packages."""
    way = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
    return {**way, "HOME": str(home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def install(home: Path, *arguments: object, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    return subprocess.run(
        ["sh", str(script), *map(str, arguments)],
        env=clean(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where no packages can be had."""
    folder = tmp_path_factory.mktemp("probe")
    arguments = ["-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), "typer"]
    done = subprocess.run([sys.executable, *arguments], env=clean(folder), capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1:]}")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a checkout that an installation may need, with rubbish lying about as it does."""
    folder = tmp_path_factory.mktemp("checkout") / "src"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(
        ROOT, folder, ignore=lambda at, names: ignored(at, names) | (LEFT_OUT if at == str(ROOT) else set())
    )
    (folder / "build" / "lib" / "mosear").mkdir(parents=True)
    (folder / "build" / "lib" / "mosear" / "rubbish.py").write_text("")
    return folder


def tree(folder: Path) -> dict[str, str]:
    """Every path below a folder, with its content's hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def test_below_another_root_it_installs_runs_and_goes_away(
    packages: None, checkout: Path, tmp_path: Path, toy_bundle: Path, clip: Path
) -> None:
    home, prefix, root = tmp_path / "home", tmp_path / "deep" / "opt" / "mosear", tmp_path / "root"
    before = tree(checkout)
    done = install(home, "--source", checkout, "--prefix", prefix, "--root", root, "--extras", "cpu,serve")
    assert done.returncode == 0, done.stderr
    assert tree(checkout) == before
    assert not list(prefix.rglob("rubbish.py"))

    program = prefix / "bin" / "mosear"
    said = subprocess.run([program, "--version"], env=clean(home), capture_output=True, text=True, check=True, cwd="/")
    assert said.stdout.startswith("mosear ")
    done = subprocess.run(
        [program, "run", toy_bundle, clip, "--format", "jsonl"],
        env=clean(home),
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert [json.loads(line)["schema"] for line in done.stdout.splitlines()] == ["mosear.emotion/1"]
    where = "import mosear.runtime, sys; print(mosear.runtime.__file__, *sys.path)"
    found = subprocess.run(
        [prefix / "bin/python", "-c", where], env=clean(home), capture_output=True, text=True, cwd="/"
    )
    assert str(ROOT) not in found.stdout

    unit = (root / "etc/systemd/system/mosear-watch.service").read_text()
    assert f"ExecStart={program} " in unit
    token = root / "etc/mosear/token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert len(token.read_text().strip()) >= 32

    configuration = root / "etc/mosear/mosear.toml"
    configuration.write_text("[watch]\nhop = 2\n")
    (root / "var/lib/mosear/bundle").mkdir()
    gone = install(home, "--prefix", prefix, "--root", root, "--uninstall")
    assert gone.returncode == 0, gone.stderr
    assert f"kept, since it was changed: {configuration}" in gone.stderr
    assert not (tmp_path / "deep").exists()
    left = {path for path, content in tree(root).items() if content}
    assert left == {"etc/mosear/mosear.toml"}
    assert (root / "var/lib/mosear/bundle").is_dir()


DEBIAN = r"""
set -eu
base=$1 src=$2 bundle=$3 clip=$4 hidden=$5
mount -t tmpfs -o size=3g tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/m"
m=$base/m
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$m"
mkdir -p "$m/srv/in"
cp -R "$src" "$m/srv/in/src"
cp -R "$bundle" "$m/srv/in/bundle"
cp "$clip" "$m/srv/in/clip.mp4"
chmod -R a+rX "$m/srv/in"
# What this machine has beside a plain Debian: the checkout, its environment, and homes.
for folder in "$hidden" /root /home /tmp /run; do mount -t tmpfs tmpfs "$m$folder"; done
mount --rbind /proc "$m/proc"
mount --rbind /dev "$m/dev"
listing() {
    chroot "$m" find /etc /opt /usr/local /var -xdev ! -name '*-' ! -path '/var/log/*' ! -path '/var/cache/ldconfig*' |
        sort
    chroot "$m" cat /etc/passwd /etc/group /etc/shadow /etc/gshadow
}
inside() { chroot "$m" env "$@"; }
listing >"$base/before"
inside sh /srv/in/src/deploy/install.sh --source /srv/in/src
echo "--- again"
inside sh /srv/in/src/deploy/install.sh --source /srv/in/src
echo "--- record"
cat "$m/opt/mosear/installed"
echo "--- user"
chroot "$m" id mosear
echo "--- units"
inside systemd-analyze verify --man=no mosear-watch.service mosear-serve.service mosear-serve.socket
echo "--- run"
inside setpriv --reuid=mosear --regid=mosear --init-groups --no-new-privs \
    env -C /var/lib/mosear /usr/local/bin/mosear run /srv/in/bundle /srv/in/clip.mp4 --format jsonl 2>/dev/null
echo "--- token"
inside setpriv --reuid=mosear --regid=mosear --init-groups cat /etc/mosear/token 2>&1 || echo refused
echo "--- gone"
mkdir -p "$m/var/cache/mosear/engines" && : >"$m/var/cache/mosear/engines/x"
inside sh /srv/in/src/deploy/install.sh --uninstall
listing >"$base/after"
diff "$base/before" "$base/after"
echo "--- end"
"""


def test_as_root_on_a_debian_of_its_own(
    packages: None, checkout: Path, tmp_path: Path, toy_bundle: Path, clip: Path
) -> None:
    """An overlay over this system, entered by chroot: users, units and all, and nothing of it reaches the system."""
    if os.geteuid() != 0 or not all(shutil.which(name) for name in ("unshare", "setpriv", "chroot")):
        pytest.skip("takes root, unshare, setpriv and chroot")
    if not Path("/etc/debian_version").exists() or not Path("/usr/bin/python3").exists():
        pytest.skip("this is no Debian with a Python of its own")
    base = tmp_path / "base"
    base.mkdir()
    trial = "mount -t tmpfs t $1 && mkdir $1/u $1/w $1/m && "
    trial += "mount -t overlay o -o lowerdir=/,upperdir=$1/u,workdir=$1/w $1/m"
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-c", trial, "sh", str(base)], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"overlays can't be mounted here: {tried.stderr.strip()}")
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            DEBIAN,
            "sh",
            str(base),
            str(checkout),
            str(toy_bundle),
            str(clip),
            str(ROOT),
        ],
        env=clean(Path("/root")),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    parts = {part.split("\n", 1)[0]: part.split("\n", 1)[1] for part in done.stdout.split("--- ")[1:]}
    assert json.loads(parts["run"])["schema"] == "mosear.emotion/1"
    assert all(name in parts["user"] for name in ("video", "audio", "render"))
    assert parts["token"].splitlines()[-1] == "refused"
    assert "/etc/systemd/system/mosear-serve.socket" in parts["record"]
    record = parts["record"].splitlines()
    assert len(record) == len(set(record))
    assert parts["end"] == ""
    assert "mosear is gone" in done.stderr
    assert "Unknown" not in done.stderr


@pytest.fixture
def python_with_tensorrt(tmp_path: Path) -> Path:
    """A Python whose packages count TensorRT 10.3 among them, as that of JetPack 6.2."""
    found = tmp_path / "packages" / "tensorrt-10.3.0.dist-info"
    found.mkdir(parents=True)
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorrt\nVersion: 10.3.0\n")
    program = tmp_path / "python3"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/packages exec {PYTHON} "$@"\n')
    program.chmod(0o755)
    return program


def test_a_jetpack_is_checked_against_its_tensorrt(tmp_path: Path, python_with_tensorrt: Path) -> None:
    common = ["--prefix", tmp_path / "p", "--root", tmp_path / "r", "--dry-run", "--python", python_with_tensorrt]
    right = install(tmp_path / "home", *common, "--jetpack", "6.2")
    assert right.returncode == 0, right.stderr
    assert "--system-site-packages" in right.stderr
    wrong = install(tmp_path / "home", *common, "--jetpack", "7.2")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "JetPack 7.2 has TensorRT 10.16.x, and here is 10.3.0" in wrong.stderr
    assert install(tmp_path / "home", *common, "--jetpack", "5.1").returncode == 2


def test_a_dry_run_does_nothing(tmp_path: Path) -> None:
    done = install(tmp_path / "home", "--prefix", tmp_path / "p" / "q", "--root", tmp_path / "r", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "would run: " in done.stderr
    assert f"would write: {tmp_path}/r/etc/systemd/system/mosear-watch.service" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["--nonsense"], 2, "--nonsense is no option"),
        (["--prefix"], 2, "needs a value"),
        (["--prefix", "relative"], 2, "no absolute path"),
        (["--prefix", "/opt/a b"], 2, "letters, digits"),
        (["--prefix", "/opt/a|b"], 2, "letters, digits"),
        (["--extras", "cpu];x"], 2, "no list of names"),
        (["--wheel", "/none.whl"], 3, "is not there"),
        (["--wheel", "/etc/passwd"], 2, "is no wheel"),
        (["--source", "/etc"], 3, "is no checkout"),
        (["--uninstall", "--prefix", "/nonexistent/mosear"], 3, "no mosear that this script installed"),
    ],
)
def test_what_cant_be_done_is_said_in_two_lines(tmp_path: Path, arguments: list[str], code: int, what: str) -> None:
    done = install(tmp_path / "home", "--root", tmp_path / "root", *arguments)
    assert done.returncode == code
    error, fix = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert what in error
    assert fix.startswith("  fix: ")
    assert not (tmp_path / "root").exists()


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    prefix = tmp_path / "theirs"
    prefix.mkdir()
    (prefix / "precious").write_text("x")
    done = install(tmp_path / "home", "--prefix", prefix, "--root", tmp_path / "root")
    assert done.returncode == 3
    gone = install(tmp_path / "home", "--prefix", prefix, "--uninstall")
    assert gone.returncode == 3
    assert [path.name for path in prefix.iterdir()] == ["precious"]
