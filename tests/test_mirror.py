"""The tests mirror the sources: a test file is named after a module, every module has a test, and test modules do not import each other."""

from pathlib import Path

from tests.support.source_tree import ROOT, imports, sources

# Modules that no test module imports and no test file is named after, and the tests that run them. This table may only shrink.
TESTED_BY = {
    "fluxgym/contract/masks.py": "tests/fluxgym/planning/test_mask_checks.py",
    "fluxgym/sessions/upload_edits.py": "tests/fluxgym/ui/api/test_images_uploaded_twice.py",
    "fluxgym/__main__.py": "tests/integration/test_guide.py",  # the terminal commands
    "fluxgym/cli/watch.py": "tests/fluxgym/cli/test_run_commands.py",
    "fluxgym/config/values.py": "tests/fluxgym/config/test_settings.py",
    "fluxgym/launch/supervisor.py": "tests/compatibility/test_old_supervisor.py",
    "fluxgym/launch/verify.py": "tests/compatibility/test_old_supervisor.py",
    "fluxgym/sessions/demo.py": "tests/fluxgym/cli/test_run_commands.py",
    "fluxgym/sessions/known_settings.py": "tests/fluxgym/sessions/test_adopt.py",
    "fluxgym/sessions/removal.py": "tests/compatibility/test_old_supervisor.py",
    "fluxgym/supervisor/__main__.py": "tests/integration/test_supervisor.py",
    "fluxgym/ui/api/app.py": "tests/fluxgym/ui/test_server.py",
    "fluxgym/ui/form_draft.py": "tests/fluxgym/ui/test_form_events.py",
    "fluxgym/ui/theme.py": "tests/fluxgym/ui/test_server.py",
    "sd-scripts/library/models/noise_shift.py": "tests/sd_scripts/library/test_flow_matching.py",
    "sd-scripts/library/training/loaded_models.py": "tests/sd_scripts/library/training/test_setup.py",
    "sd-scripts/library/training/preflight/context.py": "tests/sd_scripts/library/training/test_setup.py",
    "sd-scripts/networks/lora_inference.py": "tests/sd_scripts/test_flux_minimal_inference.py",
    "sd-scripts/pocket/images.py": "tests/integration/test_pocket.py",
    "sd-scripts/pocket/prior_images.py": "tests/integration/test_pocket.py",
    "sd-scripts/pocket/vae.py": "tests/integration/test_pocket.py",
    "sd-scripts/pretrain_pocket.py": "tests/integration/test_pocket.py",
}


def test_tests_mirror_sources():
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


def dotted_name(path: Path) -> str:
    """Return the name by which a source file is imported; sd-scripts is not a package."""
    return ".".join(path.with_suffix("").parts[path.parts[0] == "sd-scripts" :])


def test_every_source_has_test():
    tests = [path for path in sources("tests") if path.name.startswith("test_")]
    imported = {name for path in tests for name in imports(path)}
    imported |= {name.rpartition(".")[0] for name in imported}
    found = set()
    for path in sources("fluxgym", "sd-scripts"):
        folder = Path("tests", path.parts[0].replace("-", "_"), *path.parts[1:-1])
        names = [test.stem.removeprefix("test_") for test in tests if test.parent == folder]
        has_own = any(name == path.stem or name.startswith(f"{path.stem}_") for name in names)
        if path.name != "__init__.py" and not has_own and dotted_name(path) not in imported:
            found.add(str(path))
    assert found == set(TESTED_BY)
    assert [path for path in TESTED_BY.values() if not (ROOT / path).is_file()] == []


def test_no_test_module_imports_another():
    found = []
    for path in sources():
        names = {name for name in imports(path) if name.startswith("tests.") and ".test_" in name}
        found += [f"{path}: {name}; helpers belong to tests/support, fixtures to a conftest.py" for name in sorted(names)]
    assert found == []
