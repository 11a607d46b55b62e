"""FluxGym's page: reads the command line, builds the page, serves it. `python app.py --help` lists the flags."""

import logging
import sys
import threading
from dataclasses import replace
from functools import partial

import uvicorn

from fluxgym.app_settings import Settings
from fluxgym.errors import FluxGymError
from fluxgym.sessions.cleanup import remove_leftovers
from fluxgym.sessions.waiting import keep_restarting_waiting
from fluxgym.ui.security.token_auth import make_token
from fluxgym.ui.server import listen, make_server


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
    for tidy in (partial(keep_restarting_waiting, settings), partial(remove_leftovers, settings.outputs)):
        threading.Thread(target=tidy, daemon=True).start()
    sys.stdout.write(greeting(settings, made))
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(server, log_level="warning", server_header=False, proxy_headers=False)).run(sockets=[listener])
    return 0


def greeting(settings: Settings, made: str | None) -> str:
    """Return what the terminal shows at the start: the address, and the token if one was made."""
    named = settings.allowed_hosts[0].removeprefix("*.") if settings.allowed_hosts else "127.0.0.1"
    shown = named if settings.host in ("0.0.0.0", "::") else settings.host  # what the guard answers to
    host = f"[{shown}]" if ":" in shown else shown
    address = f"FluxGym is at http://{host}:{settings.port}{settings.root_path}/"
    return f"{address}\n" + (f"Token for this start: {made}\nOpen {address.split()[-1]}?token={made}\n" if made else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
