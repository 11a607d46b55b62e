"""Compare two checkouts of the trainer to the bit: `python -m bench compare_versions OLD NEW [CONFIGURATION ...]`.

Both trainers run the same command lines on the same machine, over the pocket model of OLD and four photos. Each configuration trains a few steps.
LoRA files, checkpoints, LoRA metadata and losses must be equal. The part `resume` stops a training with SIGTERM and resumes it in both checkouts.
The part `cross` resumes the checkpoint of OLD with NEW and compares the result with OLD's uninterrupted training.

All runs use the same paths, so that a path in a file cannot differ. Only times and session ids are ignored. The exit code is 1 on a difference.
Hashes differ between kinds of CPU, so no result is stored.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open

MODEL_FILES = {"pretrained_model_name_or_path": "flux", "ae": "ae", "clip_l": "clip_l", "t5xxl": "t5xxl"}
CACHED_TEXT = ("--cache_text_encoder_outputs", "--cache_text_encoder_outputs_to_disk")
IGNORED_METADATA = {"ss_training_started_at", "ss_training_finished_at", "ss_session_id", "modelspec.date", "format"}
IGNORED_PROGRESS = {"time", "s_per_it", "rss_mb", "vram_mb", "pid"}
LORA = "cat.safetensors"
STOP_AT, LIMIT_S, POLL_S = 2, 300, 0.02
SMALL = ("train_double_block_indices=0", "train_single_block_indices=0-1")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Flags on top of the common ones; `subset` are keys of the data set's subset."""

    flags: Sequence[str] = ()
    subset: dict[str, Any] = field(default_factory=dict)
    caches_text: bool = True
    uses_masks: bool = False


CONFIGURATIONS = {
    "lora": Configuration(flags=("--network_args", *SMALL, "--optimizer_type", "adamw8bit", "--noise_offset", "0.05")),
    "lycoris": Configuration(
        flags=("--network_module", "lycoris.kohya", "--network_args", "algo=lokr", "--network_train_unet_only", "--optimizer_type", "adamw")
    ),
    "dropout": Configuration(
        flags=(
            "--network_dropout", "0.1", "--network_args", "rank_dropout=0.2", "module_dropout=0.2", "--scale_weight_norms", "1",
            "--ip_noise_gamma", "0.1",
        ),
    ),
    "ema": Configuration(
        flags=("--ema_decay", "0.9", "--lr_scheduler", "cosine", "--network_args", *SMALL),
        subset={"flip_aug": True, "shuffle_caption": True, "caption_dropout_rate": 0.2}, caches_text=False,
    ),
    "schedule_free": Configuration(flags=("--optimizer_type", "AdamWScheduleFree", "--network_args", *SMALL)),
    "fp8_base": Configuration(
        flags=(
            "--fp8_base", "--mixed_precision", "bf16", "--save_precision", "bf16", "--gradient_checkpointing", "--network_args", *SMALL,
            "--optimizer_type", "adafactor", "--optimizer_args", "relative_step=False", "scale_parameter=False", "warmup_init=False",
            "--lr_scheduler", "constant_with_warmup", "--max_grad_norm", "0.0",
        ),
    ),
    "int8_base": Configuration(flags=("--base_quantization", "int8", "--mixed_precision", "bf16", "--network_args", *SMALL)),
    "masks": Configuration(flags=("--masked_loss", "--network_args", *SMALL), uses_masks=True),
    "validation": Configuration(
        flags=("--validation_split", "0.25", "--validation_seed", "5", "--validate_every_n_steps", "2", "--network_args", *SMALL)
    ),
    "t5": Configuration(
        flags=("--network_args", "train_t5xxl=True", *SMALL, "--text_encoder_lr", "1e-3", "1e-4", "--gradient_accumulation_steps", "2"),
        caches_text=False,
    ),
}  # fmt: skip
RESUMED = "dropout"


class Bench:
    """A folder with models and images, in which one checkout after the other runs at the same paths."""

    def __init__(self, folder: Path, old: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        shutil.copytree(old / "models" / "pocket", folder / "models")
        self._write_images()

    def _write_images(self) -> None:
        from PIL import Image

        from tests.support.photos import write_cats

        write_cats(self.folder / "images", count=4, size=64)
        (self.folder / "masks").mkdir()
        for index, path in enumerate(sorted((self.folder / "images").glob("*.png"))):
            mask = Image.new("L", (64, 64), 0)
            mask.paste(255, (0, 0, 24 + 8 * index, 48))
            mask.save(self.folder / "masks" / path.name)

    def argv(self, checkout: Path, configuration: Configuration) -> list[str]:
        """Return the trainer's command line and write its dataset.toml."""
        import tomli_w

        masks = {"conditioning_data_dir": str(self.folder / "masks")} if configuration.uses_masks else {}
        subset = {"image_dir": str(self.folder / "images"), "num_repeats": 1, "caption_extension": ".txt", **masks, **configuration.subset}
        dataset = self.folder / "dataset.toml"
        dataset.write_text(tomli_w.dumps({"datasets": [{"resolution": 64, "batch_size": 1, "subsets": [subset]}]}), encoding="utf-8")
        models = [word for flag, name in MODEL_FILES.items() for word in (f"--{flag}", str(self.folder / "models" / f"{name}.safetensors"))]
        flags = configuration.flags
        network = [] if "--network_module" in flags else ["--network_module", "networks.lora_flux"]
        return [
            sys.executable, str(checkout / "sd-scripts" / "flux_train_network.py"), *models, "--dataset_config", str(dataset), "--output_dir",
            str(self.out), "--output_name", "cat", "--seed", "7", *network, "--network_dim", "2", "--learning_rate", "1e-2",
            "--max_train_epochs", "1", "--save_every_n_steps", "2", "--save_state", "--cache_latents", "--cache_latents_to_disk",
            *(CACHED_TEXT if configuration.caches_text else ()), "--timestep_sampling", "shift", "--model_prediction_type", "raw",
            "--guidance_scale", "1.0", "--max_data_loader_n_workers", "1", *flags,
        ]  # fmt: skip

    def run(self, argv: list[str], *, stop_at: int | None = None) -> None:
        """Run a trainer to its end, or until SIGTERM after a step.

        Raises:
            RuntimeError: With the end of its output if it fails.
        """
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(argv, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
            deadline = time.monotonic() + LIMIT_S
            while process.poll() is None and time.monotonic() < deadline:
                if stop_at is not None and any(step >= stop_at for step in _losses(self.out)):
                    process.send_signal(signal.SIGTERM)
                    break
                time.sleep(POLL_S)
            else:
                process.kill()
            code = process.wait(timeout=LIMIT_S)
            log.seek(0)
            if code != (0 if stop_at is None else 143):
                raise RuntimeError(f"the trainer ended with {code}:\n{log.read()[-2000:].decode(errors='replace')}")

    def keep(self, name: str) -> Path:
        """Move the outputs out of the way; returns where they are."""
        kept = self.folder / "kept" / name
        kept.parent.mkdir(exist_ok=True)
        self.out.rename(kept)
        return kept

    def train(self, checkout: Path, name: str, who: str) -> Path:
        """Train one configuration without a break; returns the outputs."""
        shutil.rmtree(self.folder / "images" / ".fluxgym-cache", ignore_errors=True)  # so that each checkout encodes for itself
        self.run(self.argv(checkout, CONFIGURATIONS[name]))
        return self.keep(f"{name}-{who}")

    def train_with_stop(self, first: Path, second: Path, who: str) -> Path:
        """Stop a training of one checkout and resume it with another; returns the outputs."""
        self.run(self.argv(first, CONFIGURATIONS[RESUMED]), stop_at=STOP_AT)
        checkpoint = _furthest(self.out)
        self.run([*self.argv(second, CONFIGURATIONS[RESUMED]), "--resume", str(checkpoint)])
        return self.keep(f"stopped-{who}")


def _furthest(out: Path) -> Path:
    steps = {json.loads(path.read_text(encoding="utf-8"))["step"]: path.parent for path in out.glob("*-state/manifest.json")}
    if not steps:
        raise RuntimeError("the stopped training left no checkpoint")
    return steps[max(steps)]


def _losses(out: Path) -> dict[int, Any]:
    """Return the lines of progress.jsonl that have a loss, without times and sizes."""
    path, found = out / "progress.jsonl", {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        if line.endswith("}") and '"loss"' in line:
            values = {key: value for key, value in json.loads(line).items() if key not in IGNORED_PROGRESS | {"attempt", "phase"}}
            found.setdefault(values["step"], {}).update(values)
    return found


def differences(old: Path, new: Path, *, files: str = "**/*") -> list[str]:
    """Return one sentence for each difference between two folders of outputs."""
    names = [{str(path.relative_to(out)) for path in out.glob(files) if path.suffix in (".safetensors", ".json")} for out in (old, new)]
    found = [f"only one of the two has {name}" for name in sorted(names[0] ^ names[1])]
    found += [] if LORA in names[0] else [f"the reference has no {LORA}"]
    for name in sorted(names[0] & names[1]):
        compare = _compare_tensors if name.endswith(".safetensors") else _compare_json
        found += [f"{name}: {what}" for what in compare(old / name, new / name)]
    first, second = _losses(old), _losses(new)
    found += [] if first else ["the reference has no losses"]
    return found + [
        f"step {step}: {first.get(step)} and {second.get(step)}" for step in first | second if first.get(step) != second.get(step)
    ]


def _compare_tensors(old: Path, new: Path) -> list[str]:
    with safe_open(old, framework="pt") as a, safe_open(new, framework="pt") as b:
        metadata = [file.metadata() or {} for file in (a, b)]
        found = [f"metadata {key}" for key in _unequal(*metadata) if key not in IGNORED_METADATA]
        found += [f"only one has the tensor {key}" for key in set(a.keys()) ^ set(b.keys())]
        for key in set(a.keys()) & set(b.keys()):
            x, y = a.get_tensor(key), b.get_tensor(key)
            if x.dtype != y.dtype or x.shape != y.shape or _raw(x) != _raw(y):
                found.append(f"tensor {key}")
    return found


def _raw(tensor: Any) -> bytes:
    import torch

    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


def _compare_json(old: Path, new: Path) -> list[str]:
    return _unequal(*(_comparable(json.loads(path.read_text(encoding="utf-8"))) for path in (old, new)))


def _comparable(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"value": value}


def _unequal(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    missing = object()
    return [str(key) for key in old | new if repr(old.get(key, missing)) != repr(new.get(key, missing))]


def compare(old: Path, new: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Run the named parts; returns the differences of each. A stop adds checkpoints, so there only the result and the losses are comparable."""
    results: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        bench = Bench(Path(folder), old)
        kept = {}
        for name in [name for name in CONFIGURATIONS if name in names or (name == RESUMED and {"resume", "cross"} & set(names))]:
            kept[name] = [bench.train(old, name, "old"), bench.train(new, name, "new")]
            results[name] = _report(name, differences(*kept[name]))
        if "resume" in names:
            stopped = [bench.train_with_stop(checkout, checkout, who) for checkout, who in ((old, "old"), (new, "new"))]
            found = differences(kept[RESUMED][0], stopped[0], files=LORA) + differences(*stopped, files=LORA)
            results["resume"] = _report("resume", found)
        if "cross" in names:
            crossed = bench.train_with_stop(old, new, "cross")
            results["cross"] = _report("cross", differences(kept[RESUMED][0], crossed, files=LORA))
    return results


def _report(name: str, found: list[str]) -> list[str]:
    print(f"{name:15} {'equal' if not found else f'{len(found)} differences'}", flush=True)
    for sentence in found[:5]:
        print(f"    {sentence}", flush=True)
    return found


def main(argv: Sequence[str]) -> int:
    """Compare the two checkouts; returns 1 if anything differs, else 0."""
    parser = argparse.ArgumentParser(prog="python -m bench compare_versions", description=__doc__)
    parser.add_argument("old", type=Path, help="the reference checkout")
    parser.add_argument("new", type=Path, help="the checkout to check")
    parser.add_argument("names", nargs="*", metavar="CONFIGURATION", help=f"{', '.join(CONFIGURATIONS)}, resume, cross (default: all)")
    args = parser.parse_args(argv)
    every = [*CONFIGURATIONS, "resume", "cross"]
    if unknown := set(args.names) - set(every):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    results = compare(args.old.resolve(), args.new.resolve(), args.names or every)
    print("\n| part | result |\n|---|---|")
    for name, found in results.items():
        print(f"| {name} | {'equal' if not found else '; '.join(found[:2])} |")
    return 1 if any(results.values()) else 0
