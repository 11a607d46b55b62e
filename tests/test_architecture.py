"""The architecture rules: import order, start-up weight, file size, pinned dependencies. One test per rule, every offender listed."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from library import config
from tests.support.source_tree import ROOT, imports, sources, tracked

APP_ORDER = (
    ("contract",), ("errors",), ("app_settings", "config"), ("runs",), ("dataset", "models"), ("trainers",), ("planning",), ("engines",),
    ("supervisor",), ("sessions",), ("cli", "ui"), ("__main__", "launch"),
)  # fmt: skip
TRAINER_ORDER = (
    ("library.errors", "library.limits", "library.network_options"),
    ("library.files", "library.randomness", "library.process", "library.config", "library.command_parser", "library.number_parsing"),
    ("library.failures",),
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
    "networks/flux_merge_lora.py": "kohya's command for FLUX.1 files",
    "networks/lora_flux.py": "kohya's network module for FLUX.1",
    "networks/lora_keys.py": "names of LoRA files are read without a model file that would say the family",
    "networks/lora_merge.py": "names of LoRA files are read without a model file that would say the family",
}  # fmt: skip
# Files outside models/flux1/ and pocket/ that name FLUX.1's files and parts, and why. CONTRIBUTING.md lists them; this table may only shrink.
FLUX1_NAMES = {
    "sd-scripts/flux_minimal_inference.py": "kohya's command for FLUX.1",
    "sd-scripts/library/cli/flag_checks.py": "kohya's flags",
    "sd-scripts/library/cli/flags.py": "kohya's flags",
    "sd-scripts/library/cli/flag_support.py": "kohya's flags",
    "sd-scripts/library/config.py": "kohya's flags",
    "sd-scripts/library/network_options.py": "kohya's --network_args train_t5xxl",
    "sd-scripts/library/training/compatibility.py": "kohya's flags",
    "sd-scripts/library/training/preflight/network.py": "kohya's --network_args train_t5xxl",
    "sd-scripts/library/training/trackers.py": "kohya's flags",
    "sd-scripts/networks/flux_merge_lora.py": "kohya's command for FLUX.1",
    "sd-scripts/networks/lycoris_args.py": "kohya's --network_args train_t5xxl",
    "fluxgym/config/trainer_flags.py": "kohya's flags",
    "fluxgym/contract/model_kinds.py": "the roles of model files",
    "fluxgym/models/catalog.py": "the roles of model files",
    "fluxgym/models/identify.py": "the roles of model files",
    "fluxgym/sessions/transfer.py": "kohya's flags",
    "fluxgym/trainers/options.py": "kohya's flags",
}  # fmt: skip
MAX_PARAMETERS = 5
# Functions with more parameters, and why. This table may only shrink.
MANY_PARAMETERS = {
    "sd-scripts/library/models/flux1/transformer.py: Flux.forward": "BFL's signature, which every implementation of FLUX.1 shares",
}  # fmt: skip
HEAVY = {"torch", "transformers", "diffusers", "accelerate", "bitsandbytes", "skimage", "numpy"}


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


def test_app_imports_follow_order():
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


def test_trainer_imports_follow_order():
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


def test_only_registry_knows_flux1():
    found = set()
    for path in sources("sd-scripts"):
        relative = str(path.relative_to("sd-scripts"))
        if relative == "library/models/registry.py" or relative.startswith(("library/models/flux1/", "pocket/")):
            continue
        found |= {relative for name in imports(path) if name.startswith(FLUX1)}
    assert found == set(FLUX1_TOOLS)


def test_only_entry_points_and_training_print_warnings():
    found = {str(path.relative_to("sd-scripts")) for path in sources("sd-scripts") if "library.errors.warn" in imports(path)}
    others = {name for name in found if not name.startswith("library/training/")}
    assert others == {"flux_train_network.py", "networks/command_line.py", "library/weights/safetensors_file.py"}


def code_words(path: Path) -> Iterator[str]:
    """Yield the names and texts of a file's code: all but comments, imports and docstrings."""
    tree = ast.parse((ROOT / path).read_text())
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements:
            yield node.value
        yield from (str(getattr(node, field)) for field in ("id", "attr", "arg") if getattr(node, field, None))


def files_with(pattern: str) -> set[str]:
    """Return the files of app and trainer whose code has a word that matches, outside of FLUX.1's own files and the registry."""
    own = (
        "sd-scripts/library/models/flux1/",
        "sd-scripts/library/models/registry.py",
        "sd-scripts/pocket/",
        "sd-scripts/pretrain_pocket.py",
    )
    paths = [path for path in sources("fluxgym", "sd-scripts") if not str(path).startswith(own)]
    return {str(path) for path in paths if any(re.search(pattern, word) for word in code_words(path))}


def test_only_family_has_flux1s_name_in_metadata():
    assert files_with(r"(?i)flux-?1") == set()


def test_files_that_name_flux1s_parts_are_listed_here_and_in_contributing():
    assert files_with(r"clip_l\b|t5xxl|(CLIP|T5)_PREFIX|lora_te\d") == set(FLUX1_NAMES)
    recipe = (ROOT / "CONTRIBUTING.md").read_text().partition("## Add a model family")[2].partition("\n## ")[0]
    assert [path for path in (*FLUX1_NAMES, *(f"sd-scripts/{path}" for path in FLUX1_TOOLS)) if f"`{path}`" not in recipe] == []


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


def test_app_never_imports_trainer_and_trainer_imports_only_contract():
    found = []
    for path in sources("fluxgym", "sd-scripts"):
        for name in imports(path):
            top = name.split(".")[0]
            if path.parts[0] == "fluxgym" and top in ("library", "networks", "pocket", "flux_train_network"):
                found.append(f"{path}: {name}")
            if path.parts[0] == "sd-scripts" and top == "fluxgym" and not name.startswith("fluxgym.contract."):
                found.append(f"{path}: {name}")
    assert found == []


def test_contract_and_run_folder_import_only_standard_library():
    allowed = {"contract": set(), "runs": {"slugify", "fluxgym"}, "supervisor": {"numpy", "fluxgym"}, "engines": {"psutil", "fluxgym"}}
    found = []
    for path in sources("fluxgym"):
        if len(path.parts) > 2 and path.parts[1] in allowed:
            names = {name.split(".")[0] for name in imports(path) if not name.startswith(f"fluxgym.{path.parts[1]}.")}
            found += [f"{path}: {name}" for name in sorted(names - sys.stdlib_module_names - allowed[path.parts[1]])]
    assert found == []


def test_only_page_imports_gradio_and_nothing_heavy_is_imported_at_start():
    found = []
    for path in sources("fluxgym"):
        if path.parts[1] != "ui":
            found += [f"{path}: {name}" for name in imports(path) if name.split(".")[0] == "gradio"]
        if path.name != "verify_lora.py":  # a short-lived child process of its own
            found += [f"{path}: {name}" for name in imports(path, top_level_only=True) if name.split(".")[0] in HEAVY]
    assert found == []


def test_json_api_uses_neither_gradio_nor_other_parts_of_page():
    api = [path for path in sources("fluxgym") if path.parts[1:3] == ("ui", "api")]
    others = [f"{path}: {name}" for path in api for name in imports(path) if re.match(r"fluxgym\.ui\.(?!api\b)", name)]
    assert others == []
    modules = sorted(".".join(path.with_suffix("").parts) for path in api if path.name != "__init__.py")
    code = f"import sys, {', '.join(modules)}; print([m for m in ('gradio', 'gradio_client') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_page_starts_without_heavy_libraries():
    heavy = sorted(HEAVY - {"numpy"})
    code = f"import sys, fluxgym.ui.page, fluxgym.cli.main; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modules_have_docstring_and_at_most_400_lines():
    found = []
    for path in sources():
        text = (ROOT / path).read_text()
        if not ast.get_docstring(ast.parse(text)):
            found.append(f"{path} has no docstring")
        if text.count("\n") > (60 if path == Path("app.py") else 400):
            found.append(f"{path} has {text.count(chr(10))} lines")
    assert found == []


def names_errors_in_prose(docstring: str) -> bool:
    """Return True if a docstring says in a sentence which errors are raised, instead of in a section `Raises:`. Lines may be wrapped anywhere."""
    paragraphs = re.split(r"\n\s*\n", docstring.partition("Raises:\n")[0])
    return any(re.search(r"(^|[.;:] )[Rr]aises (as|what|an?|the|`?_?[A-Z])", " ".join(text.split())) for text in paragraphs)


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Return x; raises ValueError if it is odd.", True), ("Return x. Raises as `f` does.", True), ("Return x.\n\nRaises ValueError if odd.", True),
        ("Return x; raises\nValueError if it is odd.", True), ("Return x; raises _Problem if it is odd.", True),
        ("Return x.\n\nIt is even; raises an\nerror otherwise.", True),
        ("Return x.\n\nRaises:\n    ValueError: If it is odd.", False), ("Raise ValueError if x is odd.", False), ("Return x. Never raises.", False),
    ],
)  # fmt: skip
def test_errors_in_prose_are_recognized(docstring, expected):
    assert names_errors_in_prose(docstring) is expected


def test_functions_name_their_errors_in_section_of_docstring():
    found = []
    for path in sources():
        for name, node in functions(ast.parse((ROOT / path).read_text())):
            if names_errors_in_prose(ast.get_docstring(node) or ""):
                found.append(f"{path}: {name}")
    assert found == []


def functions(tree: ast.AST, owner: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield every function under a node with its qualified name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{owner}{node.name}", node
        is_owner = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        yield from functions(node, f"{owner}{node.name}." if is_owner else owner)


def num_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many parameters a function has besides self; a constructor's keyword-only collaborators do not count."""
    args = function.args
    names = [arg.arg for arg in (*args.posonlyargs, *args.args)]
    names = names[1:] if names[:1] in (["self"], ["cls"]) else names
    keywords = [] if function.name == "__init__" else [arg.arg for arg in args.kwonlyargs]
    return len(names) + len(keywords) + (args.vararg is not None) + (args.kwarg is not None)


def test_functions_have_at_most_5_parameters():
    found = set()
    for path in sources("fluxgym", "sd-scripts"):
        for name, function in functions(ast.parse((ROOT / path).read_text())):
            found |= {f"{path}: {name}"} if num_parameters(function) > MAX_PARAMETERS else set()
    assert found == set(MANY_PARAMETERS)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(a, b, /, c, *rest, d, **others): ...", 6),
        ("async def f(self, a, *, b): ...", 2),
        ("def __init__(self, a, b, *, c, d, e, f): ...", 2),
    ],
)
def test_parameters_are_counted(source, expected):
    (function,) = ast.parse(source).body
    assert num_parameters(function) == expected


def enum_settings() -> set[str]:
    """Return the names of the trainer's settings that have an enum."""
    groups = [value for value in vars(config).values() if is_dataclass(value)]
    hints = [(name, hint) for group in groups for name, hint in get_type_hints(group).items()]
    return {name for name, hint in hints if any(isinstance(kind, type) and issubclass(kind, StrEnum) for kind in (hint, *get_args(hint)))}


def test_settings_that_have_enum_are_not_compared_with_texts():
    found, names = [], enum_settings()
    assert "timestep_sampling" in names
    for path in sources("sd-scripts"):
        if path.parts[1:3] == ("library", "cli"):  # the flags as they were typed
            continue
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute) and node.left.attr in names:
                texts = [each for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
                found += [f"{path}:{node.lineno}"] if texts else []
    assert found == []


def test_no_file_names_path_of_one_machine():
    found = []
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".json", ".txt", ".js", ".css", ""}:
            text = (ROOT / path).read_text(errors="replace")
            found += [str(path)] if re.search(r"(^|[^A-Za-z0-9_.])/(work|farm|root)/", text) else []
    assert found == []


def test_dependencies_are_pinned_and_have_reason():
    found = []
    for name in (
        "requirements.txt",
        "requirements-optimizers.txt",
        "requirements-lycoris.txt",
        "requirements-images.txt",
        "requirements-dev.txt",
    ):
        for line in (ROOT / name).read_text().splitlines():
            if line and not line.startswith(("#", "-r", "--")) and not re.match(r"[\w.\-]+==[\w.\-]+ +# \S", line):
                found.append(f"{name}: {line}")
    assert found == []
