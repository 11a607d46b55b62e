"""FLUX.1 as a model family."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fluxgym.contract.limits import MAX_SWAPPED
from fluxgym.contract.model_kinds import T5_LENGTHS
from library.config import ModelConfig, RateFlag
from library.errors import TrainerError
from library.models.family import (
    TRANSFORMER,
    BlockRunner,
    FamilyOf,
    LatentGeometry,
    LoRAPart,
    ModelSpec,
    Part,
    SamplingDefaults,
    StepInputs,
    TensorStore,
)
from library.models.flux1.layer_names import CLIP_PREFIX, FLUX_PREFIX, LAYER_NAMES, T5_PREFIX
from library.models.flux1.loading import empty_flux, load_flux, open_clip_l, open_flux, open_t5
from library.models.flux1.math import image_ids, pack_latents, text_ids, unpack_latents
from library.models.flux1.text_encoders import CLIP, T5, Flux1TextEncoders, encode_clip, load_text_encoders
from library.models.flux1.transformer import Flux
from library.models.flux1.vae import VAE, Z_CHANNELS, load_vae
from library.models.noise_shift import resolution_mu, shifted
from library.weights.model_files import fingerprint

SAMPLING_DEFAULTS = {"dev": SamplingDefaults(steps=50, guidance=3.5), "schnell": SamplingDefaults(steps=4, guidance=3.5)}
SPECS = {
    version: ModelSpec(
        base_model_version="flux1",
        model_type=version,
        architecture=f"flux-1-{version}",
        implementation="https://github.com/black-forest-labs/flux",
    )
    for version in ("dev", "schnell")
}
LORA_PARTS: Mapping[Part, LoRAPart] = {
    TRANSFORMER: LoRAPart(prefix=FLUX_PREFIX, log_name="unet", rate_flag=RateFlag.UNET),
    CLIP: LoRAPart(prefix=CLIP_PREFIX, log_name="textencoder", rate_flag=RateFlag.TEXT_ENCODER),
    T5: LoRAPart(prefix=T5_PREFIX, log_name="textencoder 2", rate_flag=RateFlag.TEXT_ENCODER, rate_index=1, switch="train_t5xxl"),
}
MIN_RESIDENT = 1  # blocks of each kind that stay on the device


class Flux1Family:
    """FLUX.1 dev or schnell."""

    name = "flux1"
    geometry = LatentGeometry(channels=Z_CHANNELS, pixels=8, patch=2)
    layer_names = LAYER_NAMES
    lora_parts = LORA_PARTS
    tokenized_parts = frozenset({CLIP})

    def __init__(self, version: str) -> None:
        self.version = version

    @property
    def spec(self) -> ModelSpec:
        """The names of this version in kohya's and Stability AI's metadata."""
        return SPECS[self.version]

    @property
    def sampling_defaults(self) -> SamplingDefaults:
        """Steps as BFL's scripts have them."""
        return SAMPLING_DEFAULTS[self.version]

    def empty_models(self, files: ModelConfig, parts: frozenset[Part]) -> dict[Part, nn.Module]:
        """Return these parts without weights, on the meta device. Reads headers only."""
        makers: dict[Part, Callable[[], nn.Module]] = {
            TRANSFORMER: lambda: empty_flux(open_flux(files.pretrained_model_name_or_path)[1]),
            CLIP: lambda: open_clip_l(files.clip_l)[1],
            T5: lambda: open_t5(files.t5xxl)[1],
        }
        return {part: make() for part, make in makers.items() if part in parts}

    def load_transformer(self, files: ModelConfig, store: TensorStore, dtype: torch.dtype) -> Flux:
        """Load the frozen transformer, tensor by tensor."""
        return load_flux(
            files.pretrained_model_name_or_path,
            dtype=dtype,
            device=store.device_of,
            prepare=lambda flux: store.prepare(flux, flux.blocks),
            mapped=not files.disable_mmap_load_safetensors,
        )

    def load_text_encoders(self, files: ModelConfig, store: TensorStore, dtype: torch.dtype) -> Flux1TextEncoders:
        """Load CLIP-L, T5 and both tokenizers. T5 takes as many tokens as the version was trained with unless the flags set another number."""
        return load_text_encoders(files, store, dtype, t5_length=files.t5xxl_max_token_length or T5_LENGTHS[self.version])

    def load_vae(self, files: ModelConfig, dtype: torch.dtype, device: torch.device) -> VAE:
        """Load the VAE."""
        return load_vae(files.ae, dtype=dtype, device=device, mapped=not files.disable_mmap_load_safetensors)

    def encode_text(self, encoders: Flux1TextEncoders, captions: Sequence[str], train: frozenset[Part]) -> dict[str, Tensor]:
        """Return T5's states `t5_out` (B, L, C), its mask `t5_mask` (B, L) if padding is masked, and for CLIP `clip_pooled` (B, V).

        If CLIP is trained, its token ids `clip_ids` (B, 77) replace its output.
        """
        states = encoders.states(list(captions), trains_t5=T5 in train)
        text = {"t5_out": states.context}
        text |= {"clip_ids": states.clip_ids} if CLIP in train else {"clip_pooled": states.pooled}
        return text if states.mask is None else text | {"t5_mask": states.mask}

    def finish_text(self, text: Mapping[str, Tensor], encoders: Flux1TextEncoders | None) -> dict[str, Tensor]:
        """Return the text with CLIP's pooled output, encoded from `clip_ids` if CLIP is trained."""
        if "clip_pooled" in text:
            return dict(text)
        assert encoders is not None, "CLIP's token ids need CLIP"
        return {**text, "clip_pooled": encode_clip(encoders.clip, text["clip_ids"])}

    def encode_image(self, vae: VAE, pixels_BCHW: Tensor, random: torch.Generator | None) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> shifted and scaled latents (B, 16, H/8, W/8), float32."""
        return vae.encode(pixels_BCHW.to(next(vae.parameters())), random).float()

    def decode_latents(self, vae: VAE, latents_BCHW: Tensor) -> Tensor:
        """(B, 16, h, w) -> (B, 3, 8h, 8w), float32."""
        return vae.decode(latents_BCHW.to(next(vae.parameters()))).float()

    def predict_velocity(self, transformer: Flux, inputs: StepInputs) -> Tensor:
        """(B, 16, H, W) -> (B, 16, H, W)."""
        context, device = inputs.text["t5_out"], inputs.noisy.device
        B, _, height, width = inputs.noisy.shape
        guidance = torch.full((B,), inputs.guidance, device=device) if transformer.params.guidance_embed else None
        tokens = pack_latents(inputs.noisy)
        if transformer.block_runner is not None and torch.is_grad_enabled():
            tokens.requires_grad_(True)
        velocity = transformer(
            tokens,
            image_ids(B, height, width, device),
            context,
            text_ids(B, context.shape[1], device),
            inputs.sigmas,
            inputs.text["clip_pooled"],
            guidance,
            inputs.text.get("t5_mask"),
        )
        return unpack_latents(velocity, height, width)

    def sampling_sigmas(self, steps: int, latent_size: tuple[int, int]) -> Tensor:
        """Return evenly spaced levels, for dev shifted by exp(mu) of the number of image tokens."""
        even = torch.linspace(1, 0, steps + 1)
        num_tokens = (latent_size[0] // self.geometry.patch) * (latent_size[1] // self.geometry.patch)
        return shifted(even, float(np.exp(resolution_mu(num_tokens)))) if self.version == "dev" else even

    def blocks(self, transformer: Flux) -> list[nn.Module]:
        """Return the double blocks, then the single blocks."""
        return transformer.blocks

    def swapped_blocks(self, transformer: Flux, count: int) -> list[nn.Module]:
        """Return the last count // 2 double blocks and the last 2 * (count - count // 2) single blocks: kohya's unit.

        A model smaller than FLUX.1 keeps at least MIN_RESIDENT blocks of each kind on the device.

        Raises:
            TrainerError: If `count` is more than MAX_SWAPPED.
        """
        if count > MAX_SWAPPED:
            raise TrainerError(
                f"--blocks_to_swap {count} is too many: at most {MAX_SWAPPED} is possible. {count} stands for {count // 2} double and "
                f"{2 * (count - count // 2)} single blocks; FLUX.1 has 19 and 38, and two of each must stay on the GPU."
            )
        swapped: list[nn.Module] = []
        for blocks, number in ((transformer.double_blocks, count // 2), (transformer.single_blocks, 2 * (count - count // 2))):
            swapped += list(blocks)[max(MIN_RESIDENT, len(blocks) - number) :]
        return swapped

    def run_blocks_with(self, transformer: Flux, runner: BlockRunner | None) -> None:
        """Let the transformer run its blocks with `runner` while gradients are computed."""
        transformer.block_runner = runner

    def text_cache_identity(self, files: ModelConfig, train: frozenset[Part]) -> tuple[object, ...]:
        """Return both encoders' fingerprints; a trained CLIP leaves token ids, which do not depend on its weights."""
        return fingerprint(files.t5xxl), "ids" if CLIP in train else fingerprint(files.clip_l)

    def image_cache_identity(self, files: ModelConfig) -> str:
        """Return the VAE's fingerprint."""
        return fingerprint(files.ae)


def is_flux1(files: ModelConfig) -> bool:
    """Return True if the transformer's file is FLUX.1's."""
    try:
        open_flux(files.pretrained_model_name_or_path)
    except TrainerError:
        return False
    return True


def open_flux1(files: ModelConfig) -> FamilyOf[Flux, Flux1TextEncoders, VAE]:
    """Return FLUX.1 in the version of the transformer's file, known by its guidance embedding.

    Raises:
        TrainerError: If the file is missing, damaged, or of another model.
    """
    _, params = open_flux(files.pretrained_model_name_or_path)
    return Flux1Family("dev" if params.guidance_embed else "schnell")
