"""The trainer's dataset on tiny models: built from a dataset.toml, with filled caches."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import tomli_w
import torch

from fluxgym.contract.files import CACHE_FOLDER
from library.config import ModelConfig, TrainerConfig
from library.data.dataset import TrainingData, build_dataset
from library.data.dataset_toml import read_datasets
from library.errors import warn
from library.models.family import DeviceStore
from library.models.flux1.family import Flux1Family
from library.models.flux1.text_encoders import CLIP, Flux1TextEncoders
from library.models.flux1.vae import VAE
from tests.support.tiny_models import write_tiny_models
from tests.support.trainer_config import trainer_config

FAMILY = Flux1Family("dev")
SUBSET_TOML = '[[datasets.subsets]]\nimage_dir = "CATS"\n'  # a test replaces CATS by its folder
CACHED = {
    "cache_latents": True, "cache_latents_to_disk": True, "cache_text_encoder_outputs": True, "cache_text_encoder_outputs_to_disk": True,
}  # fmt: skip


@cache
def shared_models() -> Path:
    """Write the tiny models once per process, for tests that do not change them."""
    folder = Path(tempfile.mkdtemp(prefix="tiny-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return write_tiny_models(folder)


def make_data(models: Path, toml: Path, subsets: list[dict], *, dataset: dict | None = None, **flags) -> TrainingData:
    """Write a dataset.toml of one 64-pixel data set and build it; flags stand in for the command line's."""
    table = {"resolution": 64, "batch_size": 2} | (dataset or {}) | {"subsets": subsets}
    toml.write_text(tomli_w.dumps({"datasets": [table]}))
    files = {flag: str(models / f"{flag}.safetensors") for flag in ("ae", "clip_l", "t5xxl")}
    return data_of(trainer_config(**{"dataset_config": toml} | files | flags))


def data_of(config: TrainerConfig) -> TrainingData:
    """Read the data sets of a configuration, print their warnings, and index their images."""
    return build_dataset(config, read_datasets(config.data, warn), warn)


def fill(data: TrainingData) -> list[tuple[int, int]]:
    """Fill the caches and return the reported progress."""
    model, reports = data.config.model, []
    vae, encoders = _encoders(model.ae, model.clip_l, model.t5xxl)
    data.cache_latents(FAMILY, vae, lambda *at: reports.append(at))
    data.cache_text(FAMILY, encoders, frozenset({CLIP}), lambda *at: reports.append(at))
    return reports


@cache
def _encoders(ae: str, clip_l: str, t5xxl: str) -> tuple[VAE, Flux1TextEncoders]:
    """Load the VAE and text encoders once; a test that changes a model writes another file."""
    files = ModelConfig(pretrained_model_name_or_path="", ae=ae, clip_l=clip_l, t5xxl=t5xxl)
    store = DeviceStore("cpu")
    return FAMILY.load_vae(files, torch.float32, store.device), FAMILY.load_text_encoders(files, store, torch.float32)


def cache_files(folder: Path) -> dict[str, int]:
    """Return the modification time of each cache file of an image folder."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / CACHE_FOLDER).glob("*.safetensors")}
