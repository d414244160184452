"""The socket that the server listens on: its own, or one that systemd hands over and keeps through restarts."""

import errno
import os
import socket
from collections.abc import MutableMapping

from mosear.runtime.errors import Failed, UsageError
from mosear.runtime.server.settings import ServerSettings, is_loopback

_FIRST_INHERITED = 3
_BACKLOG = 128


def open_sockets(settings: ServerSettings, environment: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The sockets handed over by systemd (``LISTEN_FDS``) if there are any, else a new one.

    Raises:
        Failed: the port is taken, or the address is not this machine's.
        UsageError: an inherited socket can be reached by others, and there is no token.
    """
    return _inherited(settings, environment) or [_bound(settings.host, settings.port)]


def url_of(listener: socket.socket) -> str:
    """Where clients find it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _inherited(settings: ServerSettings, environment: MutableMapping[str, str]) -> list[socket.socket]:
    count, process = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    if not count.isdigit() or process != str(os.getpid()):
        return []
    sockets = []
    for number in range(_FIRST_INHERITED, _FIRST_INHERITED + int(count)):
        os.set_inheritable(number, False)
        listener = socket.socket(fileno=number)
        sockets.append(listener)
        if listener.family not in (socket.AF_INET, socket.AF_INET6) or listener.type != socket.SOCK_STREAM:
            raise UsageError("systemd handed over a socket that is not TCP", "use ListenStream=127.0.0.1:8461")
        host = listener.getsockname()[0]
        if settings.token is None and not is_loopback(host):
            raise UsageError(
                f"systemd listens on {host}, which others can reach, and there is no token",
                "give --token-file, or use ListenStream=127.0.0.1:8461",
            )
    return sockets


def _bound(host: str, port: int) -> socket.socket:
    name = host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise Failed(f"{host} is not known here ({error})", "name an address of this machine") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Failed(
                f"port {port} is in use on {host}",
                f"end what listens there (ss -tlnp 'sport = {port}'), or choose a --port",
            ) from error
        if error.errno == errno.EACCES:
            raise Failed(f"port {port} may not be used by this user", "choose a --port above 1023") from error
        raise Failed(f"{host} can't be listened on ({error.strerror})", "name an address of this machine") from error
    return listener
