"""The frozen models of a training, loaded and freed in an order that fits in memory."""

import gc
from dataclasses import dataclass

import torch
from torch import nn

from fluxgym.contract.codes import Phase
from fluxgym.contract.dataset_notes import cut_captions_message
from library.data.dataset import TrainingData
from library.errors import warn
from library.models.family import TRANSFORMER, ModelFamily, Part, TextEncoders
from library.sampling import PromptTexts
from library.training.base_model import BaseModel
from library.training.preflight.context import TrainingContext
from networks.factory import trained_parts


@dataclass(frozen=True, kw_only=True)
class LoadedModels:
    """The frozen models of a training, of one family.

    `encoders` is None if captions are cached and no text encoder is trained. `train` are the text encoders that the network trains, `prompts` the
    encoded texts of the sample prompts.
    """

    family: ModelFamily
    transformer: nn.Module
    vae: nn.Module
    encoders: TextEncoders | None
    prompts: PromptTexts
    train: frozenset[Part]

    def by_part(self) -> dict[Part, nn.Module]:
        """Return the models in memory that a LoRA can train."""
        return {TRANSFORMER: self.transformer} | (self.encoders.parts() if self.encoders is not None else {})


@dataclass(frozen=True, kw_only=True)
class _Text:
    """The text-related fields of LoadedModels."""

    prompts: PromptTexts
    encoders: TextEncoders | None
    train: frozenset[Part]


def load_models(context: TrainingContext, data: TrainingData, family: ModelFamily) -> LoadedModels:
    """Load the models of a family, and encode the captions, images and prompts that the flags cache.

    Raises:
        TrainerError: If a file is missing, damaged, or of another model.
        StopRequested: If a stop was requested meanwhile.
    """
    config = context.config
    base = BaseModel(family, config.model, config.network.base_weights, device=context.device, dtype=context.dtype)
    text = _load_text(context, data, base)
    vae = _load_vae(context, data, base)
    context.progress.enter(Phase.LOADING)
    transformer = base.load_transformer(config.placement)
    context.stop.check()
    return LoadedModels(
        family=base.family, transformer=transformer, vae=vae, encoders=text.encoders, prompts=text.prompts, train=text.train
    )


def _load_text(context: TrainingContext, data: TrainingData, base: BaseModel) -> _Text:
    """Load the encoders and encode captions and prompts; cached captions free encoders before the transformer is loaded."""
    encoders, caches = base.load_text_encoders(), context.config.data.cache_text_encoder_outputs
    _warn_of_long_captions(encoders, data)
    train = trained_parts(context.config.network, base.family.lora_parts) - {TRANSFORMER}
    if caches:
        data.cache_text(base.family, encoders, train, context.on_item)
    prompts = PromptTexts(base.family, encoders, context.settings.prompts, train)
    if caches:
        encoders.release(train)
    text = _Text(prompts=prompts, encoders=encoders if train or not caches else None, train=train)
    del encoders
    _free_memory()
    context.stop.check()
    return text


def _warn_of_long_captions(encoders: TextEncoders, data: TrainingData) -> None:
    """Warn of captions that are longer than the text encoders read; only their first part is trained.

    If a caption has several lines of which each step draws one, its longest line counts.
    """
    texts = {image.path.name: max(image.caption.splitlines(), key=len, default="") for image in [*data.images, *data.held_out]}
    if sentence := cut_captions_message(*encoders.lengths(texts)):
        warn(sentence.removesuffix("."))


def _load_vae(context: TrainingContext, data: TrainingData, base: BaseModel) -> nn.Module:
    """Load the VAE, and encode the images if latents are cached."""
    vae = base.load_vae()
    if context.config.data.cache_latents:
        data.cache_latents(base.family, vae, context.on_item)
    context.stop.check()
    return vae


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
