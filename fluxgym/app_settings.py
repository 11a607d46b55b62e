"""Host, port, folders and token of the app, from flags and environment, read once."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from textwrap import fill
from typing import NoReturn, Self
from urllib.parse import unquote, urlsplit

from fluxgym.contract.command_line import plain_sentence
from fluxgym.errors import SettingsError

PROJECT = Path(__file__).parents[1]
DEFAULT_PORT = 7860
HOST_NAME = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
PATH_PART = re.compile(r"(?:[\w.~:@+,;=-]|%[0-9A-Fa-f]{2})+", re.ASCII)
LIMIT_OF_PROXY_DETECTION = (
    "Without a token, only requests of this machine that show no sign of a proxy are answered. A proxy or tunnel on this machine that sends HTTP/1.1 "
    "and a local Host and adds no header cannot be told from a local browser, so set FLUXGYM_TOKEN to a long secret wherever one leads to FluxGym; "
    "see docs/cloud.md."
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The app's address, its folders, and the token and hosts that it accepts."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    outputs: Path = PROJECT / "outputs"
    models: Path = PROJECT / "models"
    sd_scripts: Path = PROJECT / "sd-scripts"
    root_path: str = ""
    public_url: str = ""
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()

    @property
    def is_loopback(self) -> bool:
        """Return True if only this machine can reach the app."""
        return is_loopback(self.host)

    @classmethod
    def from_args(cls, argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Self:
        """Read app.py's command line; flags override FLUXGYM_* variables.

        Raises:
            SettingsError: If a flag or variable cannot be used; the message names it.
        """
        return cls.from_namespace(build_parser().parse_args(argv), environ)

    @classmethod
    def from_namespace(cls, args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Self:
        """Return settings from parsed flags; any flag may be absent."""
        hosts = getattr(args, "allow_host", None) or environ.get("FLUXGYM_ALLOWED_HOSTS", "").replace(",", " ").split()
        allowed = tuple(_allowed_host(host) for host in hosts if host.strip())

        def given(name: str, default: object) -> str:
            return str(getattr(args, name, None) or environ.get(f"FLUXGYM_{name.upper()}") or default)

        public_url = _public_url(given("public_url", ""))
        root_path = _root_path(given("root_path", ""), public_url)
        outer = urlsplit(public_url).hostname or ""
        return cls(
            host=given("host", cls.host),
            port=_port(given("port", cls.port)),
            outputs=_folder(given("outputs", cls.outputs)),
            models=_folder(given("models", cls.models)),
            sd_scripts=_folder(given("sd_scripts", cls.sd_scripts)),
            root_path=root_path,
            public_url=public_url,
            token=given("token", "").strip() or None,
            allowed_hosts=allowed if not outer or outer in allowed or is_loopback(outer) else (*allowed, outer),
        )


def is_loopback(host: str) -> bool:
    """Return True for localhost and loopback addresses."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


COMMON_VARIABLES = """Environment variables (an option takes precedence):
  FLUXGYM_OUTPUTS, FLUXGYM_MODELS, FLUXGYM_SD_SCRIPTS   as --outputs, --models, --sd-scripts
  FLUXGYM_LOCKS          folder of the locks on this machine's devices (default: in the temporary folder)
  CUDA_VISIBLE_DEVICES   the GPUs that trainings may use
  WANDB_API_KEY          passed to trainings that log to wandb, and written nowhere"""
APP_VARIABLES = """
  FLUXGYM_HOST, FLUXGYM_PORT, FLUXGYM_ROOT_PATH, FLUXGYM_PUBLIC_URL   as --host, --port, --root-path, --public-url
  FLUXGYM_TOKEN          as --token; other users of the machine can read command lines, but not this
  FLUXGYM_ALLOWED_HOSTS  as --allow-host, several separated by commas"""


class Parser(argparse.ArgumentParser):
    """A parser that raises SettingsError instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise SettingsError instead of printing the usage."""
        raise SettingsError(f"{plain_sentence(message)} {self.prog} --help lists what is known.")


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every command takes."""
    parser.add_argument("--outputs", metavar="DIR", help="folder of the runs (default: outputs/ beside app.py)")
    parser.add_argument("--models", metavar="DIR", help="folder of the models (default: models/ beside app.py)")
    parser.add_argument("--sd-scripts", metavar="DIR", help="the trainer's folder (default: sd-scripts/ beside app.py)")


def build_parser() -> argparse.ArgumentParser:
    """Return app.py's parser."""
    parser = Parser(prog="app.py", description="FluxGym: train a FLUX.1 LoRA from a few images.", allow_abbrev=False)
    parser.epilog = f"{fill(LIMIT_OF_PROXY_DETECTION)}\n\n{COMMON_VARIABLES}{APP_VARIABLES}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--host", metavar="H", help="the address to listen on (default 127.0.0.1; any other demands a token)")
    parser.add_argument("--port", metavar="P", help=f"the port to listen on (default {DEFAULT_PORT})")
    add_folders(parser)
    parser.add_argument("--root-path", metavar="R", help="the URL prefix under which a proxy serves the page, such as /gym")
    parser.add_argument(
        "--public-url", metavar="U", help="the page's address behind a proxy: printed at the start, and its host is allowed"
    )
    parser.add_argument(
        "--token", metavar="T", help="the token that visitors must give (better: FLUXGYM_TOKEN, which no list of processes shows)"
    )
    parser.add_argument("--allow-host", metavar="H", action="append", help="another Host to answer to, such as a proxy's; demands a token")
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 <= int(text) <= 65535:
        raise SettingsError(f"The port must be a whole number up to 65535, not “{text[:40]}”.")
    return int(text)


def _root_path(text: str, public_url: str) -> str:
    """Return the URL prefix, with a leading and without a trailing slash. The default is the path of public_url."""
    outer = urlsplit(public_url).path
    parts = text.strip().strip("/").split("/") if text.strip().strip("/") else []
    if any(not PATH_PART.fullmatch(part) or unquote(part) in (".", "..") for part in parts):
        raise SettingsError(f"--root-path must be the path of a URL such as /gym, not “{text[:80]}”; --public-url takes a whole address.")
    path = "".join(f"/{part}" for part in parts)
    if path and public_url and path != outer:
        raise SettingsError(f"--root-path is {path}, but --public-url ends in {outer or 'no path'}; leave --root-path out.")
    return path or outer


def _public_url(text: str) -> str:
    """Return an address without its trailing slash, "" for none."""
    try:
        parts = urlsplit(text.strip())
        name, port = _allowed_host(parts.hostname or ""), parts.port
    except (ValueError, SettingsError):
        if not text.strip():
            return ""
        raise SettingsError(f"--public-url must be an address such as https://pod.example/gym, not “{text[:80]}”.") from None
    if parts.scheme not in ("http", "https") or parts.query or parts.fragment or "@" in parts.netloc or name.startswith("*"):
        raise SettingsError(f"--public-url must be an address such as https://pod.example/gym, not “{text[:80]}”.")
    host = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{_root_path(parts.path, '')}"


def _allowed_host(text: str) -> str:
    """Return an allowed host in lower case: a host name, `*.` and a host name, or an address.

    The scheme, path and port of a URL or of a host with a port are removed.
    """
    try:
        entry = text.strip().lower()
        entry = f"[{entry}]" if entry.count(":") > 1 and "[" not in entry and "://" not in entry else entry  # an IPv6 address
        name = urlsplit(entry if "://" in entry else f"//{entry}").hostname or ""
        name = name.rstrip(".") if ":" in name or name.isascii() else name.encode("idna").decode()
        if HOST_NAME.fullmatch(name) or ip_address(name):
            return name
    except (ValueError, UnicodeError):
        pass
    raise SettingsError(f"--allow-host must be a host name such as pod.example or *.pod.example, not “{text[:80]}”.")


def _folder(text: str) -> Path:
    if "\0" in text:
        raise SettingsError("A folder's name cannot hold a NUL character.")
    try:
        folder = Path(text).expanduser().resolve()
        if folder.exists() and not folder.is_dir():
            raise SettingsError(f"{folder} is a file, not a folder.")
    except (OSError, RuntimeError) as error:  # a name that is too long, or an unknown home folder
        raise SettingsError(f"“{text[:80]}” cannot be a folder: {error}.") from None
    return folder
