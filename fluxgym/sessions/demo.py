"""`make demo`: train the pocket model on the example photos without a browser, and create a before/after image."""

import tempfile
from pathlib import Path

from fluxgym.app_settings import Settings
from fluxgym.contract.files import parse_sample_name
from fluxgym.contract.images.reader import open_image
from fluxgym.dataset.example import TRIGGER, write_example
from fluxgym.runs.paths import RunPaths
from fluxgym.runs.storage_errors import storage_error
from fluxgym.sessions.start import IfExists, StartRequest, start

NAME = "demo-cat"
NUM_SEEDS = 8
ENLARGED = 128
GAP = 16


def demo_state() -> dict[str, object]:
    """Return the settings of the demo: the pocket model's defaults, and samples of the trigger with fixed seeds before and after."""
    return {
        "lora_name": NAME,
        "concept_sentence": TRIGGER,
        "base_model": "pocket",
        "sample_prompts": "\n".join(f"{TRIGGER} --d {seed}" for seed in range(1, NUM_SEEDS + 1)),
        "sample_every_n_steps": 80,
        "advanced": {"sample_at_first": True},
    }


def start_demo(settings: Settings) -> RunPaths:
    """Start the demo's training under the next free name."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            write_example(Path(folder))
            return start(StartRequest(state=demo_state(), images=Path(folder), if_exists=IfExists.NEW), settings)
    except OSError as error:
        raise storage_error(error, settings.outputs) from error


def compose(run: RunPaths) -> Path | None:
    """Create an image with the first samples above the last ones, one column per seed; returns its path."""
    from PIL import Image

    by_step: dict[str, list[Path]] = {}
    for path in sorted(run.samples.glob("*.png")):
        if (sample := parse_sample_name(path.name)) is not None:
            by_step.setdefault(sample.label, []).append(path)
    if len(by_step) < 2:
        return None
    rows = [by_step[min(by_step)], by_step[max(by_step)]]
    sheet = Image.new("RGB", (max(map(len, rows)) * ENLARGED, 2 * ENLARGED + GAP), "white")
    for row, paths in enumerate(rows):
        for column, path in enumerate(paths):
            with open_image(path, Image) as image:
                sheet.paste(image.resize((ENLARGED, ENLARGED), Image.Resampling.NEAREST), (column * ENLARGED, row * (ENLARGED + GAP)))
    target = run.folder / "before-after.png"
    try:
        sheet.save(target)
    except OSError as error:
        raise storage_error(error, target) from error
    return target
