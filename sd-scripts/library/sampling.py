"""Sample images while training: kohya's prompt lines, FLUX's Euler schedule, PNG files in `sample/`.

Owns prompts, the schedule and the files. Leaves no trace in the training: its noise comes from generators of its own.
"""

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fluxgym.contract.files import SAMPLE_FOLDER, sample_name
from library.errors import TrainerError
from library.models.flux1.math import image_ids, pack_latents, resolution_mu, shifted, text_ids, unpack_latents
from library.models.flux1.transformer import Flux
from library.models.flux1.vae import VAE
from library.randomness import derived_seed

FLAGS = {
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "s": ("sample_steps", int),
    "g": ("guidance_scale", float),
    "l": ("scale", float),
    "n": ("negative_prompt", str),
}
SAMPLER = "ss"
RANGES = {
    "width": (1, 8192), "height": (1, 8192), "seed": (0, 2**63 - 1), "sample_steps": (1, 1000), "guidance_scale": (0, 100), "scale": (0, 100),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SamplePrompt:
    """One image to draw; names are kohya's. scale is the classifier-free guidance, 1 is off."""

    prompt: str
    width: int = 512
    height: int = 512
    seed: int | None = None
    sample_steps: int = 20
    guidance_scale: float = 3.5
    scale: float = 1.0
    negative_prompt: str = ""

    def on_grid(self) -> "SamplePrompt":
        """Floor the size to whole 16 pixels, at least 64, as kohya does."""
        return replace(self, width=max(64, self.width // 16 * 16), height=max(64, self.height // 16 * 16))


@dataclass(frozen=True)
class Conditioning:
    """A prompt's text as the transformer takes it: (1, L, C) states, (1, V) pooled, and (1, L) mask if padding is not to be seen."""

    context: Tensor
    pooled: Tensor
    mask: Tensor | None = None


def read_prompts(path: str) -> list[SamplePrompt]:
    """Read prompts from a .txt (one a line, # comments), .toml or .json file; raises TrainerError naming file and line."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TrainerError(f"--sample_prompts {path} is missing.") from None
    except UnicodeDecodeError:
        raise TrainerError(f"--sample_prompts {path} is not UTF-8 text.") from None
    except OSError as error:
        raise TrainerError(f"--sample_prompts {path} cannot be read: {error.strerror}.") from None
    if file.suffix in (".json", ".toml"):
        return [_from_table(table, f"{path}, prompt {number}") for number, table in enumerate(_tables_of(text, file), 1)]
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return [parse_line(line, f"{path}, line {number}") for number, line in lines if line and not line.startswith("#")]


def parse_line(line: str, place: str = "the prompt") -> SamplePrompt:
    """Read `a prompt --w 512 --d 1`; flags as in kohya. Raises TrainerError for a flag it does not know or a value that does not fit."""
    prompt, *parts = re.split(r" --(?=\w)", line)
    values: dict[str, Any] = {}
    for part in parts:
        flag, _, value = part.strip().partition(" ")
        if flag == SAMPLER:
            continue  # FLUX is always sampled by Euler steps, as --sample_sampler is told
        if flag not in FLAGS:
            raise TrainerError(f"{place}: --{flag} is not supported in sample prompts; known: {', '.join('--' + name for name in FLAGS)}.")
        name, kind = FLAGS[flag]
        try:
            values[name] = kind(value.strip())
        except ValueError:
            raise TrainerError(f"{place}: --{flag} {value} is not a number.") from None
        if name in RANGES and not RANGES[name][0] <= values[name] <= RANGES[name][1]:
            raise TrainerError(f"{place}: --{flag} {value} must lie between {RANGES[name][0]} and {RANGES[name][1]}.")
    return SamplePrompt(prompt=prompt.strip(), **values).on_grid()


def _tables_of(text: str, file: Path) -> list[Any]:
    """Return the prompts of a .json or .toml file as tables; raises TrainerError for one of another form."""
    try:
        found = json.loads(text) if file.suffix == ".json" else tomllib.loads(text).get("prompt", {})
    except (ValueError, RecursionError) as error:
        raise TrainerError(f"--sample_prompts {file} cannot be read: {error}") from None
    if isinstance(found, dict) and file.suffix == ".toml":
        shared = {key: value for key, value in found.items() if key != "subset"}
        subsets = found.get("subset", [shared] if shared else [])
        found = [shared | table if isinstance(table, dict) else table for table in subsets] if isinstance(subsets, list) else None
    if not isinstance(found, list):
        raise TrainerError(f"--sample_prompts {file} must hold a list of tables, each with a prompt.")
    return found


def _from_table(table: Any, place: str) -> SamplePrompt:
    """Make a prompt of a table; raises TrainerError naming the key that no prompt has, or whose value does not fit."""
    kinds = dict(FLAGS.values()) | {"prompt": str}
    if not isinstance(table, dict) or "prompt" not in table:
        raise TrainerError(f"{place} must be a table with a prompt.")
    for name, value in table.items():
        if name not in kinds:
            raise TrainerError(f"{place}: {name} is not known; known: {', '.join(kinds)}.")
        odd = isinstance(value, bool) or not isinstance(value, (int, float) if kinds[name] is float else kinds[name])
        if odd or (name in RANGES and not RANGES[name][0] <= value <= RANGES[name][1]):
            wanted = f"a number from {RANGES[name][0]} to {RANGES[name][1]}" if name in RANGES else "a text"
            raise TrainerError(f"{place}: {name} must be {wanted}{', whole' if kinds[name] is int else ''}, not {value!r}.")
    return SamplePrompt(**table).on_grid()


def schedule(num_steps: int, num_tokens: int, *, is_dev: bool) -> Tensor:
    """Return the noise levels from 1 to 0: (num_steps + 1,); dev's are shifted by exp(mu) of the resolution, schnell's are even."""
    even = torch.linspace(1, 0, num_steps + 1)
    return shifted(even, float(np.exp(resolution_mu(num_tokens)))) if is_dev else even


def sample_latents(
    flux: Flux,
    prompt: SamplePrompt,
    words: Conditioning,
    negative_embeds: Conditioning | None,
    noise: Tensor,
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """Integrate from noise to an image's latents by Euler steps: (1, 16, H, W) -> the same, float32.

    `no_words` turns classifier-free guidance on. `check` is called before every step and may raise.
    """
    height, width = noise.shape[-2:]
    device = next(flux.parameters()).device
    x = pack_latents(noise).to(device)
    ids = image_ids(1, height, width, device)
    levels = schedule(prompt.sample_steps, x.shape[1], is_dev=flux.params.guidance_embed)
    guidance = torch.full((1,), prompt.guidance_scale, device=device) if flux.params.guidance_embed else None
    for now, after in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
        check()
        time = torch.full((1,), now, device=device)

        def velocity(text: Conditioning, x: Tensor = x, time: Tensor = time) -> Tensor:
            places = text_ids(1, text.context.shape[1], device)
            return flux(x, ids, text.context, places, time, text.pooled, guidance, text.mask).float()

        v = velocity(words)
        if negative_embeds is not None:
            unguided = velocity(negative_embeds)
            v = unguided + prompt.scale * (v - unguided)
        x = x + (after - now) * v
    return unpack_latents(x, height, width)


def initial_noise(prompt: SamplePrompt, index: int, seed: int | None) -> Tensor:
    """Draw a prompt's starting noise (1, 16, H/8, W/8): from its own seed, else from the run's seed and its place in the list."""
    own = prompt.seed if prompt.seed is not None else derived_seed(seed or 0, "sample", index)
    return torch.randn(1, 16, prompt.height // 8, prompt.width // 8, generator=torch.Generator().manual_seed(own))


def to_image(vae: VAE, latents: Tensor) -> Image.Image:
    """Decode (1, 16, h, w) latents into an image."""
    parameter = next(vae.parameters())
    pixels = vae.decode(latents.to(parameter)).float().clamp(-1, 1)[0].permute(1, 2, 0)
    return Image.fromarray(((pixels + 1) * 127.5).round().byte().cpu().numpy())


def sample_path(output_dir: str, name: str, place: str, index: int, seed: int | None) -> Path:
    """Return kohya's file name of a sample; place is a step "000120" or an epoch "e000004"."""
    stamp = datetime.now().strftime("%Y%m%d%H%M%S")
    return Path(output_dir) / SAMPLE_FOLDER / sample_name(name, place, index, stamp=stamp, seed=seed)
