"""The machine that is looked at: its files, variables and programs. A folder can stand in for its root."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Machine:
    """Reads what the system says of itself.

    Attributes:
        root: the folder that ``/proc``, ``/sys``, ``/etc`` and the system's programs hang on.
        environment: the variables, which the children get too.
    """

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def is_here(self) -> bool:
        """Whether this is the machine that the program runs on, and not a folder in its place."""
        return self.root == Path("/")

    @property
    def child_environment(self) -> dict[str, str]:
        """The variables for a program whose output is parsed."""
        return {**self.environment, "LC_ALL": "C"}

    def path(self, path: str) -> Path:
        """``path``, which begins with a slash, below the root."""
        return self.root / path.lstrip("/")

    def read(self, path: str) -> str | None:
        """The text of a file without zero bytes and blanks around it; None when it can't be read."""
        try:
            return self.path(path).read_text(encoding="utf-8", errors="replace").replace("\0", "").strip()
        except OSError:
            return None

    def entries(self, path: str) -> list[str]:
        """The parts of a file that zero bytes part, as the device tree's lists are; empty when it can't be read."""
        try:
            parts = self.path(path).read_bytes().split(b"\0")
        except OSError:
            return []
        return [text for part in parts if (text := part.decode(errors="replace").strip())]

    def number(self, path: str) -> int | None:
        """The file's text as a whole number, or None."""
        text = self.read(path)
        try:
            return None if text is None else int(text)
        except ValueError:
            return None

    def glob(self, pattern: str) -> list[str]:
        """Paths that match, sorted, as they are on the machine: beginning with a slash."""
        try:
            return sorted("/" + str(found.relative_to(self.root)) for found in self.root.glob(pattern.lstrip("/")))
        except OSError:
            return []

    def program(self, name: str) -> str | None:
        """Where a program of the system lies, or None."""
        return shutil.which(name, path=":".join(str(self.path(each)) for each in _PROGRAMS.split(":")))

    def run(self, *command: str, seconds: float = 5.0) -> str | None:
        """What a program of the system prints; None when it is missing, fails or does not end."""
        program = self.program(command[0])
        if program is None:
            return None
        try:
            done = subprocess.run(
                [program, *command[1:]],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=seconds,
                env=self.child_environment,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
