"""A run with files that are links, pipes, devices or too large: the list, the page, export, repair and delete answer quickly and leak nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fluxgym.dataset.folder import ImageFolder
from fluxgym.errors import DatasetError
from fluxgym.planning.plan import plan
from fluxgym.runs.detached import PROJECT
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.adopt import adopt
from fluxgym.sessions.start import StartRequest, start
from fluxgym.sessions.transfer import import_file
from tests.support.photos import write_cats
from tests.support.small_installation import small_installation, state
from tests.support.trained_runs import make_trained_run, record_end

CANARY = "canary-5f3a"
GIANT_BYTES = 3 << 30
MEMORY_BYTES = 2 << 30
KINDS = ("link", "pipe", "device", "giant")
FILES = (
    "ui_state.json", "progress.jsonl", "training.log", "monitor.log", "training.pid", "monitor.pid", "sample_prompts.txt", "dataset.toml",
    "train.sh", ".run/exit.json", ".run/exit.reserved", ".run/process.json", ".run/launch.json", ".run/stop.json", ".run/stop.reserved",
    "history/x-1.json", "dataset/cat 0.txt", "SLUG.safetensors", "SLUG-000002.safetensors", "SLUG-000002-state/manifest.json",
)  # fmt: skip
VISIT = f"""
import json, resource, sys
from contextlib import suppress
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES}, {MEMORY_BYTES}))
from starlette.testclient import TestClient
from fluxgym.app_settings import Settings
from fluxgym.cli.main import main
from fluxgym.errors import FluxGymError
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.forget import forget, undo_forget
from fluxgym.sessions.history import repair
from fluxgym.planning.plan import Planner
from fluxgym.sessions.index import SessionIndex
from fluxgym.ui.api.app import api_app
from fluxgym.ui.api.images import ImageRoutes
settings = Settings(outputs=Path(sys.argv[1]), models=Path(sys.argv[2]))
client = TestClient(api_app(settings, SessionIndex(settings.outputs), ImageRoutes(settings), Planner(settings)), base_url="http://127.0.0.1:7860/fluxgym/")
draft = "0" * 32
def show(address):
    with client.stream("GET", address) as answer:  # a log may be long, and is sent as it is read
        content = b"".join(chunk for chunk, _ in zip(answer.iter_bytes(), range(20)))
    assert answer.status_code < 500 or address.endswith(".gz"), (address, content)
    print(address, answer.status_code, content)
show("api/sessions"); show("api/banner"); show("states.tar.gz")
for number in range(int(sys.argv[3])):
    name = f"run-{{number}}"
    run = OutputsPaths(settings.outputs).run(name)
    for address in (f"api/runs/{{name}}", f"api/sessions/{{name}}/history", f"runs/{{name}}/training.log", f"runs/{{name}}/export/state.json",
                    f"runs/{{name}}/export/with-images.zip", f"runs/{{name}}/loras/{{name}}.safetensors" + "-none",
                    f"api/drafts/{{draft}}/images?source={{name}}"):
        with suppress(Exception) if "zip" in address else suppress():
            show(address)
    for act in (forget, undo_forget, repair):
        with suppress(FluxGymError):
            act(run)
main(["sessions", "--outputs", sys.argv[1]])
for number in range(int(sys.argv[3])):
    main(["resume", f"run-{{number}}", "--outputs", sys.argv[1], "--models", sys.argv[2]])
    main(["delete", f"run-{{number}}", "--yes", "--outputs", sys.argv[1]])
"""


def replace_by(path: Path, kind: str, secret: Path) -> None:
    """Replace a file by something that is not one, or by a sparse file of GIANT_BYTES."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(GIANT_BYTES)


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_of_run_may_be_hostile(kind, tmp_path):
    world, secret = small_installation(tmp_path), tmp_path / "secret"
    secret.write_text(json.dumps({"lora_name": CANARY, "phase": CANARY, "reason": CANARY, "status": "failed", "run_id": CANARY}))
    for number, name in enumerate(FILES):
        run = make_trained_run(world.outputs, f"run-{number}", last_step=41, status="stopped")
        record_end(run, "stopped", reason="Stopped by you.")
        replace_by(run.folder / name.replace("SLUG", run.slug), kind, secret)
    command = [sys.executable, "-c", VISIT, str(world.outputs), str(world.models), str(len(FILES))]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert CANARY not in done.stdout + done.stderr
    assert [path.name for path in world.outputs.iterdir() if path.name.startswith("run-")] == []
    assert secret.read_text().count(CANARY) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_caption_is_refused_alike_before_start_and_by_start(kind, tmp_path):
    world, images = small_installation(tmp_path), write_cats(tmp_path / "images")
    (tmp_path / "secret").write_text(CANARY)
    replace_by(images / "cat 0.txt", kind, tmp_path / "secret")
    planned = plan(state(), images, world)
    (problem,) = planned.errors
    assert problem.message.startswith("The caption cat 0.txt is not read: it is ")
    with pytest.raises(DatasetError) as caught:
        start(StartRequest(state=state(), images=images), world)
    assert str(caught.value) == problem.message
    assert not (world.outputs / "my-cat").exists()


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_hostile_files_of_adopted_folder_are_left_out(kind, tmp_path):
    world, theirs = small_installation(tmp_path), tmp_path / "theirs" / "outputs" / "cat"
    (tmp_path / "secret").write_text(CANARY)
    for name in (
        "cat.safetensors",
        "cat-000002.safetensors",
        "sample/cat_1.png",
        "README.md",
        "train.sh",
        "dataset.toml",
        "sample_prompts.txt",
    ):
        replace_by(theirs / name, kind, tmp_path / "secret")
    (theirs / "ui_state.json").write_text(json.dumps({"lora_name": "cat", "status": "completed"}))
    (run,) = adopt(tmp_path / "theirs", OutputsPaths(world.outputs))
    assert CANARY not in "".join(path.read_text(errors="replace") for path in run.folder.rglob("*") if path.is_file())
    assert not any(path.is_symlink() for path in run.folder.rglob("*"))


def test_linked_folder_of_images_is_neither_shown_nor_exported(tmp_path):
    world, private = small_installation(tmp_path), write_cats(tmp_path / "private", caption=CANARY)
    run = make_trained_run(world.outputs, "run-0", last_step=41, status="stopped")
    shutil.rmtree(run.dataset)
    run.dataset.symlink_to(private)
    with pytest.raises(DatasetError, match="is a link to another folder"):
        ImageFolder(run.dataset).image_path("cat 0.png")
    command = [sys.executable, "-c", VISIT, str(world.outputs), str(world.models), "1"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert CANARY not in done.stdout + done.stderr
    assert "is a link to another folder" in done.stdout
    assert len(list(private.iterdir())) == 8


def test_export_of_run_with_hostile_files_can_be_imported(tmp_path):
    world = small_installation(tmp_path)
    run = make_trained_run(world.outputs, "cat", last_step=41, status="stopped")
    (tmp_path / "secret").write_text(CANARY)
    replace_by(run.dataset / "cat 0.txt", "link", tmp_path / "secret")
    os.mkfifo(run.dataset / "pipe.txt")
    archive = tmp_path / "export.zip"
    command = [sys.executable, "-m", "fluxgym", "export", "cat", str(archive), "--with-images", "--outputs", str(world.outputs)]
    subprocess.run(command, cwd=PROJECT, check=True, timeout=60)
    (imported,) = import_file(archive, OutputsPaths(tmp_path / "others"))
    assert sorted(path.name for path in imported.dataset.iterdir()) == ["cat 0.png", "cat 1.png", "cat 1.txt"]
