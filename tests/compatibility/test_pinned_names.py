"""Names that are on disk, in checkpoints, in browsers or in the seeds of random draws keep their values, whatever the code around them is called.

Each is written out here, not imported: a rename that changes one would change losses, miss caches or lose what a browser has stored.
"""

import ast
import re
from pathlib import Path

from fluxgym.contract import files
from fluxgym.runs.paths import OutputsPaths

ROOT = Path(__file__).parents[2]
SEED_PATHS = {
    "dropout", "ip_noise", "lora", "lycoris", "network", "noise", "order", "picture", "sample", "session", "sigma", "step", "vae",
    "validation noise", "validation picture",
}  # fmt: skip
CACHE_KINDS = {"latents", "text"}


def first_names(*functions: str) -> set[str]:
    """Return the string constants among the arguments of all calls of these functions in the trainer."""
    found = set()
    for path in (ROOT / "sd-scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in functions:
                found |= {item.value for item in node.args if isinstance(item, ast.Constant) and isinstance(item.value, str)}
    return found


def test_seed_paths_of_random_draws_are_those_of_earlier_versions():
    assert first_names("generator", "derived_seed") - {"cpu"} == SEED_PATHS


def test_kinds_of_cache_entries_are_those_of_earlier_versions():
    assert first_names("key_of") == CACHE_KINDS


def test_file_names_that_both_sides_use_are_those_of_earlier_versions():
    names = (
        files.UI_STATE, files.PROGRESS, files.TRAINING_LOG, files.MONITOR_LOG, files.TRAINING_PID, files.MONITOR_PID, files.DATASET_TOML,
        files.SAMPLE_PROMPTS, files.TRAIN_SH, files.MANIFEST, files.TRAIN_STATE, files.NETWORK, files.OPTIMIZER, files.SCHEDULER,
        files.KOHYA_POSITION, files.CACHE_FOLDER, files.STATE_ENDING, files.PRIVATE_FOLDER,
    )  # fmt: skip
    assert names == (
        "ui_state.json", "progress.jsonl", "training.log", "monitor.log", "training.pid", "monitor.pid", "dataset.toml", "sample_prompts.txt",
        "train.sh", "manifest.json", "train_state.json", "model.safetensors", "optimizer.safetensors", "scheduler.json",
        "fluxgym_place.json", ".fluxgym-cache", "-state", ".run",
    )  # fmt: skip


def test_paths_of_run_are_those_of_earlier_versions():
    outputs = OutputsPaths(Path("outputs"))
    run = outputs.run("cat")
    private = (run.process, run.lock, run.stop, run.stop_reserve, run.exit, run.exit_reserve, run.launch)
    assert [path.relative_to(run.folder).as_posix() for path in private] == [
        ".run/process.json", ".run/lock", ".run/stop.json", ".run/stop.reserved", ".run/exit.json", ".run/exit.reserved", ".run/launch.json",
    ]  # fmt: skip
    own = (outputs.drafts, outputs.archive, outputs.new, outputs.deleted, outputs.templates, outputs.queue)
    assert [path.name for path in own] == ["drafts", "archive", "new", "deleted", "templates", "queue"]
    assert {path.parent.name for path in own} == {".fluxgym"}


def test_keys_of_browsers_storage_are_those_of_earlier_versions():
    script = (ROOT / "fluxgym" / "ui" / "assets" / "browser_store.js").read_text()
    assert "localStorage.getItem(`fluxgym.${key}`)" in script
    old, new = {"draft", "looked", "unsent", "viewed"}, {"theme", "seen-ends", "captions", "blank"}
    assert set(re.findall(r'\b(?:read|write)\("([\w-]+)"', script)) == old | new
