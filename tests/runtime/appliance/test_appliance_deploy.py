"""The files of deploy/ and the Dockerfile: checked by the tools that will read them, where these are here."""

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.main import get_command

from mosear.runtime.appliance.configuration import load
from mosear.runtime.commands.run import run
from mosear.runtime.commands.serve import serve
from mosear.runtime.commands.watch import watch

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
SERVICES = ["mosear-watch.service", "mosear-serve.service"]
UNITS = [*SERVICES, "mosear-serve.socket"]
HIGHEST_EXPOSURE = 20  # tenths, as systemd-analyze counts

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def commands() -> dict[str, Any]:
    app = typer.Typer()
    for command in (run, watch, serve):
        app.command()(command)
    return get_command(app).commands  # type: ignore[attr-defined, no-any-return]


class Unit(configparser.RawConfigParser):
    """A unit file; what is said repeatedly is there with newlines between."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, delimiters=("=",), comment_prefixes=("#",), interpolation=None)
        self.optionxform = str  # type: ignore[assignment, method-assign]
        seen: dict[tuple[str, str], list[str]] = {}
        section = ""
        for line in path.read_text().splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif "=" in line and not line.startswith("#"):
                key, value = line.split("=", 1)
                seen.setdefault((section, key), []).append(value)
        for (section, key), values in seen.items():
            if not self.has_section(section):
                self.add_section(section)
            self.set(section, key, "\n".join(values))


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units as they are installed, with a program where they look for one."""
    program = tmp_path / "prefix" / "bin" / "mosear"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in UNITS:
        text = (DEPLOY / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/mosear", str(tmp_path / "prefix")))
    return [str(tmp_path / name) for name in UNITS]


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_units(units: list[str]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_systemd_would_find_something_wrong(units: list[str]) -> None:
    path = Path(units[0])
    path.write_text(path.read_text().replace("WatchdogSec=60", "WatchdogSec=soon"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", units[0]], capture_output=True, text=True, check=False
    )
    assert "mosear-watch.service:11" in done.stderr
    assert "soon" in done.stderr


@needs_systemd
@pytest.mark.parametrize("index", [0, 1])
def test_the_services_are_locked_in(units: list[str], index: int) -> None:
    done = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            f"--threshold={HIGHEST_EXPOSURE}",
            "--no-pager",
            units[index],
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_watched_restarted_and_keeps_answers_out_of_the_journal(name: str) -> None:
    service = Unit(DEPLOY / name)["Service"]
    assert (service["Type"], service["Restart"], service["StandardOutput"]) == ("notify", "on-failure", "null")
    assert int(service["WatchdogSec"]) >= 30
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["LogNamespace"] == "mosear"
    assert service["CapabilityBoundingSet"] == ""
    assert Unit(DEPLOY / name)["Unit"]["StartLimitBurst"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_a_command_that_there_is(name: str) -> None:
    words = Unit(DEPLOY / name)["Service"]["ExecStart"].split()
    assert words[:3] == ["/opt/mosear/bin/mosear", "--config", "/etc/mosear/mosear.toml"]
    command = commands()[words[3]]
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {word for word in words[4:] if word.startswith("--")} <= flags


def test_the_journal_of_the_services_is_capped() -> None:
    journal = Unit(DEPLOY / "journald@mosear.conf")["Journal"]
    assert (journal["SystemMaxUse"], journal["RuntimeMaxUse"]) == ("64M", "16M")


def test_the_udev_rules_have_the_grammar_of_udev() -> None:
    part = re.compile(r'[A-Z]+(\{[^}"]+\})?(==|!=|\+=|-=|:=|=)"[^"]*"')
    lines = [line for line in (DEPLOY / "99-mosear.rules").read_text().splitlines() if line and line[0] != "#"]
    assert len(lines) >= 4
    for line in lines:
        assert all(part.fullmatch(each) for each in line.split(", ")), line
        assert re.search(r'(?<![=!])[+:]?="', line), f"matches and does nothing: {line}"


def test_the_example_is_understood() -> None:
    assert load(DEPLOY / "mosear.toml", commands())["watch"]["bundle"] == "/var/lib/mosear/bundle"


def test_the_example_is_understood_with_every_comment_taken_away(tmp_path: Path) -> None:
    text, count = re.subn(r"(?m)^# ([a-z0-9-]+ = )", r"\1", (DEPLOY / "mosear.toml").read_text())
    path = tmp_path / "mosear.toml"
    path.write_text(text)
    loaded = load(path, commands())
    assert count >= 15
    assert loaded["watch"]["sinks"][0].startswith("jsonl:")  # type: ignore[index, union-attr]
    assert loaded["serve"]["allow_host"] == ["robot.local"]
    assert loaded["run"]["form"] == "jsonl"


@pytest.mark.parametrize("name", ["serve", "watch"])
def test_a_container_is_locked_in_watched_and_its_log_capped(name: str) -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["runtime"] == "nvidia"
    assert service["user"].split(":")[0] == _instructions("USER")[0]
    assert service["logging"]["options"]["max-size"] == "8m"
    assert service["healthcheck"]["test"][1:] == json.loads(_instructions("HEALTHCHECK")[0].split("CMD ")[1])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service["command"][0] in commands()


def _instructions(name: str) -> list[str]:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile.jetson").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [line.split(" ", 1)[1] for line in lines if line.split(" ", 1)[0] == name]


def test_the_image_is_the_base_and_one_script() -> None:
    assert _instructions("FROM") == ["${BASE_IMAGE}"]
    assert "BASE_IMAGE" in _instructions("ARG")
    (step,) = _instructions("RUN")
    words = [word for word in step.split() if not word.startswith("--mount=")]
    assert words[0] == "/src/deploy/install.sh"
    assert not set(step) & set("|;&`")
    assert not _instructions("COPY") + _instructions("ADD")
    (user,) = _instructions("USER")
    assert user == words[words.index("--uid") + 1] != "0"
    assert "mosear.runtime.appliance.health" in _instructions("HEALTHCHECK")[0]


def test_the_images_context_holds_all_that_the_package_is_made_of() -> None:
    lines = (ROOT / "Dockerfile.jetson.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    text = (ROOT / "pyproject.toml").read_text()
    table = text.split("[tool.setuptools.package-dir]")[1].split("\n[")[0]
    rooms = {line.split('"')[3].split("/")[0] for line in table.splitlines() if "=" in line}
    assert rooms | {"deploy", "pyproject.toml", "README.md", "LICENSE"} <= kept


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", str(DEPLOY / "install.sh")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_images_are_named_without_the_host_that_has_them() -> None:
    host_of_an_image = re.compile(r"\b[a-z0-9-]+\.(?:io|com|org|dev)(?::\d+)?/[\w./-]+:[\w.-]+")
    for path in [*DEPLOY.iterdir(), ROOT / "Dockerfile.jetson", ROOT / "docs" / "appliance.md"]:
        assert not host_of_an_image.findall(path.read_text()), path
