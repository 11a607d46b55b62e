"""The house stays as it was drawn: imports point down, start-up is light, the README's tree is true, files stay small."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEVELS = {
    "errors": -1, "settings": 0, "config": 1, "run": 2, "dataset": 3, "models": 3, "insight": 3, "launch": 4,
    "sessions": 5, "publish": 5, "cli_keep": 6, "watch": 6, "cli": 7, "__main__": 8, "ui": 6,
}  # fmt: skip
MAY_KNOW_EACH_OTHER = {("insight", "dataset"), ("insight", "models")}
HEAVY = ("torch", "transformers", "diffusers", "accelerate", "bitsandbytes", "skimage")
TRACKED = [
    Path(line) for line in subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
]
SOURCES = [path for path in TRACKED if path.suffix == ".py" and (ROOT / path).exists()]


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Return the dotted names that a file imports; `from a import b` counts as a.b."""
    tree = ast.parse((ROOT / path).read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(dotted: str) -> str:
    """Return the room of fluxgym that a dotted name lies in: "fluxgym.run.paths" -> "run"."""
    return dotted.split(".")[1]


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[0] == "fluxgym" and len(path.parts) > 1], ids=str)
def test_imports_point_down(path):
    own = path.parts[1].removesuffix(".py")
    for name in imports(path):
        if name.startswith("fluxgym.") and room(name) in LEVELS and room(name) != own:
            allowed = LEVELS[room(name)] < LEVELS[own] or (own, room(name)) in MAY_KNOW_EACH_OTHER
            assert allowed, f"{path} imports {name}, which is not below it"


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_page_and_trainer_never_import_each_other(path):
    names = {name.split(".")[0] for name in imports(path)}
    if path.parts[0] == "fluxgym":
        assert not names & {"library", "networks", "pocket", "flux_train_network"}
    if path.parts[0] == "sd-scripts":
        assert "fluxgym" not in names


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[0] == "fluxgym"], ids=str)
def test_only_the_page_knows_gradio_and_nothing_heavy_loads_at_start(path):
    names = {name.split(".")[0] for name in imports(path)}
    if path.parts[1] != "ui":
        assert "gradio" not in names
    assert not {name.split(".")[0] for name in imports(path, top_level_only=True)} & set(HEAVY)


ALLOWED = {"run": {"slugify"}, "launch": {"numpy"}}


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[0] == "fluxgym" and path.parts[1] in ALLOWED], ids=str)
def test_what_lives_beside_every_run_needs_the_standard_library(path):
    names = {name.split(".")[0] for name in imports(path)}
    assert names <= sys.stdlib_module_names | {"fluxgym"} | ALLOWED[path.parts[1]]
    assert "numpy" not in names or path.name == "verify.py"  # which is a child, and short-lived


def test_the_page_starts_without_heavy_libraries():
    code = f"import sys, fluxgym.ui.build, fluxgym.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_every_module_says_what_it_is_and_stays_small(path):
    text = (ROOT / path).read_text()
    assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
    assert text.count("\n") <= 400, f"{path} is crowded"
    if path == Path("app.py"):
        assert text.count("\n") <= 60


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[0] == "tests" and path.name.startswith("test_")], ids=str)
def test_tests_mirror_the_sources(path):
    if path.parts[1] not in ("fluxgym", "sd_scripts"):
        return
    source = Path("sd-scripts" if path.parts[1] == "sd_scripts" else "fluxgym", *path.parts[2:-1], path.name.removeprefix("test_"))
    assert (ROOT / source).exists(), f"{path} tests {source}, which does not exist"


def test_the_readmes_tree_is_true():
    readme = (ROOT / "README.md").read_text()
    tree = re.search(r"## The tree\n+```\n(.*?)```", readme, re.DOTALL)[1]
    named = {line.split()[0].rstrip("/") for line in tree.splitlines() if line and not line.startswith(" ")}
    tops = {path.parts[0] for path in TRACKED} - {".gitignore", ".ci"}
    assert named >= tops, f"README's tree lacks {tops - named}"
    stack: list[str] = []
    listed: set[str] = set()
    for line in tree.splitlines():
        if not line.strip() or not re.match(r" *[\w.\-]+(/|\.\w+)?(  |$)", line):
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        stack = [*stack[:depth], line.split()[0].rstrip("/")]
        assert (ROOT / Path(*stack)).exists(), f"README's tree names {'/'.join(stack)}, which does not exist"
        listed.add("/".join(stack))
    sources = {str(path) for path in SOURCES if path.parts[0] in ("fluxgym", "sd-scripts") and path.name != "__init__.py"}
    assert listed >= sources, f"README's tree lacks {sources - listed}"


def test_no_file_names_a_place_of_one_machine():
    for path in TRACKED:
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".json", ".txt", ".js", ".css", ""} and (ROOT / path).is_file():
            text = (ROOT / path).read_text(errors="replace")
            assert not re.search(r"(^|[^A-Za-z0-9_.])/(work|farm|root)/", text), f"{path} names a path of one machine"


def test_every_dependency_is_pinned_and_has_a_reason():
    for name in ("requirements.txt", "requirements-optimizers.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if line and not line.startswith(("#", "-r")):
                assert re.match(r"[\w.\-]+==[\w.\-]+ +# \S", line), f"{name}: {line}"
