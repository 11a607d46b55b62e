"""The architecture rules: import order, start-up weight, file size, mirrored tests, pinned dependencies. One test per rule, every offender listed."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
APP_ORDER = (
    ("contract",), ("errors",), ("app_settings", "config"), ("runs",), ("dataset", "models"), ("trainers",), ("planning",), ("engines",),
    ("supervisor",), ("sessions",), ("cli", "ui"), ("__main__", "launch"),
)  # fmt: skip
TRAINER_ORDER = (
    ("library.errors",), ("library.files", "library.randomness", "library.process", "library.config"), ("library.command",),
    ("library.weights",), ("library.models",), ("library.placement",), ("networks",), ("library.data", "library.optim"),
    ("library.flow_matching", "library.sample_prompts"), ("library.sampling", "library.objective"), ("library.training",), ("library.cli",),
    ("pocket",), ("flux_train_network", "flux_minimal_inference", "pretrain_pocket"),
)  # fmt: skip
COMMANDS = {"networks/convert_flux_lora.py", "networks/flux_merge_lora.py", "networks/resize_lora.py"}  # entry points inside networks/
FLUX1 = "library.models.flux1"
# Files outside library/ that import FLUX.1's own modules, and why. This table may only shrink.
FLUX1_TOOLS = {
    "flux_minimal_inference.py": "kohya's command for FLUX.1: its help states FLUX.1's limits",
    "pretrain_pocket.py": "makes a small FLUX.1",
    "networks/factory.py": "kohya's learning rates and curves are by FLUX.1's parts",
    "networks/flux_merge_lora.py": "kohya's command for FLUX.1 files",
    "networks/lora_flux.py": "kohya's network module for FLUX.1",
    "networks/lora_keys.py": "names of LoRA files are read without a model file that would say the family",
    "networks/lora_merge.py": "names of LoRA files are read without a model file that would say the family",
}  # fmt: skip
HEAVY = {"torch", "transformers", "diffusers", "accelerate", "bitsandbytes", "skimage", "numpy"}


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


def level(package: str, order: tuple[tuple[str, ...], ...]) -> int:
    """Return the position of a package in an import order."""
    return next(index for index, names in enumerate(order) if package in names)


def app_package(dotted: str) -> str:
    """Return the package of fluxgym that a dotted name is in: "fluxgym.runs.paths.RunPaths" -> "runs"."""
    return dotted.split(".")[1]


def trainer_package(dotted: str) -> str:
    """Return the unit of the trainer's import order that a dotted name is in: "library.data.images" -> "library.data"."""
    parts = dotted.split(".")
    return ".".join(parts[:2]) if parts[0] == "library" and len(parts) > 1 else parts[0]


def test_app_imports_follow_the_order():
    found = set()
    for path in sources("fluxgym"):
        if len(path.parts) < 2 or (path.name == "__init__.py" and len(path.parts) == 2):
            continue
        own = path.parts[1].removesuffix(".py")
        for name in imports(path):
            if not name.startswith("fluxgym.") or app_package(name) in (own, "__version__"):
                continue
            if level(app_package(name), APP_ORDER) >= level(own, APP_ORDER):
                found.add(f"{path} -> {app_package(name)}")
    assert found == set()


def test_page_and_sessions_use_engines_only_through_their_interface():
    interface = ("base", "registry", "machine")  # machine only describes this host
    found = []
    for path in sources("fluxgym"):
        if path.parts[1] in ("ui", "cli", "sessions"):
            names = [name for name in imports(path) if name.startswith("fluxgym.engines.")]
            found += [f"{path}: {name}" for name in names if name.split(".")[2] not in interface]
    assert found == []


def test_trainer_imports_follow_the_order():
    found = set()
    known = {name for names in TRAINER_ORDER for name in names}
    for path in sources("sd-scripts"):
        relative = path.relative_to("sd-scripts")
        own = trainer_package(".".join(relative.with_suffix("").parts))
        if path.name == "__init__.py":
            continue
        for name in imports(path):
            other = trainer_package(name)
            if other == own or (other not in known and not name.startswith(("library.", "networks.", "pocket."))):
                continue
            if str(relative) in COMMANDS or own in ("pretrain_pocket", "pocket"):
                continue
            if level(other, TRAINER_ORDER) >= level(own, TRAINER_ORDER):
                found.add(f"{path} -> {other}")
    assert found == set()


def test_only_the_registry_knows_flux1():
    found = set()
    for path in sources("sd-scripts"):
        relative = str(path.relative_to("sd-scripts"))
        if relative == "library/models/registry.py" or relative.startswith(("library/models/flux1/", "pocket/")):
            continue
        found |= {relative for name in imports(path) if name.startswith(FLUX1)}
    assert found == set(FLUX1_TOOLS)


def test_modules_import_each_other_without_cycles():
    graph: dict[str, set[str]] = {}
    modules = {}
    for path in sources("fluxgym", "sd-scripts"):
        parts = path.with_suffix("").parts
        dotted = ".".join(parts[1:] if parts[0] == "sd-scripts" else parts).removesuffix(".__init__")
        modules[dotted] = path
    for dotted, path in modules.items():
        graph[dotted] = {
            target for name in imports(path) for target in (name, name.rpartition(".")[0]) if target in modules and target != dotted
        }
    done: set[str] = set()
    cycles = set()

    def visit(node: str, trail: tuple[str, ...]) -> None:
        if node in trail:
            cycles.add(" -> ".join((*trail[trail.index(node) :], node)))
        elif node not in done:
            for other in sorted(graph[node]):
                visit(other, (*trail, node))
            done.add(node)

    for node in sorted(graph):
        visit(node, ())
    assert cycles == set()


def test_app_never_imports_the_trainer_and_the_trainer_imports_only_the_contract():
    found = []
    for path in sources("fluxgym", "sd-scripts"):
        for name in imports(path):
            top = name.split(".")[0]
            if path.parts[0] == "fluxgym" and top in ("library", "networks", "pocket", "flux_train_network"):
                found.append(f"{path}: {name}")
            if path.parts[0] == "sd-scripts" and top == "fluxgym" and not name.startswith("fluxgym.contract."):
                found.append(f"{path}: {name}")
    assert found == []


def test_contract_and_run_folder_import_only_the_standard_library():
    allowed = {"contract": set(), "runs": {"slugify", "fluxgym"}, "supervisor": {"numpy", "fluxgym"}, "engines": {"psutil", "fluxgym"}}
    found = []
    for path in sources("fluxgym"):
        if len(path.parts) > 2 and path.parts[1] in allowed:
            names = {name.split(".")[0] for name in imports(path) if not name.startswith(f"fluxgym.{path.parts[1]}.")}
            found += [f"{path}: {name}" for name in sorted(names - sys.stdlib_module_names - allowed[path.parts[1]])]
    assert found == []


def test_only_the_page_imports_gradio_and_nothing_heavy_is_imported_at_start():
    found = []
    for path in sources("fluxgym"):
        if path.parts[1] != "ui":
            found += [f"{path}: {name}" for name in imports(path) if name.split(".")[0] == "gradio"]
        if path.name != "verify_lora.py":  # a short-lived child process of its own
            found += [f"{path}: {name}" for name in imports(path, top_level_only=True) if name.split(".")[0] in HEAVY]
    assert found == []


def test_page_starts_without_heavy_libraries():
    heavy = sorted(HEAVY - {"numpy"})
    code = f"import sys, fluxgym.ui.page, fluxgym.cli.main; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modules_have_a_docstring_and_at_most_400_lines():
    found = []
    for path in sources():
        text = (ROOT / path).read_text()
        if not ast.get_docstring(ast.parse(text)):
            found.append(f"{path} has no docstring")
        if text.count("\n") > (60 if path == Path("app.py") else 400):
            found.append(f"{path} has {text.count(chr(10))} lines")
    assert found == []


def test_tests_mirror_the_sources():
    found = []
    for path in sources("tests"):
        if path.parts[1] not in ("fluxgym", "sd_scripts") or not path.name.startswith("test_"):
            continue
        folder = Path("sd-scripts" if path.parts[1] == "sd_scripts" else "fluxgym", *path.parts[2:-1])
        name = path.stem.removeprefix("test_")
        modules = [file.stem for file in (ROOT / folder).glob("*.py")]
        if not any(name == module or name.startswith(f"{module}_") for module in modules):
            found.append(f"{path} tests no module of {folder}")
    assert found == []


def test_no_test_module_imports_another():
    found = []
    for path in sources():
        names = {name for name in imports(path) if name.startswith("tests.") and ".test_" in name}
        found += [f"{path}: {name}; helpers belong to tests/support, fixtures to a conftest.py" for name in sorted(names)]
    assert found == []


def test_no_file_names_a_path_of_one_machine():
    found = []
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".json", ".txt", ".js", ".css", ""}:
            text = (ROOT / path).read_text(errors="replace")
            found += [str(path)] if re.search(r"(^|[^A-Za-z0-9_.])/(work|farm|root)/", text) else []
    assert found == []


def test_dependencies_are_pinned_and_have_a_reason():
    found = []
    for name in ("requirements.txt", "requirements-optimizers.txt", "requirements-lycoris.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if line and not line.startswith(("#", "-r", "--")) and not re.match(r"[\w.\-]+==[\w.\-]+ +# \S", line):
                found.append(f"{name}: {line}")
    assert found == []
