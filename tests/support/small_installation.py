"""An installation for tests: outputs, model files of a few bytes, and a small program as the trainer."""

import contextlib
import json
import struct
from pathlib import Path

from fluxgym.app_settings import Settings
from fluxgym.errors import SessionError
from fluxgym.runs.paths import RunPaths
from fluxgym.sessions.control import stop, wait_until_ended
from fluxgym.sessions.start import StartRequest, start
from tests.support.photos import write_cats
from tests.support.runs import PRELUDE

TRAINER = (
    PRELUDE.replace("folder, name = sys.argv[1], sys.argv[2]", "")
    + """
import argparse, hashlib
parser = argparse.ArgumentParser()
for flag in ("output_dir", "output_name", "resume", "max_train_epochs"): parser.add_argument(f"--{flag}")
args, rest = parser.parse_known_args()
folder, name = args.output_dir, args.output_name
total, per_epoch = int(os.environ.get("TEST_STEPS", "8")), 2
step = json.load(open(f"{args.resume}/manifest.json"))["step"] if args.resume else 0
def save():
    state = f"{folder}/{name}-step{step:08d}-state"
    os.makedirs(state, exist_ok=True)
    open(f"{state}/model.safetensors", "wb").write(b"w")
    files = {"model.safetensors": {"bytes": 1, "sha256": hashlib.sha256(b"w").hexdigest()}}
    json.dump({"files": files, "step": step, "epoch": 0, "total_steps": total, "run_id": ""}, open(f"{state}/manifest.json", "w"))
def stop(*_):
    save()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
while step < total:
    while os.path.exists(f"{folder}/hold") or os.path.exists(f"{os.environ.get('TEST_HOLD')}/{name}"): time.sleep(0.01)
    step += 1
    progress(step, total, loss=1 / step, s_per_it=0.01, epoch=1)
lora()
"""
)


def write_safetensors(path: Path, num_bytes: int = 16) -> None:
    """Write a complete .safetensors file with one tensor of zeros."""
    header = json.dumps({"x": {"dtype": "U8", "shape": [num_bytes], "data_offsets": [0, num_bytes]}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(num_bytes))


def small_installation(folder: Path) -> Settings:
    """Make the folders of the app: models with a pocket model of zeros, and a trainer that only counts steps."""
    for name in ("flux", "ae", "clip_l", "t5xxl"):
        write_safetensors(folder / "models" / "pocket" / f"{name}.safetensors")
    for name in ("tokenizer_clip", "tokenizer_t5"):
        (folder / "models" / "pocket" / name).mkdir()
    write_cats(folder / "models" / "pocket" / "prior", count=2, size=64, caption="a photo")
    (folder / "sd-scripts").mkdir()
    (folder / "sd-scripts" / "flux_train_network.py").write_text(TRAINER)
    return Settings(outputs=folder / "outputs", models=folder / "models", sd_scripts=folder / "sd-scripts")


def state(**changes: object) -> dict[str, object]:
    """Return settings whose training of 4 images has 8 steps, as many as the small trainer does."""
    plain = {"lora_name": "My Cat", "concept_sentence": "sks cat", "base_model": "pocket", "num_repeats": 2, "max_train_epochs": 1}
    advanced = {"reg_data_dir": "", "train_batch_size": 1, "enable_bucket": False}
    return plain | {"advanced": advanced} | changes


def write_one_tensor(path: Path, name: str) -> None:
    """Write a .safetensors file whose only tensor has the given name."""
    header = json.dumps({name: {"dtype": "U8", "shape": [1, 1], "data_offsets": [0, 1]}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0")


def start_run(settings: Settings, images: Path, if_exists: str | None = None, **changes: object) -> RunPaths:
    """Start a run from the settings of `state`, with changes."""
    return start(StartRequest(state=state(**changes), images=images, if_exists=if_exists), settings)


def stop_and_wait(run: RunPaths) -> None:
    """Stop a run immediately, unless it has already ended, and wait for its end."""
    with contextlib.suppress(SessionError):
        stop(run, now=True)
    wait_until_ended(run)
