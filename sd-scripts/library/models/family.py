"""The interface of a model family: what training and sampling need from a model, so that another model is one folder beside flux1/.

A family knows its files, its text encoders, its latents and its transformer's inputs. It imports nothing of library.placement: a TensorStore
decides where each tensor is kept, and a BlockRunner how a block is run. Shape suffixes: B batch, C channels, H W height and width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NewType, Protocol, TypeVar

import torch
from torch import Tensor, nn

from library.config import ModelConfig, RateFlag
from library.models.layer_names import LayerNames
from library.weights.model_files import StoreTensor

Part = NewType("Part", str)  # a model of the family that a LoRA can train; the text encoders' names are the family's own
TRANSFORMER = Part("transformer")


@dataclass(frozen=True, kw_only=True)
class LoRAPart:
    """How kohya's flags and files name a model that a LoRA can train.

    Attributes:
        prefix: How the names of its modules begin, such as "lora_te1".
        log_name: Its name in logs of learning rates.
        rate_flag: The flag with its learning rate.
        rate_index: The index of its learning rate in the values of that flag.
        switch: The key of --network_args without which it is not trained; None if the flags decide alone.
    """

    prefix: str
    log_name: str
    rate_flag: RateFlag
    rate_index: int = 0
    switch: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What the metadata of a LoRA says about the model that it changes.

    Attributes:
        base_model_version: kohya's ss_base_model_version.
        model_type: kohya's ss_model_type.
        architecture: The model's modelspec.architecture.
        implementation: modelspec.implementation.
    """

    base_model_version: str
    model_type: str
    architecture: str
    implementation: str

    @property
    def lora_architecture(self) -> str:
        """The modelspec.architecture of a LoRA."""
        return f"{self.architecture}/lora"


@dataclass(frozen=True, kw_only=True)
class LatentGeometry:
    """The shape of latents: channels, image pixels along one side of a latent pixel, latent pixels along one side of a token."""

    channels: int
    pixels: int
    patch: int

    def latent_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the latents' (height, width) for an image of width x height pixels."""
        return height // self.pixels, width // self.pixels


@dataclass(frozen=True, kw_only=True)
class SamplingDefaults:
    """What sampling uses where nothing else is requested: the number of Euler steps and the guidance that the model embeds."""

    steps: int
    guidance: float


@dataclass(frozen=True, kw_only=True)
class StepInputs:
    """The inputs of one prediction.

    `noisy` are latents (B, C, H, W), `sigmas` noise levels (B,) in [0, 1] with 1 for pure noise, `text` the tensors of finish_text, `guidance` the
    scale that a distilled model embeds.
    """

    noisy: Tensor
    sigmas: Tensor
    text: Mapping[str, Tensor]
    guidance: float


class TensorStore(Protocol):
    """Where the tensors of one model are kept, and in which form. Implemented in library.placement.layout.

    `device` is the device that computes.
    """

    device: torch.device

    def prepare(self, model: nn.Module, blocks: Sequence[nn.Module]) -> StoreTensor | None:
        """Decide about an empty model; return how some of its tensors are stored, None if as they are."""

    def device_of(self, name: str) -> torch.device:
        """Return where a tensor is kept."""

    def finish(self, model: nn.Module, blocks: Sequence[nn.Module]) -> None:
        """Set up a filled model."""


class DeviceStore:
    """A TensorStore that keeps every tensor on one device, as it is in the file."""

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)

    def prepare(self, model: nn.Module, blocks: Sequence[nn.Module]) -> StoreTensor | None:
        """Return None: tensors are stored as they are."""
        return None

    def device_of(self, name: str) -> torch.device:
        """Return the device."""
        return self.device

    def finish(self, model: nn.Module, blocks: Sequence[nn.Module]) -> None:
        """Do nothing."""


class BlockRunner(Protocol):
    """Runs a block of a transformer while gradients are computed, for instance under gradient checkpointing."""

    def __call__(self, block: nn.Module, *args: Any, product_bytes: int) -> Any:
        """Return block(*args). `product_bytes` is what the results of all blocks' matrix products take at this input size."""


class TextEncoders(Protocol):
    """The text encoders of a family with their tokenizers."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision that captions are encoded in."""

    @property
    def variant(self) -> object:
        """How captions are encoded, where the flags change it: a part of cache keys."""

    def parts(self) -> dict[Part, nn.Module]:
        """Return the encoders that are in memory."""

    def token_ids(self, caption: str) -> tuple[object, ...]:
        """Return a caption's tokens: what a cache key contains besides the caption, since tokenizers differ."""

    def lengths(self, captions: Mapping[str, str]) -> tuple[dict[str, int], int]:
        """Return the number of tokens of captions by image, and the number of tokens that is read of each."""

    def release(self, keep: frozenset[Part]) -> None:
        """Free every encoder that is not in `keep` and that cached text replaces."""


Transformer = TypeVar("Transformer", bound=nn.Module)
Encoders = TypeVar("Encoders", bound=TextEncoders)
Vae = TypeVar("Vae", bound=nn.Module)


class FamilyOf(Protocol[Transformer, Encoders, Vae]):
    """A kind of model that LoRAs can be trained on. `version` is the variant of the loaded files, such as dev or schnell.

    Its methods take the models that its own load_* methods return: FLUX.1 is a FamilyOf[Flux, Flux1TextEncoders, VAE].
    """

    name: str
    version: str
    geometry: LatentGeometry
    layer_names: LayerNames
    lora_parts: Mapping[Part, LoRAPart]  # in the order of parameter groups
    tokenized_parts: frozenset[Part]  # text encoders that finish_text runs if they are trained: captions are cached as their token ids

    @property
    def spec(self) -> ModelSpec:
        """What the metadata of a LoRA says about this version."""

    @property
    def sampling_defaults(self) -> SamplingDefaults:
        """What sampling uses where nothing else is requested."""

    def empty_models(self, files: ModelConfig, parts: frozenset[Part]) -> dict[Part, nn.Module]:
        """Return these parts without weights, on the meta device. Reads headers only.

        Raises:
            TrainerError: If a file is missing, damaged, or of another model.
        """

    def load_transformer(self, files: ModelConfig, store: TensorStore, dtype: torch.dtype) -> Transformer:
        """Load the frozen transformer; the caller calls `store.finish`.

        Raises:
            TrainerError: If a file is missing, damaged, or of another model.
        """

    def load_text_encoders(self, files: ModelConfig, store: TensorStore, dtype: torch.dtype) -> Encoders:
        """Load the text encoders and tokenizers and call `store.finish`.

        Raises:
            TrainerError: If a file is missing, damaged, or of another model.
        """

    def load_vae(self, files: ModelConfig, dtype: torch.dtype, device: torch.device) -> Vae:
        """Load the VAE.

        Raises:
            TrainerError: If the file is missing, damaged, or of another model.
        """

    def encode_text(self, encoders: Encoders, captions: Sequence[str], train: frozenset[Part]) -> dict[str, Tensor]:
        """Return the captions' named tensors, one row per caption; caches store them under these names.

        For an encoder in `train` the tensors are what finish_text encodes, such as token ids, or have a graph for its gradients.
        """

    def finish_text(self, text: Mapping[str, Tensor], encoders: Encoders | None) -> dict[str, Tensor]:
        """Return the tensors that predict_velocity takes: encode what is trained from its token ids, keep the others."""

    def encode_image(self, vae: Vae, pixels_BCHW: Tensor, random: torch.Generator | None) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> normalized latents (B, C, h, w), float32: a sample with a generator, else the mean."""

    def decode_latents(self, vae: Vae, latents_BCHW: Tensor) -> Tensor:
        """(B, C, h, w) -> pixels (B, 3, H, W) in [-1, 1] except for overshoot, float32."""

    def predict_velocity(self, transformer: Transformer, inputs: StepInputs) -> Tensor:
        """Return the predicted velocity, noise minus image: (B, C, H, W)."""

    def sampling_sigmas(self, steps: int, latent_size: tuple[int, int]) -> Tensor:
        """Return the noise levels of a sampling from 1 to 0: (steps + 1,)."""

    def blocks(self, transformer: Transformer) -> Sequence[nn.Module]:
        """Return the blocks in the order of the forward pass: the unit of swapping, quantization, checkpointing and compilation."""

    def swapped_blocks(self, transformer: Transformer, count: int) -> Sequence[nn.Module]:
        """Return the blocks that --blocks_to_swap `count` keeps in host memory, in the order of the forward pass.

        Raises:
            TrainerError: If so many cannot be swapped.
        """

    def run_blocks_with(self, transformer: Transformer, runner: BlockRunner | None) -> None:
        """Let the transformer run its blocks with `runner` while gradients are computed; None calls them directly."""

    def text_cache_identity(self, files: ModelConfig, train: frozenset[Part]) -> tuple[object, ...]:
        """Return what cached text depends on besides the caption and the precision."""

    def image_cache_identity(self, files: ModelConfig) -> object:
        """Return what cached latents depend on besides the image and the precision."""


ModelFamily = FamilyOf[nn.Module, TextEncoders, nn.Module]  # any family: its models are only passed back to its methods
