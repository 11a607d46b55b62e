"""The flags of a kohya checkout, read from its sources without running them: their names, and the values that the parser accepts."""

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OPTION = re.compile(r"""["'](--[A-Za-z0-9_]+)["']""")
CALL = re.compile(r"\.add_argument(?=\()")
MAX_CALL = 4000  # characters of one call of add_argument; kohya's longest has 900
NUMBERS: Mapping[str, Callable[[str], float]] = {"int": int, "float": float}
Signature = tuple[Path, int, int]


@dataclass(frozen=True, kw_only=True)
class Argument:
    """One definition of a flag; number is "int", "float" or "" for text. What is not a literal in the sources is not checked.

    is_open is True for a custom action, which accepts any value.
    """

    number: str = ""
    choices: tuple[Any, ...] | None = None
    takes_several: bool = False
    is_switch: bool = False
    is_open: bool = False

    def takes(self, values: Sequence[str] | None) -> bool:
        """Return True if kohya's parser takes these values; None is a flag without a value."""
        if self.is_open:
            return True
        if values is None or self.is_switch:
            return values is None and self.is_switch
        return (self.takes_several or len(values) == 1) and all(map(self._takes, values))

    def _takes(self, value: str) -> bool:
        try:
            parsed: Any = NUMBERS[self.number](value) if self.number else value
        except ValueError:
            return False
        return self.choices is None or parsed in self.choices


@dataclass(frozen=True, kw_only=True)
class CheckoutFlags:
    """The flags that a checkout's sources name, and their definitions; scripts of one checkout define some flags differently."""

    names: frozenset[str]
    arguments: Mapping[str, tuple[Argument, ...]] = field(default_factory=dict)

    def refused_value(self, flag: str, values: Sequence[str] | None) -> str | None:
        """Return what is wrong with a flag's values, to follow its label; None if a definition accepts them or none was found."""
        arguments = self.arguments.get(flag, ())
        if not arguments or any(argument.takes(values) for argument in arguments):
            return None
        shown = " ".join(values or ())
        choices = next((argument.choices for argument in arguments if argument.choices), None)
        remedy = f" Choose {' or '.join(str(choice) for choice in choices if choice is not None)}." if choices else ""
        return f"does not accept “{shown}”.{remedy}" if shown else f"needs a value.{remedy}"


def read_flags(trainer_dir: Path) -> CheckoutFlags:
    """Return the flags of a checkout; its sources are read again when one has changed.

    Raises:
        OSError: If they cannot be read.
    """
    return _read(tuple(map(_signature, sorted([*trainer_dir.glob("*.py"), *(trainer_dir / "library").glob("*.py")]))))


def _signature(path: Path) -> Signature:
    status = path.stat()
    return path, status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=4)
def _read(files: tuple[Signature, ...]) -> CheckoutFlags:
    names: set[str] = set()
    arguments: dict[str, list[Argument]] = defaultdict(list)
    for path, _, _ in files:
        source = path.read_text(encoding="utf-8-sig", errors="replace")
        names.update(OPTION.findall(source))
        for match in CALL.finditer(source):
            for flag, argument in _defined(source[match.end() : match.end() + MAX_CALL]):
                arguments[flag].append(argument)
    return CheckoutFlags(names=frozenset(names), arguments={flag: tuple(definitions) for flag, definitions in arguments.items()})


def _defined(text: str) -> list[tuple[str, Argument]]:
    """Return the flags, with their definition, of the add_argument call whose arguments are at the start of the text."""
    call = _parsed(text)
    if call is None:
        return []
    flags = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str) and arg.value.startswith("--")]
    return [(flag, _argument({keyword.arg: keyword.value for keyword in call.keywords if keyword.arg})) for flag in flags]


def _parsed(text: str) -> ast.Call | None:
    """Return the call that ends at the first closing parenthesis that makes it valid Python, None if there is none."""
    for end in (match.end() for match in re.finditer(r"\)", text)):
        try:
            expression = ast.parse(f"add{text[:end]}", mode="eval").body
        except SyntaxError:
            continue
        return expression if isinstance(expression, ast.Call) else None
    return None


def _argument(keywords: Mapping[str, ast.expr]) -> Argument:
    kind, action = keywords.get("type"), keywords.get("action")
    return Argument(
        number=kind.id if isinstance(kind, ast.Name) and kind.id in NUMBERS else "",
        choices=_literal(keywords.get("choices")),
        takes_several="nargs" in keywords,
        is_switch=isinstance(action, ast.Constant) and str(action.value).startswith("store_"),
        is_open=action is not None and not isinstance(action, ast.Constant),
    )


def _literal(node: ast.expr | None) -> tuple[Any, ...] | None:
    """Return choices that are written as a literal list, None for others, which are computed."""
    try:
        return tuple(ast.literal_eval(node)) if node is not None else None
    except (ValueError, TypeError):
        return None
