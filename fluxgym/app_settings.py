"""Host, port, folders and token of the app, from flags and environment, read once."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn, Self

from fluxgym.errors import SettingsError

PROJECT = Path(__file__).parents[1]
DEFAULT_PORT = 7860


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where the app listens, where its folders are, and who may come in."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    outputs: Path = PROJECT / "outputs"
    models: Path = PROJECT / "models"
    sd_scripts: Path = PROJECT / "sd-scripts"
    root_path: str = ""
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()

    @property
    def is_loopback(self) -> bool:
        """Return True if only this machine can reach the app."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @classmethod
    def from_args(cls, argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Self:
        """Read app.py's command line; flags win over FLUXGYM_* variables. Raises SettingsError naming the odd one."""
        return cls.from_namespace(build_parser().parse_args(argv), environ)

    @classmethod
    def from_namespace(cls, args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Self:
        """Make settings of parsed flags, of which any may be absent."""
        hosts = getattr(args, "allow_host", None) or environ.get("FLUXGYM_ALLOWED_HOSTS", "").replace(",", " ").split()

        def given(name: str, default: object) -> str:
            return str(getattr(args, name, None) or environ.get(f"FLUXGYM_{name.upper()}") or default)

        return cls(
            host=given("host", cls.host),
            port=_port(given("port", cls.port)),
            outputs=_folder(given("outputs", cls.outputs)),
            models=_folder(given("models", cls.models)),
            sd_scripts=_folder(given("sd_scripts", cls.sd_scripts)),
            root_path=given("root_path", "").rstrip("/"),
            token=given("token", "").strip() or None,
            allowed_hosts=tuple(host.strip().lower() for host in hosts if host.strip()),
        )


COMMON_VARIABLES = """Environment variables (an option takes precedence):
  FLUXGYM_OUTPUTS, FLUXGYM_MODELS, FLUXGYM_SD_SCRIPTS   as --outputs, --models, --sd-scripts
  FLUXGYM_LOCKS          folder of the locks on this machine's devices (default: in the temporary folder)
  CUDA_VISIBLE_DEVICES   the GPUs that trainings may use
  WANDB_API_KEY          passed to trainings that log to wandb, and written nowhere"""
APP_VARIABLES = """
  FLUXGYM_HOST, FLUXGYM_PORT, FLUXGYM_ROOT_PATH         as --host, --port, --root-path
  FLUXGYM_TOKEN          as --token; other users of the machine can read command lines, but not this
  FLUXGYM_ALLOWED_HOSTS  as --allow-host, several separated by commas"""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are SettingsErrors."""

    def error(self, message: str) -> NoReturn:
        """Raise SettingsError instead of printing the usage."""
        raise SettingsError(f"{message[:1].upper()}{message[1:]}; --help lists what is known.")


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every command takes."""
    parser.add_argument("--outputs", metavar="DIR", help="folder of the runs (default: outputs/ beside app.py)")
    parser.add_argument("--models", metavar="DIR", help="folder of the models (default: models/ beside app.py)")
    parser.add_argument("--sd-scripts", metavar="DIR", help="the trainer's folder (default: sd-scripts/ beside app.py)")


def build_parser() -> argparse.ArgumentParser:
    """Return app.py's parser."""
    parser = Parser(prog="app.py", description="FluxGym: train a FLUX.1 LoRA from a few images.", allow_abbrev=False)
    parser.epilog, parser.formatter_class = COMMON_VARIABLES + APP_VARIABLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--host", metavar="H", help="the address to listen on (default 127.0.0.1; any other demands a token)")
    parser.add_argument("--port", metavar="P", help=f"the port to listen on (default {DEFAULT_PORT})")
    add_folders(parser)
    parser.add_argument("--root-path", metavar="R", help="the prefix under which a proxy serves the page")
    parser.add_argument("--token", metavar="T", help="the token that visitors must give (better: FLUXGYM_TOKEN)")
    parser.add_argument("--allow-host", metavar="H", action="append", help="another Host to answer to, such as a proxy's; demands a token")
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 <= int(text) <= 65535:
        raise SettingsError(f"The port must be a whole number up to 65535, not “{text[:40]}”.")
    return int(text)


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
