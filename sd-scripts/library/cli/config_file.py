"""--config_file, a TOML file of flags, with or without sections, and --output_config, which writes one.

Its values are converted to command-line arguments, which the parser checks.
"""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from library.cli.flags import Flag
from library.data.schema import windows_path_hint
from library.errors import TrainerError
from library.files import disk_errors


def words_of(path: str, flags: Mapping[str, Flag], unknown: Callable[[str], str]) -> list[str]:
    """Return a file's settings as command-line arguments; section names are ignored, as in kohya.

    `unknown` returns the error message for an unknown flag.

    Raises:
        TrainerError: Naming the file and the key that cannot be used.
    """
    words: list[str] = []
    for name, value in _settings(path).items():
        if name not in flags:
            raise TrainerError(f"--config_file {path}: {unknown('--' + name)}")
        if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value)):
            raise TrainerError(f"--config_file {path}: {name} must be a text, a number, true, false or a list of them.")
        words += _words(path, flags[name], value)
    return words


def _settings(path: str) -> dict[str, Any]:
    file, text = config_path(path), ""
    try:
        text = file.read_text(encoding="utf-8-sig")
        tables = tomllib.loads(text)
    except FileNotFoundError:
        raise TrainerError(f"--config_file {file} is missing.") from None
    except (OSError, ValueError) as error:
        raise TrainerError(f"--config_file {file} cannot be read: {error}.{windows_path_hint(text)}") from None
    flat = {name: value for name, value in tables.items() if not isinstance(value, dict)}
    for table in tables.values():
        flat |= table if isinstance(table, dict) else {}
    return flat


def _words(path: str, flag: Flag, value: Any) -> list[str]:
    if flag.is_switch != isinstance(value, bool):
        expected = "true or false" if flag.is_switch else "no truth value"
        raise TrainerError(f"--config_file {path}: {flag.name} must be {expected}, not {value}.")
    if isinstance(value, bool):
        return [flag.option] if value else []
    if flag.nargs:
        return [flag.option, *map(str, value if isinstance(value, list) else [value])]
    return [f"{flag.option}={','.join(map(str, value)) if isinstance(value, list) else value}"]


def write_settings(path: str | None, settings: dict[str, Any]) -> Path:
    """Write settings to a file that must not exist yet and return its path.

    Raises:
        TrainerError: If it exists or cannot be written.
    """
    if not path:
        raise TrainerError("--output_config needs --config_file, the file to write.")
    file = config_path(path)
    if file.exists():
        raise TrainerError(f"--config_file {file} already exists; --output_config does not overwrite files.")
    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        text = tomli_w.dumps({name: str(value) if isinstance(value, Path) else value for name, value in settings.items()})
        file.write_text(text, encoding="utf-8")
    return file


def config_path(path: str) -> Path:
    """Return the path of --config_file; the extension .toml may be omitted, as in kohya."""
    return Path(path if path.endswith(".toml") else f"{path}.toml")
