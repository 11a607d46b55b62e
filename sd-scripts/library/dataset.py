"""The pictures of a training as batches: found, bucketed, repeated, cached, ordered.

Order, flips, crops and captions derive from (seed, epoch, place): any batch of any epoch can be made without those before it.
"""

import functools
import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from library import buckets
from library.autoencoder import AutoEncoder
from library.caches import Cache, key_of
from library.captions import caption_at, read_caption
from library.dataset_config import Dataset, Subset, read_datasets
from library.errors import TrainerError
from library.pictures import list_pictures, read_picture, to_pixels, upright_size
from library.randomness import generator
from library.text_encoders import ClipTextEncoder, TextEncoders
from library.weights import fingerprint
from networks.base_weights import text_identity

OnItem = Callable[[int, int], None]


@dataclass(frozen=True)
class Picture:
    """One picture of a data set: where it lies, how it is fitted, what it shows, and how often an epoch sees it."""

    path: Path
    fit: buckets.Fit
    caption: str
    subset: Subset
    dataset: Dataset
    num_repeats: int


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one forward pass takes: latents (B, 16, h, w) or pixels (B, 3, H, W) in [-1, 1]; text as cached; loss_weights (B,)."""

    captions: list[str]
    loss_weights: Tensor
    latents: Tensor | None = None
    pixels: Tensor | None = None
    clip_ids: Tensor | None = None
    clip_pooled: Tensor | None = None
    t5_out: Tensor | None = None
    t5_mask: Tensor | None = None


def build_dataset(args: Namespace) -> "TrainingData":
    """Find the pictures; raises TrainerError naming what is missing or cannot be read."""
    pictures = [picture for dataset in read_datasets(args) for picture in _pictures_of(dataset)]
    return TrainingData(args, pictures)


def _pictures_of(dataset: Dataset) -> list[Picture]:
    """List a data set's pictures; regularisation pictures are repeated or cut to the number of training pictures times repeats."""
    found = []
    for subset in dataset.subsets:
        if not (paths := list_pictures(subset.image_dir)):
            print(f"warning: there are no pictures in {subset.image_dir}", file=sys.stderr, flush=True)
        found += [(subset, path) for path in paths]
    training = [(subset, path, subset.num_repeats) for subset, path in found if not subset.is_reg]
    if not training:
        folders = ", ".join(subset.image_dir for subset in dataset.subsets if not subset.is_reg)
        raise TrainerError(f"there are no pictures in {folders or 'the data set'}; put .png, .jpg or .webp files there.")
    regularisation = [(subset, path) for subset, path in found if subset.is_reg]
    total = sum(repeats for _, _, repeats in training)
    entries = training + _balanced(regularisation, total)
    return [_picture(subset, path, dataset, repeats) for subset, path, repeats in entries]


def _balanced(pictures: list[tuple[Subset, Path]], total: int) -> list[tuple[Subset, Path, int]]:
    """Give regularisation pictures repeats that add up to `total`: their own first, then one more each in turn."""
    counts = [0] * len(pictures)
    left = total if pictures else 0
    for index, (subset, _) in enumerate(pictures):
        counts[index] = min(subset.num_repeats, left)
        left -= counts[index]
    for index in range(len(pictures)):
        counts[index] += left // len(pictures) + (index < left % len(pictures))
    return [(subset, path, count) for (subset, path), count in zip(pictures, counts, strict=True) if count]


def _picture(subset: Subset, path: Path, dataset: Dataset, num_repeats: int) -> Picture:
    return Picture(path, _fit(upright_size(path), dataset), read_caption(path, subset), subset, dataset, num_repeats)


def _fit(size: buckets.Size, dataset: Dataset) -> buckets.Fit:
    if not dataset.enable_bucket:
        return buckets.cover(size, dataset.resolution)
    if dataset.bucket_no_upscale:
        return buckets.fit_without_upscale(size, dataset.resolution, dataset.bucket_reso_steps)
    return buckets.fit_into_buckets(size, _sizes(dataset))


@functools.cache
def _sizes(dataset: Dataset) -> list[buckets.Size]:
    return buckets.bucket_sizes(dataset.resolution, dataset.min_bucket_reso, dataset.max_bucket_reso, dataset.bucket_reso_steps)


class TrainingData:
    """Every picture of a training, its caches, and its batches by epoch."""

    def __init__(self, args: Namespace, pictures: list[Picture]) -> None:
        self.args, self.pictures = args, pictures
        self.num_train_images = sum(p.num_repeats for p in pictures if not p.subset.is_reg)
        self.num_reg_images = sum(p.num_repeats for p in pictures if p.subset.is_reg)
        self.num_batches_per_epoch = len(self._batches(0))
        self.resolution = pictures[0].dataset.resolution
        self._latents = Cache(to_disk=args.cache_latents_to_disk)
        self._texts = Cache(to_disk=args.cache_text_encoder_outputs_to_disk)
        self._latent_keys: dict[tuple[int, bool], str] = {}
        self._text_keys: dict[int, str] = {}
        self._pool = ThreadPoolExecutor(max(1, args.max_data_loader_n_workers), "pictures")

    # -- order -----------------------------------------------------------------------------------------------------------------

    def _by_size(self) -> list[list[int]]:
        """Group the epoch's places, as indices into pictures, by what can share a batch: one size of one data set."""
        groups: dict[tuple[int, buckets.Size], list[int]] = {}
        for index, picture in enumerate(self.pictures):
            groups.setdefault((id(picture.dataset), picture.fit.bucket), []).extend([index] * picture.num_repeats)
        return list(groups.values())

    def _batches(self, epoch: int) -> list[list[int]]:
        """Return an epoch's batches: members shuffled within each size, then the batches among each other."""
        random = generator(self.args.seed, "order", epoch)
        batches = []
        for members in self._by_size():
            size = self.pictures[members[0]].dataset.batch_size
            order = torch.randperm(len(members), generator=random).tolist()
            batches += [[members[place] for place in order[start : start + size]] for start in range(0, len(order), size)]
        return [batches[place] for place in torch.randperm(len(batches), generator=random)]

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from `start_batch` on; pictures that are not cached are read ahead by the workers."""
        batches = self._batches(epoch)
        ahead = 1 if self.args.cache_latents else max(1, self.args.max_data_loader_n_workers)
        waiting = [
            self._pool.submit(self._batch, batches, epoch, place) for place in range(start_batch, min(len(batches), start_batch + ahead))
        ]
        for place in range(start_batch, len(batches)):
            ready = waiting.pop(0).result()
            if place + ahead < len(batches):
                waiting.append(self._pool.submit(self._batch, batches, epoch, place + ahead))
            yield ready

    # -- one batch -------------------------------------------------------------------------------------------------------------

    def _batch(self, batches: list[list[int]], epoch: int, place: int) -> Batch:
        draws = [generator(self.args.seed, "picture", epoch, place, row) for row in range(len(batches[place]))]
        pictures = [self.pictures[index] for index in batches[place]]
        flips = [p.subset.flip_aug and bool(torch.rand((), generator=r) < 0.5) for p, r in zip(pictures, draws, strict=True)]
        weights = torch.tensor([self.args.prior_loss_weight if p.subset.is_reg else 1.0 for p in pictures])
        fields: dict[str, Any] = {}
        if self.args.cache_latents:
            found = [self._latents.get(self._latent_keys[pair])["latents"] for pair in zip(batches[place], flips, strict=True)]
            fields["latents"] = torch.stack(found).float()
        else:
            fields["pixels"] = torch.stack([self._pixels(*each) for each in zip(pictures, flips, draws, strict=True)])
        captions = [caption_at(p.caption, p.subset, epoch, r) for p, r in zip(pictures, draws, strict=True)]
        if self.args.cache_text_encoder_outputs:
            texts = [self._texts.get(self._text_keys[index]) for index in batches[place]]
            fields |= {name: torch.stack([text[name] for text in texts]) for name in texts[0]}
        return Batch(captions=captions, loss_weights=weights, **fields)

    def _pixels(self, picture: Picture, flip: bool, random: torch.Generator) -> Tensor:
        offset = tuple(torch.rand(2, generator=random).tolist()) if picture.subset.random_crop else (0.5, 0.5)
        pixels = to_pixels(read_picture(picture.path), picture.fit, picture.dataset.resize_interpolation, offset)
        return pixels.flip(-1) if flip else pixels

    # -- caches ----------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def cache_latents(self, vae: AutoEncoder, on_item: OnItem) -> None:
        """Encode every picture that no cache holds, mirrored too where flip_aug is on; on_item(done, total) may raise to stop."""
        model, parameter = fingerprint(self.args.ae), next(vae.parameters())
        wanted = [(index, flip) for index, p in enumerate(self.pictures) for flip in ((False, True) if p.subset.flip_aug else (False,))]
        for done, (index, flip) in enumerate(wanted, 1):
            picture = self.pictures[index]
            shape = picture.fit.bucket, picture.fit.resized, picture.dataset.resize_interpolation
            key = key_of("latents", _content(picture.path), shape, flip, model, parameter.dtype)
            self._latent_keys[index, flip] = key
            folder = Path(picture.subset.image_dir)
            if not self._latents.find(key, folder):
                pixels = self._pixels(picture, flip, torch.Generator())[None].to(parameter)
                latents = vae.encode(pixels)[0].float()
                if not latents.isfinite().all():
                    raise TrainerError(f"the autoencoder made no finite latents of {picture.path}; try --no_half_vae.", reason_code="nan")
                self._latents.put(key, folder, {"latents": latents})
            on_item(done, len(wanted))

    @torch.no_grad()
    def cache_text(self, clip: ClipTextEncoder | None, encoders: TextEncoders, on_item: OnItem) -> None:
        """Encode every caption that no cache holds; without `clip` (it is trained) its token ids are kept in place of its output."""
        args = self.args
        models = fingerprint(args.t5xxl), fingerprint(args.clip_l) if clip is not None else "ids", *text_identity(args)
        for index, picture in enumerate(self.pictures):
            text = caption_at(picture.caption, picture.subset, 0, torch.Generator())
            tokens = key_of(encoders.tokenizers.t5([text])[0].tolist(), encoders.tokenizers.clip([text]).tolist())
            key = key_of("text", text, tokens, models, encoders.with_mask, encoders.dtype)
            self._text_keys[index] = key
            folder = Path(picture.subset.image_dir)
            if not self._texts.find(key, folder):
                states = encoders.states(text)
                kept = {"t5_out": states.context[0]}
                kept |= {"clip_ids": states.clip_ids[0]} if clip is None else {"clip_pooled": states.pooled[0]}
                kept |= {} if states.mask is None else {"t5_mask": states.mask[0]}
                self._texts.put(key, folder, kept)
            on_item(index + 1, len(self.pictures))

    # -- what the LoRA's metadata tell ------------------------------------------------------------------------------------------

    def metadata(self) -> dict[str, Any]:
        """Return kohya's datasets, dataset_dirs, tag_frequency and bucket_info, as JSON texts."""
        datasets = list({id(p.dataset): p.dataset for p in self.pictures}.values())
        return {
            "datasets": json.dumps([self._dataset_figures(dataset) for dataset in datasets]),
            "dataset_dirs": json.dumps(
                {
                    Path(s.image_dir).name: {"n_repeats": s.num_repeats, "img_count": self._count(s)}
                    for dataset in datasets
                    for s in dataset.subsets
                }
            ),
            "tag_frequency": json.dumps({Path(s.image_dir).name: self._tags(s) for dataset in datasets for s in dataset.subsets}),
            "bucket_info": json.dumps({"x".join(map(str, size)): count for size, count in self._bucket_counts().items()}),
            "reg_dataset_dirs": json.dumps({Path(s.image_dir).name: {} for d in datasets for s in d.subsets if s.is_reg}),
        }

    def _dataset_figures(self, dataset: Dataset) -> dict[str, Any]:
        subsets = [
            {"img_count": self._count(s), "num_repeats": s.num_repeats, "is_reg": s.is_reg, "image_dir": Path(s.image_dir).name}
            for s in dataset.subsets
        ]
        return {
            "batch_size_per_device": dataset.batch_size,
            "resolution": list(dataset.resolution),
            "enable_bucket": dataset.enable_bucket,
            "subsets": subsets,
        }

    def _count(self, subset: Subset) -> int:
        return sum(picture.subset is subset for picture in self.pictures)

    def _tags(self, subset: Subset) -> dict[str, int]:
        texts = [picture.caption for picture in self.pictures if picture.subset is subset]
        return dict(Counter(tag for text in texts for part in text.split(subset.caption_separator) if (tag := part.strip())))

    def _bucket_counts(self) -> dict[buckets.Size, int]:
        counts: Counter[buckets.Size] = Counter()
        for picture in self.pictures:
            counts[picture.fit.bucket] += picture.num_repeats
        return counts


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrainerError(f"{path} cannot be read: {error.strerror}.") from None
