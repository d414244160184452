"""``optimum-cli export mosear``: the very command that ``mosear-export build`` is.

`optimum-cli` finds this file in the namespace folder ``optimum/commands/register/``, where installing mosear puts it.
It is read at every start of `optimum-cli`, so what is slow to import is imported when the command runs.
"""

from __future__ import annotations

from argparse import REMAINDER, ArgumentParser
from typing import Any

from optimum.commands.base import BaseOptimumCLICommand, CommandInfo
from optimum.commands.export.base import ExportCommand


class MosearExportCommand(BaseOptimumCLICommand):
    """``optimum-cli export mosear CHECKPOINT OUTPUT [flags]``: every flag goes, unread, to ``mosear-export build``."""

    COMMAND = CommandInfo(
        name="mosear",
        help="Build a verified MoSEAR bundle: CHECKPOINT OUTPUT, and the flags of `mosear-export build`.",
    )

    @staticmethod
    def parse_args(parser: ArgumentParser) -> None:
        """Take everything that follows as it stands, ``--help`` too."""
        parser.prefix_chars = "\0"  # to this parser no argument is a flag: flags are the other command's to read
        parser.add_argument("arguments", nargs=REMAINDER)

    def run(self) -> None:
        """Run the build; exits with its code."""
        import typer

        from mosear.export.cli import app

        arguments = list(self.args.arguments)
        if len(arguments) > 1 and not any(argument.startswith("-") for argument in arguments[:2]):
            arguments.insert(1, "--output")  # the other exporters' way to say it
        group: Any = typer.main.get_command(app)
        group.commands["build"].main(args=arguments, prog_name="optimum-cli export mosear")


REGISTER_COMMANDS = [(MosearExportCommand, ExportCommand)]
