"""A run whose files are links, pipes, devices or giants: the list, the page, export, repair and delete answer quickly, in little memory, and leak nothing."""

import os
from pathlib import Path

CANARY = "canary-5f3a"
GIANT_BYTES = 3 << 30
MEMORY_BYTES = 2 << 30
KINDS = ("link", "pipe", "device", "giant")
FILES = (
    "ui_state.json", "progress.jsonl", "training.log", "monitor.log", "training.pid", "monitor.pid", "sample_prompts.txt", "dataset.toml",
    "train.sh", ".run/exit.json", ".run/exit.reserved", ".run/process.json", ".run/launch.json", ".run/stop.json", ".run/stop.reserved",
    "history/x-1.json", "dataset/cat-0.txt", "cat.safetensors", "cat-000002.safetensors", "cat-000002-state/manifest.json",
)  # fmt: skip
VISIT = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
from fastapi import FastAPI
from fastapi.testclient import TestClient
from fluxgym.app_settings import Settings
from fluxgym.sessions.index import SessionIndex
from fluxgym.ui.api.app import api_routers
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
