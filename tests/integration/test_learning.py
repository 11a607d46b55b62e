"""Training works: over its epochs each kind of network and each optimizer brings samples of the trigger nearer to the training photos.

Measured on the trainer's own samples with fixed seeds: the distance of their latents to the nearest training photo's, beside that of the base's
samples; an untrained network leaves it where it was. FLUXGYM_TEST_LEARNING=all tries every case and, with -s, prints a table.
"""

import os
import subprocess
from pathlib import Path

import pytest

from fluxgym.app_settings import Settings
from fluxgym.dataset.example import TRIGGER, write_example
from fluxgym.planning.plan import plan
from fluxgym.runs.paths import RunPaths
from pocket.gallery import Gallery
from tests.support.pocket_latents import latents_of
from tests.support.pocket_measures import nearest_rms

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
EPOCHS, STAGES = 8, 2  # ten steps per epoch; samples before the first, after the half and after the last
SCHEDULE_FREE = ["--optimizer_args", "weight_decay=0.0"]
CASES = {
    "LoKr": ["--network_module", "lycoris.kohya", "--network_args", "algo=lokr", "factor=4", "--learning_rate", "1e-2"],
    "AdamW8bit, the blocks alone": ["--network_train_unet_only"],
    "AdamW": ["--optimizer_type", "AdamW"],
    "AdamW8bit": [],
    "Adafactor": [
        "--optimizer_type", "Adafactor", "--optimizer_args", "relative_step=False", "scale_parameter=False", "warmup_init=False",
    ],
    "Lion": ["--optimizer_type", "Lion", "--learning_rate", "3e-4"],
    "Prodigy": ["--optimizer_type", "Prodigy", "--learning_rate", "1", "--optimizer_args", "d_coef=2.0", "d0=1e-3"],
    "AdamW schedule-free": ["--optimizer_type", "AdamWScheduleFree", "--learning_rate", "4e-3", *SCHEDULE_FREE],
    "AdamW with an average": ["--optimizer_type", "AdamW", "--ema_decay", "0.9"],
    "LoKr, the blocks alone": [
        "--network_module", "lycoris.kohya", "--network_args", "algo=lokr", "factor=4", "--network_train_unet_only", "--learning_rate", "4e-3",
    ],
}  # fmt: skip
SHORT = ["LoKr"]
TRIED = list(CASES) if os.environ.get("FLUXGYM_TEST_LEARNING") == "all" else SHORT


def replaced(argv: list[str], changes: list[str]) -> list[str]:
    """Return a command line with some flags and their values in place of those of the same names."""
    words = list(argv)
    for flag in [word for word in changes if word.startswith("--")]:
        if flag in words:
            begin = words.index(flag)
            end = next((index for index in range(begin + 1, len(words)) if words[index].startswith("--")), len(words))
            del words[begin:end]
    return words + changes


def trained(folder: Path, changes: list[str]) -> RunPaths:
    """Train the example with the pocket's defaults but for some flags, drawing the trigger before, at the half and at the end."""
    state = {
        "lora_name": "cat", "base_model": "pocket", "seed": 1, "concept_sentence": TRIGGER, "max_train_epochs": EPOCHS,
        "advanced": {"sample_every_n_epochs": EPOCHS // STAGES, "sample_at_first": True}, "sample_every_n_steps": 0,
    }  # fmt: skip
    run = RunPaths(folder / "cat")
    run.folder.mkdir(parents=True)
    write_example(run.dataset)
    planned = plan(state, run.dataset, Settings(outputs=folder, models=MODELS, sd_scripts=ROOT / "sd-scripts"))
    run.dataset_toml.write_text(planned.dataset_toml)
    run.sample_prompts.write_text("".join(f"{TRIGGER} --w 64 --h 64 --d {seed}\n" for seed in range(1, 9)))
    done = subprocess.run(replaced(list(planned.launch_spec().argv), changes), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return run


@pytest.fixture(scope="module", name="gallery")
def fixture_gallery():
    return Gallery(MODELS / "pocket")


@pytest.fixture(scope="module", name="photos")
def fixture_photos(gallery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_example(folder)
    return latents_of(gallery, folder)


def distances(run: RunPaths, gallery: Gallery, photos, folder: Path) -> list[float]:
    """Return the samples' mean distance to the nearest photo, stage by stage."""
    stages: dict[str, list[Path]] = {}
    for path in sorted(run.samples.glob("*.png")):
        stages.setdefault(path.name.removeprefix("cat_").split("_")[0], []).append(path)
    found = []
    for stage in sorted(stages, key=lambda name: name.removeprefix("e")):
        (folder / stage).mkdir(parents=True)
        for path in stages[stage]:
            (folder / stage / path.name).symlink_to(path)
        found.append(nearest_rms(latents_of(gallery, folder / stage), photos).mean().item())
    return found


@pytest.mark.parametrize("case", TRIED)
def test_samples_get_closer_to_photos_over_epochs(case, gallery, photos, tmp_path):
    if "lycoris.kohya" in CASES[case]:
        pytest.importorskip("lycoris")
    before, half, end = distances(trained(tmp_path, CASES[case]), gallery, photos, tmp_path / "stages")
    print(f"| {case} | {before:.3f} | {half:.3f} | {end:.3f} | {end / before:.2f} |")
    assert half < before
    assert end < 0.95 * before
