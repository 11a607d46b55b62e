"""The images of a training as batches: bucketed, repeated, ordered.

Order, flips, crops, colors and captions derive from (seed, epoch, batch index): any batch of any epoch can be made without those before it,
by any number of workers.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fluxgym.contract.buckets import Size
from fluxgym.contract.dataset_rules import ALL_HELD_OUT
from library.config import TrainerConfig
from library.data.captions import CaptionContext, caption_at
from library.data.dataset_metadata import dataset_metadata, describe
from library.data.empty_masks import check_masks
from library.data.feature_cache import FeatureCache, OnItem
from library.data.image_index import TrainingImage, index_images
from library.data.masks import LATENT, stack_masks
from library.data.schema import Dataset
from library.data.transforms import load_pixels
from library.errors import OnWarning, TrainerError
from library.models.family import ModelFamily, Part, TextEncoders
from library.randomness import generator

PRESERVATION = "diff_output_preservation"  # the only one of kohya's custom_attributes that has an effect


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The input of one forward pass: latents (B, C, h, w) or pixels (B, 3, H, W) in [-1, 1]; masks (B, 1, h, w).

    text has the captions' cached tensors by the family's names, one row per caption; None if captions are not cached.

    loss_weights is (B,). preserves is (B,), True for images whose target is the model's output without the LoRA; None if no image is.
    """

    captions: list[str]
    loss_weights: Tensor
    latents: Tensor | None = None
    pixels: Tensor | None = None
    masks: Tensor | None = None
    preserves: Tensor | None = None
    text: dict[str, Tensor] | None = None


def build_dataset(config: TrainerConfig, datasets: Sequence[Dataset], on_warning: OnWarning) -> "TrainingData":
    """Index the images of a training; `datasets` are those of its dataset_config or its flags (dataset_toml.read_datasets).

    `on_warning` is called for images and masks that are ignored or misread.

    Raises:
        TrainerError: Naming what is missing or cannot be read.
    """
    train, held_out = index_images(datasets, config.run.seed, on_warning)
    if not any(not image.subset.is_reg for image in train):
        raise TrainerError(ALL_HELD_OUT)
    if config.data.masked_loss and not any(p.subset.alpha_mask or p.mask_path for p in train):
        on_warning("--masked_loss has no effect: no data set has a conditioning_data_dir or alpha_mask")
    check_masks(train, on_warning)
    return TrainingData(config, train, held_out)


class TrainingData:
    """Every image of a training, its caches, and its batches by epoch; and the images held out for validation."""

    def __init__(self, config: TrainerConfig, images: list[TrainingImage], held_out: list[TrainingImage]) -> None:
        self.config, self.images, self.held_out = config, images, held_out
        self._all = [*images, *held_out]
        self.num_train_images = sum(p.num_repeats for p in images if not p.subset.is_reg)
        self.num_reg_images = sum(p.num_repeats for p in images if p.subset.is_reg)
        self.num_batches_per_epoch = len(self._batches(0))
        self._held_out_batches = self._in_order()
        self.num_validation_batches = len(self._held_out_batches)
        self.resolution = images[0].dataset.resolution
        self._features = FeatureCache(config.data, config.model, config.network.base_weights, self._all)
        self._pool = ThreadPoolExecutor(max(1, config.data.max_data_loader_n_workers), "images")

    def cache_latents(self, family: ModelFamily, vae: nn.Module, on_item: OnItem) -> None:
        """Encode every image that is not cached."""
        self._features.cache_latents(family, vae, on_item)

    def cache_text(self, family: ModelFamily, encoders: TextEncoders, train: frozenset[Part], on_item: OnItem) -> None:
        """Encode every caption that is not cached."""
        self._features.cache_text(family, encoders, train, on_item)

    def metadata(self) -> dict[str, Any]:
        """Return kohya's metadata of the data set."""
        return dataset_metadata(self.config.flag_values, self.images, self.held_out)

    def describe(self) -> str:
        """Return the data set in words, for --debug_dataset."""
        return describe(self.images, self.held_out, self.num_batches_per_epoch)

    # -- order -----------------------------------------------------------------------------------------------------------------

    def _by_size(self, indices: range) -> list[list[int]]:
        """Group indices into all images, with repeats, by what can share a batch: one size of one data set."""
        groups: dict[tuple[int, Size], list[int]] = {}
        for index in indices:
            image = self._all[index]
            groups.setdefault((id(image.dataset), image.fit.bucket), []).extend([index] * image.num_repeats)
        return list(groups.values())

    def _batches(self, epoch: int) -> list[list[int]]:
        """Return an epoch's batches: members shuffled within each size, then the batches among each other."""
        random = generator(self.config.run.seed, "order", epoch)
        batches = []
        for members in self._by_size(range(len(self.images))):
            size = self._all[members[0]].dataset.batch_size
            order = torch.randperm(len(members), generator=random).tolist()
            batches += [[members[index] for index in order[start : start + size]] for start in range(0, len(order), size)]
        return [batches[index] for index in torch.randperm(len(batches), generator=random)]

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from `start_batch`; images that are not cached are prefetched by the workers."""
        batches = self._batches(epoch)
        ahead = 1 if self.config.data.cache_latents else max(1, self.config.data.max_data_loader_n_workers)
        waiting = [
            self._pool.submit(self._batch, batches[batch_index], epoch, batch_index)
            for batch_index in range(start_batch, min(len(batches), start_batch + ahead))
        ]
        for batch_index in range(start_batch, len(batches)):
            ready = waiting.pop(0).result()
            if batch_index + ahead < len(batches):
                waiting.append(self._pool.submit(self._batch, batches[batch_index + ahead], epoch, batch_index + ahead))
            yield ready

    @property
    def steps_per_epoch(self) -> int:
        """The number of optimizer steps of an epoch; the last one may accumulate fewer batches."""
        return math.ceil(self.num_batches_per_epoch / self.config.optim.gradient_accumulation_steps)

    def steps(self, epoch: int, start_batch: int = 0) -> Iterator[tuple[int, list[Batch]]]:
        """Yield the micro-batches of each optimizer step of an epoch, and the index of the batch that follows them."""
        micro_batches: list[Batch] = []
        for next_batch, batch in enumerate(self.epoch(epoch, start_batch), start_batch + 1):
            micro_batches.append(batch)
            if len(micro_batches) == self.config.optim.gradient_accumulation_steps or next_batch == self.num_batches_per_epoch:
                yield next_batch, micro_batches
                micro_batches = []

    def validation_batches(self) -> Iterator[Batch]:
        """Yield the held-out images in batches, always the same and in the same order."""
        for members in self._held_out_batches:
            yield self._make(members, [generator(self.config.run.seed, "validation picture", index) for index in members], CaptionContext())

    def _in_order(self) -> list[list[int]]:
        """Return the batches of the held-out images, as indices into all images."""
        batches = []
        for members in self._by_size(range(len(self.images), len(self._all))):
            size = self._all[members[0]].dataset.batch_size
            batches += [members[start : start + size] for start in range(0, len(members), size)]
        return batches

    # -- one batch -------------------------------------------------------------------------------------------------------------

    def _batch(self, members: list[int], epoch: int, batch_index: int) -> Batch:
        # "picture" and "validation picture" are part of the random seeds: renaming them changes crops, flips and captions
        draws = [generator(self.config.run.seed, "picture", epoch, batch_index, row) for row in range(len(members))]
        return self._make(members, draws, self._caption_context(epoch, batch_index))

    def _caption_context(self, epoch: int, batch_index: int) -> CaptionContext:
        """Return the epoch and the optimizer step of a batch."""
        _, total = self.config.run.length(self.steps_per_epoch)
        step = epoch * self.steps_per_epoch + batch_index // self.config.optim.gradient_accumulation_steps
        return CaptionContext(epoch, step, total)

    def _make(self, members: list[int], draws: list[torch.Generator], context: CaptionContext) -> Batch:
        images = [self._all[index] for index in members]
        flips = [image.subset.flip_aug and bool(torch.rand((), generator=draw) < 0.5) for image, draw in zip(images, draws, strict=True)]
        weights = torch.tensor([self.config.data.prior_loss_weight if image.subset.is_reg else 1.0 for image in images])
        if self.config.data.cache_latents:
            name, samples = "latents", [self._features.latents(*each) for each in zip(members, flips, strict=True)]
        else:
            name, samples = "pixels", [load_pixels(*each) for each in zip(images, flips, draws, strict=True)]
        fields: dict[str, Any] = {name: torch.stack([tensor for tensor, _ in samples])}
        width, height = images[0].fit.bucket
        fields["masks"] = stack_masks([mask for _, mask in samples], height // LATENT, width // LATENT)
        preserves = torch.tensor([bool(image.subset.custom_attributes.get(PRESERVATION)) for image in images])
        fields["preserves"] = preserves if preserves.any() else None
        captions = [caption_at(image.caption, image.subset, draw, context) for image, draw in zip(images, draws, strict=True)]
        if self.config.data.cache_text_encoder_outputs:
            texts = [self._features.text(index) for index in members]
            fields["text"] = {name: torch.stack([text[name] for text in texts]) for name in texts[0]}
        return Batch(captions=captions, loss_weights=weights, **fields)
