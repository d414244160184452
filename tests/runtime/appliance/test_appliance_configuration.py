"""The configuration file, against small commands and against mosear's own."""

import os
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from mosear.runtime.appliance.configuration import find, load
from mosear.runtime.cli import app as mosear_app
from mosear.runtime.errors import BadInput, MosearError, UsageError
from mosear.runtime.output import Format

MOSEAR = get_command(mosear_app).commands  # type: ignore[attr-defined]


def make_app(seen: list[dict[str, Any]]) -> typer.Typer:
    """Two commands that say what they were given; the root reads ``--config`` as mosear's does."""
    app = typer.Typer(pretty_exceptions_enable=False)
    record = seen.append

    @app.callback()
    def root(context: typer.Context, config: Annotated[Path | None, typer.Option(envvar="T_CONFIG")] = None) -> None:
        context.default_map = load(find(config), context.command.commands)  # type: ignore[attr-defined, assignment]

    @app.command()
    def watch(
        bundle: Annotated[Path, typer.Argument()],
        hop: Annotated[float, typer.Option(envvar="T_HOP")] = 1.0,
        form: Annotated[Format, typer.Option("--format")] = Format.human,
        sinks: Annotated[list[str] | None, typer.Option("--sink")] = None,
        vad: Annotated[bool, typer.Option("--vad/--no-vad")] = True,
        threads: Annotated[int | None, typer.Option(min=1)] = None,
        allow_picture: Annotated[bool, typer.Option("--allow-picture")] = False,
        camera: Annotated[str, typer.Option(envvar="T_CAMERA")] = "0",
        token_file: Annotated[Path | None, typer.Option()] = None,
    ) -> None:
        record({name: value for name, value in locals().items() if name != "record"})

    @app.command()
    def run(
        bundle: Path,
        clips: list[Path],
        threads: Annotated[int | None, typer.Option(min=1)] = None,
        reason: Annotated[bool, typer.Option("--reason")] = False,
    ) -> None:
        record({name: value for name, value in locals().items() if name != "record"})

    return app


SMALL = get_command(make_app([])).commands  # type: ignore[attr-defined]


def started(tmp_path: Path, text: str, *arguments: str, **environment: str) -> dict[str, Any]:
    """What the command was given."""
    seen: list[dict[str, Any]] = []
    path = tmp_path / "c.toml"
    path.write_text(text)
    CliRunner().invoke(make_app(seen), ["--config", str(path), *arguments], env=environment, catch_exceptions=False)
    assert len(seen) == 1
    return seen[0]


def refused(tmp_path: Path, text: str | bytes, kind: type[MosearError] = UsageError) -> MosearError:
    path = tmp_path / "c.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(kind) as caught:
        load(path, SMALL)
    return caught.value


def test_a_flag_goes_before_the_environment_before_the_file_before_the_default(tmp_path: Path) -> None:
    text = "[watch]\nbundle = 'b'\nhop = 3\n"
    assert started(tmp_path, "[watch]\nbundle = 'b'\n", "watch")["hop"] == 1.0
    assert started(tmp_path, text, "watch")["hop"] == 3.0
    assert started(tmp_path, text, "watch", T_HOP="4")["hop"] == 4.0
    assert started(tmp_path, text, "watch", "--hop", "5", T_HOP="4")["hop"] == 5.0


def test_every_kind_of_value_arrives_as_its_type(tmp_path: Path) -> None:
    given = started(
        tmp_path,
        "[watch]\nbundle = 'some/bundle'\nhop = 0.5\nformat = 'csv'\nsink = ['jsonl:a', 'csv:b']\nvad = false\n"
        "threads = 2\nallow-picture = true\ncamera = 1\ntoken-file = '/run/token'\n",
        "watch",
    )
    assert given == {
        "bundle": Path("some/bundle"),
        "hop": 0.5,
        "form": Format.csv,
        "sinks": ["jsonl:a", "csv:b"],
        "vad": False,
        "threads": 2,
        "allow_picture": True,
        "camera": "1",
        "token_file": Path("/run/token"),
    }


@pytest.mark.parametrize("key", ["allow-picture", "allow_picture", "--allow-picture"])
def test_flags_and_parameters_are_both_names(tmp_path: Path, key: str) -> None:
    assert started(tmp_path, f"[watch]\nbundle = 'b'\n{key} = true\n", "watch")["allow_picture"] is True


def test_a_parameter_with_another_name_than_its_flag(tmp_path: Path) -> None:
    assert started(tmp_path, "[watch]\nbundle = 'b'\nform = 'jsonl'\n", "watch")["form"] is Format.jsonl


def test_the_shared_table_gives_way_to_the_command_and_reaches_those_that_have_the_option(tmp_path: Path) -> None:
    text = "[all]\nthreads = 3\nbundle = 'shared'\nhop = 2\n[watch]\nthreads = 1\n"
    assert started(tmp_path, text, "watch")["threads"] == 1
    assert started(tmp_path, text, "watch")["bundle"] == Path("shared")
    ran = started(tmp_path, text, "run", "own", "clip.mp4")
    assert (ran["threads"], ran["bundle"], ran["clips"]) == (3, Path("own"), [Path("clip.mp4")])


def test_a_bundle_on_the_command_line_goes_before_the_files(tmp_path: Path) -> None:
    assert started(tmp_path, "[watch]\nbundle = 'file'\n", "watch", "line")["bundle"] == Path("line")


def test_the_flag_that_turns_off_goes_before_the_files_true(tmp_path: Path) -> None:
    assert started(tmp_path, "[watch]\nbundle = 'b'\nvad = true\n", "watch", "--no-vad")["vad"] is False


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("[wacth]\nhop = 1\n", "[wacth]", "did you mean [watch]?"),
        ("[watch]\nhopp = 1\n", "hopp", "did you mean hop?"),
        ("[all]\nthread = 1\n", "thread", "did you mean threads?"),
        ("[watch]\nzzzzzz = 1\n", "zzzzzz", "there are: "),
        ("hop = 1\n", "outside a table", "[all]"),
        ("watch = 1\n", "watch is not a table", "[watch]"),
        ("[[watch]]\nhop = 1\n", "watch is not a table", "[watch]"),
        ("zzzzzz = 1\n", "[zzzzzz]", "there are: [all], [run], [watch]"),
        ("[watch]\nhop = [1]\n", "wants a text or a number, and holds a list", "flag"),
        ("[watch]\nhop = true\n", "wants a text or a number, and holds true or false", "flag"),
        ("[watch]\nhop = 'soon'\n", "hop is 'soon': ", "hop: "),
        ("[watch]\nthreads = 2.5\n", "threads is '2.5': ", "threads: "),
        ("[watch]\nthreads = true\n", "holds true or false", "flag"),
        ("[watch]\nthreads = 0\n", "threads is '0': ", "threads: "),
        ("[watch]\nformat = 'xml'\n", "format is 'xml': ", "format: "),
        ("[watch]\nsink = 'jsonl:a'\n", "wants a list, and is a text", "["),
        ("[watch]\nsink = [['jsonl:a']]\n", "holds a list", "flag"),
        ("[watch]\nvad = 'yes'\n", "wants true or false, and is a text", "unquoted"),
        ("[watch]\nvad = 1\n", "wants true or false, and is a number", "unquoted"),
        ("[watch]\nno-vad = true\n", "turns it off", "vad = false"),
        ("[watch]\nhop = 2026-01-01\n", "a date or time", "flag"),
        ("[watch]\nhop = {a = 1}\n", "a table", "flag"),
        ("[watch]\nform = 'csv'\nformat = 'csv'\n", "form and format are one option", "one of them"),
        ("[run]\nbundle = 'b'\n", "can't come from a file", "command line"),
        ("[run]\nhop = 1\n", "hop is no option", "there are"),
    ],
)
def test_what_a_command_does_not_understand_is_named_with_a_way_out(
    tmp_path: Path, text: str, what: str, remedy: str
) -> None:
    error = refused(tmp_path, text)
    assert what in error.what
    assert "c.toml" in error.what
    assert remedy in error.remedy


@pytest.mark.parametrize("table", ["all", "watch"])
@pytest.mark.parametrize("key", ["token", "mqtt-password", "MQTT_PASSWORD", "ws_token", "client-secret"])
def test_a_secret_is_refused_and_not_repeated(tmp_path: Path, table: str, key: str) -> None:
    error = refused(tmp_path, f"[{table}]\n{key} = 'hunter2hunter2'\n")
    assert "secret" in error.what
    assert "0600" in error.remedy
    assert "hunter2" not in error.what + error.remedy


def test_a_secret_outside_a_table_is_not_repeated_either(tmp_path: Path) -> None:
    error = refused(tmp_path, "token = 'hunter2hunter2'\n")
    assert "hunter2" not in error.what + error.remedy


@pytest.mark.parametrize(
    "line", ["camera = 'rtsp://eve:hunter2@door/1'", "sink = ['jsonl:a', 'mqtt://eve:hunter2@broker/hall']"]
)
def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path, line: str) -> None:
    error = refused(tmp_path, f"[watch]\n{line}\n")
    assert "password" in error.what
    assert "hunter2" not in error.what + error.remedy
    if line.startswith("camera"):
        assert "T_CAMERA" in error.remedy


def test_a_user_in_an_address_is_no_password(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[watch]\nsink = ['mqtt://eve@broker:1883/hall']\ncamera = 'rtsp://door:554/a:b@c'\n")
    assert load(path, SMALL)["watch"]["sinks"] == ["mqtt://eve@broker:1883/hall"]


@pytest.mark.parametrize(
    "content",
    [b"[watch\n", b"\xff\xfe", b"hop = \n", b"#" * ((1 << 20) + 1), b"[watch]\nhop=1\nhop=2\n", b"x=" + b"[" * 5000],
)
def test_a_file_that_is_not_toml_is_bad_input(tmp_path: Path, content: bytes) -> None:
    error = refused(tmp_path, content, BadInput)
    assert "c.toml" in error.what


def test_a_file_that_is_not_there_or_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(BadInput):
            load(path, SMALL)


def test_a_byte_order_mark_and_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xef\xbb\xbf[watch]\nhop = 2\n")
    assert load(path, SMALL) == {"watch": {"hop": "2"}}
    path.write_bytes(b"")
    assert load(path, SMALL) == {}


def test_which_file_is_read(tmp_path: Path) -> None:
    assert find(None, tmp_path) is None
    (tmp_path / "mosear.toml").write_text("")
    assert find(None, tmp_path) == tmp_path / "mosear.toml"
    assert find(Path("other.toml"), tmp_path) == Path("other.toml")
    assert find(Path(os.devnull), tmp_path) is None
    assert load(None, SMALL) == {}


def test_mosears_own_commands_take_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[all]\nbundle = 'b'\nthreads = 2\n[run]\nformat = 'jsonl'\nreason = true\n[watch]\nmic = 'none'\n")
    loaded = load(path, MOSEAR)
    assert loaded["run"] == {"threads": "2", "form": "jsonl", "reason": True}
    assert loaded["watch"]["microphone"] == "none"
    assert loaded["watch"]["bundle"] == "b"


def test_every_option_of_mosear_can_be_said_in_a_file(tmp_path: Path) -> None:
    """Each flag's own spelling is a key: its default is written to a file, and comes back."""
    checked = 0
    for name, command in MOSEAR.items():
        for parameter in command.params:
            if parameter.param_type_name != "option" or isinstance(parameter.default, list):
                continue
            default = getattr(parameter.default, "value", parameter.default)
            if default is None:
                continue
            text = str(default).lower() if isinstance(default, bool) else repr(default)
            path = tmp_path / "c.toml"
            path.write_text(f"[{name}]\n{parameter.opts[0].strip('-')} = {text}\n")
            assert list(load(path, MOSEAR)[name]) == [parameter.name]
            checked += 1
    assert checked >= 15
