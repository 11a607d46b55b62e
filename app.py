"""FluxGym's page: reads the command line, builds the page, serves it. `python app.py --help` lists the flags."""

import logging
import socket
import sys
from dataclasses import replace

import uvicorn

from fluxgym.errors import FluxGymError, SettingsError
from fluxgym.settings import Settings
from fluxgym.ui.login import make_token
from fluxgym.ui.server import make_server


def main(argv: list[str]) -> int:
    """Serve the page until it is interrupted; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings.from_args(argv)
        needs_token = not settings.is_loopback or bool(settings.allowed_hosts)
        made = make_token() if needs_token and settings.token is None else None
        settings = replace(settings, token=settings.token or made)
        listener = listen(settings)
        settings = replace(settings, port=listener.getsockname()[1])
        server = make_server(settings)
    except FluxGymError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(greeting(settings, made))
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(server, log_level="warning", server_header=False, proxy_headers=False)).run(sockets=[listener])
    return 0


def listen(settings: Settings) -> socket.socket:
    """Return the listening socket; raises SettingsError in one plain sentence when the port or address cannot be had."""
    try:
        family, kind, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        why = "is taken already; close the other program" if error.errno == 98 else f"cannot be used ({error.strerror})"
        raise SettingsError(f"Port {settings.port} on {settings.host} {why}, or choose another with --port.") from None
    return listener


def greeting(settings: Settings, made: str | None) -> str:
    """Return what the terminal shows at the start: the address, and the token if one was made."""
    named = settings.allowed_hosts[0].removeprefix("*.") if settings.allowed_hosts else "127.0.0.1"
    shown = named if settings.host in ("0.0.0.0", "::") else settings.host  # what the guard answers to
    host = f"[{shown}]" if ":" in shown else shown
    address = f"FluxGym is at http://{host}:{settings.port}{settings.root_path}/"
    return f"{address}\n" + (f"Token for this start: {made}\nOpen {address.split()[-1]}?token={made}\n" if made else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
