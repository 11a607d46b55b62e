"""The images of a training as batches: bucketed, repeated, ordered.

Order, flips, crops, colors and captions derive from (seed, epoch, place): any batch of any epoch can be made without those before it, by any
number of workers. Which images there are belongs to pictures_found, what is encoded once to encoded.
"""

import math
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fluxgym.contract.buckets import Size
from library.data.captions import CaptionContext, caption_at
from library.data.dataset_metadata import dataset_metadata, describe
from library.data.dataset_toml import read_datasets
from library.data.feature_cache import FeatureCache, OnItem
from library.data.image_index import TrainingImage, index_images
from library.data.masks import LATENT, stack_masks
from library.data.transforms import load_pixels
from library.errors import TrainerError, warn
from library.models.flux1.text_encoders import ClipTextEncoder, Flux1TextEncoders
from library.models.flux1.vae import VAE
from library.randomness import generator

PRESERVATION = "diff_output_preservation"  # the one of kohya's custom_attributes that means something


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one forward pass takes: latents (B, 16, h, w) or pixels (B, 3, H, W) in [-1, 1]; masks (B, 1, h, w); text as cached.

    loss_weights is (B,), preserves (B,) too: which images are to look as without the LoRA, None when none is.
    """

    captions: list[str]
    loss_weights: Tensor
    latents: Tensor | None = None
    pixels: Tensor | None = None
    masks: Tensor | None = None
    preserves: Tensor | None = None
    clip_ids: Tensor | None = None
    clip_pooled: Tensor | None = None
    t5_out: Tensor | None = None
    t5_mask: Tensor | None = None


def build_dataset(args: Namespace) -> "TrainingData":
    """Find the images; raises TrainerError naming what is missing or cannot be read."""
    train, held_out = index_images(read_datasets(args), args.seed)
    if not any(not image.subset.is_reg for image in train):
        raise TrainerError("validation_split holds every image out, so none is left to train on; hold out fewer.")
    if args.masked_loss and not any(p.subset.alpha_mask or p.mask_path for p in train):
        warn("--masked_loss has no effect: no data set has a conditioning_data_dir or alpha_mask")
    return TrainingData(args, train, held_out)


class TrainingData:
    """Every image of a training, its caches, and its batches by epoch; and the images held out for validation."""

    def __init__(self, args: Namespace, images: list[TrainingImage], held_out: list[TrainingImage]) -> None:
        self.args, self.images, self.held_out = args, images, held_out
        self._all = [*images, *held_out]
        self.num_train_images = sum(p.num_repeats for p in images if not p.subset.is_reg)
        self.num_reg_images = sum(p.num_repeats for p in images if p.subset.is_reg)
        self.num_batches_per_epoch = len(self._batches(0))
        self._held_out_batches = self._in_order()
        self.num_validation_batches = len(self._held_out_batches)
        self.resolution = images[0].dataset.resolution
        self._encoded = FeatureCache(args, self._all)
        self._pool = ThreadPoolExecutor(max(1, args.max_data_loader_n_workers), "pictures")

    def cache_latents(self, vae: VAE, on_item: OnItem) -> None:
        """Encode every image that no cache holds."""
        self._encoded.cache_latents(vae, on_item)

    def cache_text(self, clip: ClipTextEncoder | None, encoders: Flux1TextEncoders, on_item: OnItem) -> None:
        """Encode every caption that no cache holds."""
        self._encoded.cache_text(clip, encoders, on_item)

    def metadata(self) -> dict[str, Any]:
        """Return kohya's figures of the data set."""
        return dataset_metadata(self.args, self.images, self.held_out)

    def describe(self) -> str:
        """Say in words what the data set is."""
        return describe(self.images, self.held_out, self.num_batches_per_epoch)

    # -- order -----------------------------------------------------------------------------------------------------------------

    def _by_size(self, indices: range) -> list[list[int]]:
        """Group places, as indices into all images, repeats included, by what can share a batch: one size of one data set."""
        groups: dict[tuple[int, Size], list[int]] = {}
        for index in indices:
            image = self._all[index]
            groups.setdefault((id(image.dataset), image.fit.bucket), []).extend([index] * image.num_repeats)
        return list(groups.values())

    def _batches(self, epoch: int) -> list[list[int]]:
        """Return an epoch's batches: members shuffled within each size, then the batches among each other."""
        random = generator(self.args.seed, "order", epoch)
        batches = []
        for members in self._by_size(range(len(self.images))):
            size = self._all[members[0]].dataset.batch_size
            order = torch.randperm(len(members), generator=random).tolist()
            batches += [[members[place] for place in order[start : start + size]] for start in range(0, len(order), size)]
        return [batches[place] for place in torch.randperm(len(batches), generator=random)]

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from `start_batch` on; images that are not cached are read ahead by the workers."""
        batches = self._batches(epoch)
        ahead = 1 if self.args.cache_latents else max(1, self.args.max_data_loader_n_workers)
        waiting = [
            self._pool.submit(self._batch, batches[place], epoch, place)
            for place in range(start_batch, min(len(batches), start_batch + ahead))
        ]
        for place in range(start_batch, len(batches)):
            ready = waiting.pop(0).result()
            if place + ahead < len(batches):
                waiting.append(self._pool.submit(self._batch, batches[place + ahead], epoch, place + ahead))
            yield ready

    def validation_batches(self) -> Iterator[Batch]:
        """Yield the images that are held out in batches, always the same and in the same order."""
        for members in self._held_out_batches:
            yield self._make(members, [generator(self.args.seed, "validation picture", index) for index in members], CaptionContext())

    def _in_order(self) -> list[list[int]]:
        """Return the batches of the images that are held out, as indices into all images."""
        batches = []
        for members in self._by_size(range(len(self.images), len(self._all))):
            size = self._all[members[0]].dataset.batch_size
            batches += [members[start : start + size] for start in range(0, len(members), size)]
        return batches

    # -- one batch -------------------------------------------------------------------------------------------------------------

    def _batch(self, members: list[int], epoch: int, place: int) -> Batch:
        draws = [generator(self.args.seed, "picture", epoch, place, row) for row in range(len(members))]
        return self._make(members, draws, self._moment(epoch, place))

    def _moment(self, epoch: int, place: int) -> CaptionContext:
        """The optimizer step that a batch belongs to."""
        steps_per_epoch = math.ceil(self.num_batches_per_epoch / self.args.gradient_accumulation_steps)
        total = self.args.max_train_epochs * steps_per_epoch if self.args.max_train_epochs else self.args.max_train_steps
        return CaptionContext(epoch, epoch * steps_per_epoch + place // self.args.gradient_accumulation_steps, total)

    def _make(self, members: list[int], draws: list[torch.Generator], moment: CaptionContext) -> Batch:
        images = [self._all[index] for index in members]
        flips = [p.subset.flip_aug and bool(torch.rand((), generator=r) < 0.5) for p, r in zip(images, draws, strict=True)]
        weights = torch.tensor([self.args.prior_loss_weight if p.subset.is_reg else 1.0 for p in images])
        if self.args.cache_latents:
            name, found = "latents", [self._encoded.latents(*each) for each in zip(members, flips, strict=True)]
        else:
            name, found = "pixels", [load_pixels(*each) for each in zip(images, flips, draws, strict=True)]
        fields: dict[str, Any] = {name: torch.stack([tensor for tensor, _ in found])}
        width, height = images[0].fit.bucket
        fields["masks"] = stack_masks([mask for _, mask in found], height // LATENT, width // LATENT)
        preserves = torch.tensor([bool(p.subset.custom_attributes.get(PRESERVATION)) for p in images])
        fields["preserves"] = preserves if preserves.any() else None
        captions = [caption_at(p.caption, p.subset, r, moment) for p, r in zip(images, draws, strict=True)]
        if self.args.cache_text_encoder_outputs:
            texts = [self._encoded.text(index) for index in members]
            fields |= {key: torch.stack([text[key] for text in texts]) for key in texts[0]}
        return Batch(captions=captions, loss_weights=weights, **fields)
