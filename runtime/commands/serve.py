"""``mosear serve``: one model behind HTTP, for many clients."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from mosear.runtime.bundle import Bundle
from mosear.runtime.commands import choices
from mosear.runtime.commands.live_command import print_plan
from mosear.runtime.commands.live_options import takes_live_options
from mosear.runtime.errors import Failed
from mosear.runtime.live.options import LiveOptions
from mosear.runtime.live.plan import plan_live
from mosear.runtime.privacy.intended_use import check_live_use
from mosear.runtime.server.settings import DEFAULT_PORT, ServerSettings, read_token
from mosear.runtime.terminal import exits, log_to_standard_error

_MEBI = 1 << 20
_MEGA = 1_000_000


@takes_live_options(camera=None)
def serve(
    live: LiveOptions | None,
    bundle: choices.Bundle,
    host: Annotated[
        str, typer.Option(envvar="MOSEAR_HOST", help="Address to listen on; any but loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="MOSEAR_PORT", help="0 lets the system choose.")] = DEFAULT_PORT,
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="MOSEAR_TOKEN_FILE",
            metavar="FILE",
            help="What clients must know, from 16 characters; MOSEAR_TOKEN holds it otherwise.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(envvar="MOSEAR_ALLOW_HOST", metavar="NAME", help="A name clients call it by; may be repeated."),
    ] = None,
    threads: choices.Threads = None,
    provider: choices.Where = None,
    queue: Annotated[
        int, typer.Option(envvar="MOSEAR_QUEUE", help="Clips taken on at once; further ones get 429.")
    ] = ServerSettings.queue,
    max_batch: Annotated[
        int, typer.Option(envvar="MOSEAR_MAX_BATCH", help="Waiting windows given to the model at once.")
    ] = ServerSettings.max_batch,
    max_upload_mb: Annotated[
        float, typer.Option(envvar="MOSEAR_MAX_UPLOAD_MB", metavar="MIB", help="Size of a clip.")
    ] = ServerSettings.max_upload_bytes / _MEBI,
    max_seconds: Annotated[
        float, typer.Option(envvar="MOSEAR_MAX_SECONDS", metavar="S", help="Length of a clip.")
    ] = ServerSettings.max_seconds,
    max_megapixels: Annotated[
        float, typer.Option(envvar="MOSEAR_MAX_MEGAPIXELS", metavar="N", help="Size of a clip's pictures.")
    ] = ServerSettings.max_pixels / _MEGA,
    decode_seconds: Annotated[
        float, typer.Option(envvar="MOSEAR_DECODE_SECONDS", metavar="S", help="What decoding a clip may take.")
    ] = ServerSettings.decode_s,
    decoders: Annotated[
        int, typer.Option(envvar="MOSEAR_DECODERS", help="Clips decoded at once, each in a process of its own.")
    ] = ServerSettings.decoders,
    allow_picture: Annotated[
        bool, typer.Option("--allow-picture", envvar="MOSEAR_ALLOW_PICTURE", help="Let clients see the live picture.")
    ] = False,
    grace: Annotated[
        float, typer.Option(envvar="MOSEAR_GRACE", metavar="S", help="What runs may take when the server stops.")
    ] = ServerSettings.grace_s,
    dry_run: choices.DryRun = False,
    debug: choices.Debug = False,
) -> None:
    """Serve a bundle; see the help of the command."""
    with exits(debug), _ending_on_sigterm():
        settings = ServerSettings(
            host=host,
            port=port,
            token=read_token(token_file),
            allow_hosts=tuple(allow_host or ()),
            queue=queue,
            max_batch=max_batch,
            max_upload_bytes=round(max_upload_mb * _MEBI),
            max_seconds=max_seconds,
            max_pixels=round(max_megapixels * _MEGA),
            decode_s=decode_seconds,
            decoders=decoders,
            allow_picture=allow_picture,
            grace_s=grace,
        )
        try:
            from mosear.runtime.commands.serving import Serving
            from mosear.runtime.server.listening import open_sockets
        except ImportError as error:
            raise Failed(f"the server can't be imported ({error})", "pip install 'mosear[serve]'") from error
        # Before the bundle is read, which takes longer than to find out that the port is taken.
        sockets = [] if dry_run else open_sockets(settings)
        opened = Bundle.open(bundle)
        check_live_use(opened.manifest)
        plan = None if live is None else plan_live(live, opened.manifest)
        if dry_run:
            shown = {"host": host, "port": port, "token": settings.token is not None, "live": plan and plan.to_dict()}
            print_plan({"bundle": str(bundle), **shown})
            return
        log_to_standard_error("uvicorn.error")
        serving = Serving(settings, sockets, opened, plan, debug)
        serving.run(threads, provider.value if provider else None)


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end what is under way in good order while the server starts; when it runs, it has its own way."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    kept = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, kept)
