"""The tracked files of the repository, and what its Python files import."""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def tracked() -> tuple[Path, ...]:
    """Return the files under version control, relative to the root."""
    lines = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return tuple(Path(line) for line in lines if (ROOT / line).is_file())


def sources(*tops: str) -> list[Path]:
    """Return the tracked Python files, of the given top-level folders or of all."""
    return [path for path in tracked() if path.suffix == ".py" and (not tops or path.parts[0] in tops)]


@cache
def imports(path: Path, *, top_level_only: bool = False) -> frozenset[str]:
    """Return the dotted names that a file imports; `from a import b` counts as a.b. Imports under TYPE_CHECKING count too."""
    tree = ast.parse((ROOT / path).read_text())
    found = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)
