"""The options that several commands offer."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Provider(str, Enum):
    """Where ONNX Runtime computes."""

    cpu = "cpu"
    cuda = "cuda"


Bundle = Annotated[
    Path, typer.Argument(metavar="BUNDLE", envvar="MOSEAR_BUNDLE", help="Folder made by mosear-export build.")
]
Threads = Annotated[
    int | None, typer.Option(envvar="MOSEAR_THREADS", min=1, help="CPU threads; the library's choice by default.")
]
Where = Annotated[
    Provider | None,
    typer.Option(
        "--provider", envvar="MOSEAR_PROVIDER", help="Where to compute; what the bundle was built for by default."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, check it, and do nothing.")]
Debug = Annotated[bool, typer.Option("--debug", envvar="MOSEAR_DEBUG", help="Show traces and the library's warnings.")]
