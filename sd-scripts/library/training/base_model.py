"""The frozen models of a training: loaded by their family, with the LoRAs of --base_weights merged in, where the flags place them."""

from collections.abc import Sequence

import torch
from torch import nn

from library.config import BaseWeights, ModelConfig, PlacementConfig
from library.errors import warn
from library.models.family import TRANSFORMER, ModelFamily, TextEncoders
from library.placement.layout import TextEncoderLayout, TransformerLayout
from networks.lora_merge import merge_base_weights


class BaseModel:
    """Loads the frozen models of one family on a device. Each is loaded when it is requested, and held by the caller."""

    def __init__(
        self, family: ModelFamily, files: ModelConfig, base_weights: Sequence[BaseWeights], *, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.family, self.files, self.base_weights = family, files, base_weights
        self.device, self.dtype = device, dtype

    def load_text_encoders(self) -> TextEncoders:
        """Load the text encoders; one that does not fit on the device stays in host memory.

        Raises:
            TrainerError: If a file is missing, damaged, or of another model.
        """
        encoders = self.family.load_text_encoders(self.files, TextEncoderLayout(self.device, self.dtype), self.dtype)
        merge_base_weights(self.base_weights, {self.family.lora_parts[part].prefix: model for part, model in encoders.parts().items()})
        return encoders

    def load_vae(self) -> nn.Module:
        """Load the VAE, in float32 for --no_half_vae.

        Raises:
            TrainerError: If the file is missing, damaged, or of another model.
        """
        return self.family.load_vae(self.files, torch.float32 if self.files.no_half_vae else self.dtype, self.device)

    def load_transformer(self, placement: PlacementConfig) -> nn.Module:
        """Load the transformer as the flags place it: quantized, blocks in host memory, gradient checkpointing, compiled.

        Raises:
            TrainerError: If a file is missing, damaged, or of another model.
        """
        family, layout = self.family, TransformerLayout(placement, self.device, self.dtype, self.family.swapped_blocks, on_warning=warn)
        transformer = family.load_transformer(self.files, layout, self.dtype)
        merge_base_weights(self.base_weights, {family.lora_parts[TRANSFORMER].prefix: transformer})
        layout.finish(transformer, family.blocks(transformer))
        family.run_blocks_with(transformer, layout.block_runner())
        return transformer
