"""The command ``mosear``."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from mosear.runtime.appliance.configuration import find, load
from mosear.runtime.commands.doctor import HELP, doctor
from mosear.runtime.commands.notice import HELP as NOTICE_HELP
from mosear.runtime.commands.notice import notice
from mosear.runtime.commands.profile import HELP as PROFILE_HELP
from mosear.runtime.commands.profile import profile
from mosear.runtime.commands.run import run
from mosear.runtime.commands.serve import serve
from mosear.runtime.commands.watch import watch
from mosear.runtime.terminal import ESTIMATE, ensure_standard_error, exits, leave, writing

app = typer.Typer(
    name="mosear",
    help=f"From a clip to an emotion, on this device.\n\n{ESTIMATE}",
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 bad input, 4 a check failed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Entry point of the command."""
    ensure_standard_error()
    try:
        with exits(debug=False), writing():
            app()
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 0)
        raise


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mosear {version('mosear')}", flush=True)
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar="MOSEAR_CONFIG",
            metavar="FILE",
            help="Options by command, in TOML; mosear.toml in the current folder by default, where there is one.",
        ),
    ] = None,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options of the command as a whole. A flag goes before the environment, and that before the file."""
    context.default_map = load(find(config), context.command.commands)  # type: ignore[attr-defined]


app.command(
    help="Read clips as windows and answer each one. Results go to standard output, everything else to standard "
    f"error. A clip that can't be read does not stop the others.\n\n{ESTIMATE}"
)(run)
app.command(
    help="Answer live windows of a camera and a microphone, until it is stopped. Answers go to standard output and to "
    "the sinks, everything else to standard error. SIGUSR1 asks for the model's reason with the next answer.\n\n"
    f"{ESTIMATE}"
)(watch)
app.command(
    help="Serve a bundle over HTTP: clips by POST, and, when a camera or a microphone is named, their answers as "
    "events and a page that shows them. Listens on this machine alone unless it is given a token.\n\n"
    f"{ESTIMATE}"
)(serve)
app.command(help=PROFILE_HELP)(profile)
app.command(help=HELP)(doctor)
app.command(help=NOTICE_HELP)(notice)


if __name__ == "__main__":
    main()
