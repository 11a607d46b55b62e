"""Ten thousand sessions in outputs/: the first banner and every refresh, beside the bare calls to the system that any such list has to make."""

import json
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from starlette.responses import Response

from bench.table import Figure, median_s
from fluxgym.app_settings import Settings
from fluxgym.runs.log_tail import tail
from fluxgym.sessions.index import SessionIndex
from fluxgym.ui.api.session_answers import SessionPage
from fluxgym.ui.api.sessions import ListQuery, SessionRoutes

COUNT = 10_000
LOG_BYTES = 5 << 30


def measure(repeats: int) -> list[Figure]:
    """Measure a fresh page's first look and an open page's next ones."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder) / "outputs"
        for number in range(COUNT):
            _make(outputs / f"run-{number:05d}", number)
        first = median_s(lambda: _routes(outputs).sessions(ListQuery()), repeats)
        routes = _routes(outputs)
        answer = routes.sessions(ListQuery())
        assert isinstance(answer, SessionPage)
        version = answer.version
        refresh = median_s(lambda: routes.sessions(ListQuery(version=version)), 4 * repeats)
        unchanged = routes.sessions(ListQuery(version=version))
        whole = median_s(lambda: routes.sessions(ListQuery()), repeats)
        names, read = [path.name for path in outputs.iterdir()], median_s(lambda: _read_all(outputs), repeats)
        stat = median_s(lambda: [os.stat(f"{outputs}/{name}/ui_state.json") for name in names], repeats)  # noqa: PTH116 (the limit is the bare call)
        log = Path(folder) / "training.log"
        with log.open("wb") as file:
            file.truncate(LOG_BYTES)
            file.seek(0, 2)
            file.write(b"\n" + b"a line of the log\n" * 300)
        return [
            Figure(
                what="first banner",
                ours=first * 1000,
                unit="ms",
                target="<= 400",
                peer=read * 1000,
                peer_name="only reading and parsing all states",
            ),
            Figure(what="first banner's answer", ours=len(json.dumps(asdict(answer))) / 1000, unit="kB", target="<= 30"),
            Figure(
                what="refresh when nothing changed",
                ours=refresh * 1000,
                unit="ms",
                target="<= 30",
                peer=stat * 1000,
                peer_name="only stat of all states",
            ),
            Figure(
                what="its answer",
                ours=len(unchanged.body) if isinstance(unchanged, Response) else None,
                unit="bytes",
                target="nothing sent",
            ),
            Figure(
                what="Refresh Sessions pressed (every state looked at)",
                ours=whole * 1000,
                unit="ms",
                peer=stat * 1000,
                peer_name="only stat of all states",
            ),
            Figure(what="last 200 lines of a 5 GB log", ours=median_s(lambda: tail(log), repeats) * 1000, unit="ms", target="<= 10"),
        ]


def _routes(outputs: Path) -> SessionRoutes:
    return SessionRoutes(Settings(outputs=outputs), SessionIndex(outputs))


def _read_all(outputs: Path) -> None:
    for folder in outputs.iterdir():
        json.loads((folder / "ui_state.json").read_bytes())


def _make(folder: Path, number: int) -> None:
    """Make an ended run's folder."""
    (folder / ".run").mkdir(parents=True)
    status = ("completed", "stopped", "failed")[number % 3]
    state = {
        "lora_name": f"run {number}", "concept_sentence": "sks cat", "base_model": "flux-dev", "max_train_epochs": 16, "timestamp": 1.7e9 + number,
        "status": status, "run_id": f"{number:016x}", "reason": "Stopped by you.", "enable_checkpointing": True, "learning_rate": "8e-4",
    }  # fmt: skip
    (folder / "ui_state.json").write_text(json.dumps(state, indent=2))
    line = {"time": time.time(), "attempt": 1, "phase": "training", "total_steps": 40, "loss": 0.1, "s_per_it": 1.0, "epoch": 1}
    (folder / "progress.jsonl").write_text("".join(json.dumps(line | {"step": step}) + "\n" for step in range(1, 41)))
