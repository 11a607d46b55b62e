"""FluxGym's page: reads the command line, builds the page, serves it. `python app.py --help` lists the flags."""

import logging
import sys
import threading
from dataclasses import replace
from functools import partial

from fluxgym.app_settings import Settings
from fluxgym.errors import FluxGymError
from fluxgym.sessions.cleanup import remove_leftovers
from fluxgym.sessions.waiting import keep_restarting_waiting
from fluxgym.ui.security.token_auth import make_token
from fluxgym.ui.server import listen, make_server, serve

SHORT_TOKEN = 16  # characters; a wrong token can be tried as often as the network allows, so only its length protects


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
    if settings.token is not None and len(settings.token) < SHORT_TOKEN:
        sys.stderr.write(f"The token has only {len(settings.token)} characters and can be guessed. A safe one is: {make_token()}\n")
    sys.stdout.write(greeting(settings, made))
    sys.stdout.flush()
    serve(server, listener)
    return 0


def greeting(settings: Settings, made: str | None) -> str:
    """Return what the terminal shows at the start: the local address, the outer one if it was given, and the token if one was made."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    host = f"[{shown}]" if ":" in shown else shown
    local = f"http://{host}:{settings.port}{settings.root_path}/"
    outer = f"{settings.public_url}/" if settings.public_url else ""
    lines = [f"FluxGym is at {local}", *([f"From outside: {outer}"] if outer else [])]
    if made:
        lines += [f"Token for this start: {made}", f"Open {outer or local}?token={made}"]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
