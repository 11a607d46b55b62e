"""What a base model lacks, and how to get it: which files are published where, their sizes, and if a page asks for an account."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fluxgym.errors import Detail, ModelError

HUB = "https://huggingface.co"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A repository of the Hugging Face Hub with its file's size; is_gated: it is sent to those only who are logged in and accepted its terms."""

    repository: str
    megabytes: float  # 10^6 bytes, as the Hub shows them
    is_gated: bool = False


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """A text encoder's tokenizer: its files, and the folders that it may be in, beside the encoder."""

    title: str
    folder: str
    kohya_folder: str
    diffusers_folder: str
    files: tuple[str, ...]
    published: Published

    def find(self, encoder: Path) -> Path | None:
        """Return the tokenizer's folder beside an encoder's file or folder, None if there is none. Diffusers' name counts beside a folder only."""
        names = (self.folder, self.kohya_folder, *([self.diffusers_folder] if encoder.is_dir() else []))
        return next((folder for name in names if (folder := encoder.parent / name).is_dir()), None)


_ENCODERS = "comfyanonymous/flux_text_encoders"
_DEV = "cocktailpeanut/xulf-dev"
# By path in the models folder. Sizes as the repositories' pages show them; FLUX.1-schnell is gated since July 2025.
PUBLISHED = {
    "unet/flux1-dev.sft": Published(repository=_DEV, megabytes=23_800),
    "unet/flux1-schnell.safetensors": Published(repository="black-forest-labs/FLUX.1-schnell", megabytes=23_800, is_gated=True),
    "unet/bdsqlsz/flux1-dev2pro-single/flux1-dev2pro.safetensors": Published(repository="bdsqlsz/flux1-dev2pro-single", megabytes=23_800),
    "vae/ae.sft": Published(repository=_DEV, megabytes=335),
    "clip/clip_l.safetensors": Published(repository=_ENCODERS, megabytes=246),
    "clip/t5xxl_fp16.safetensors": Published(repository=_ENCODERS, megabytes=9_790),
}
TOKENIZERS = {
    "clip_l": Tokenizer(
        title="the CLIP-L tokenizer",
        folder="tokenizer_clip",
        kohya_folder="openai_clip-vit-large-patch14",
        diffusers_folder="tokenizer",
        files=("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json"),
        published=Published(repository="openai/clip-vit-large-patch14", megabytes=3.7),
    ),
    "t5xxl": Tokenizer(
        title="the T5 tokenizer",
        folder="tokenizer_t5",
        kohya_folder="google_t5-v1_1-xxl",
        diffusers_folder="tokenizer_2",
        files=("spiece.model", "tokenizer_config.json", "special_tokens_map.json"),
        published=Published(repository="google/t5-v1_1-xxl", megabytes=0.8),
    ),
}


@dataclass(frozen=True, kw_only=True)
class MissingPart:
    """A file or tokenizer that is missing: what it is, the path in the models folder, and what FluxGym knows of its source."""

    title: str
    where: str
    published: Published | None

    def detail(self) -> Detail:
        """Return it as an entry of the list."""
        title = f"{self.title[0].upper()}{self.title[1:]}: {self.where}"
        if self.published is None:
            return Detail(text=f"{title}. Size and source are not known.")
        gate = " Log in there and accept its terms first." if self.published.is_gated else ""
        text = f"{title}, {size_words(self.published.megabytes)}, from {self.published.repository}.{gate}"
        return Detail(text=text, address=f"{HUB}/{self.published.repository}")


def missing_file(title: str, where: str) -> MissingPart:
    """Return a missing file of a role, expected at a path in the models folder."""
    return MissingPart(title=title, where=where, published=PUBLISHED.get(where))


def missing_tokenizer(tokenizer: Tokenizer, beside: Path) -> MissingPart:
    """Return a missing tokenizer; beside is its text encoder's folder, relative to the models folder if it is in there."""
    where = f"{', '.join(tokenizer.files)} in {(beside / tokenizer.folder).as_posix()}/"
    return MissingPart(title=tokenizer.title, where=where, published=tokenizer.published)


def missing_parts_error(model: str, missing: Sequence[MissingPart], models: Path) -> ModelError:
    """Return the error that lists what a model lacks."""
    titles = [part.title for part in missing]
    named = titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"
    them = "it" if len(titles) == 1 else "them"
    message = f"{model} lacks {named}{_total(missing)}. Put {them} into {models}, or set --models to a folder that has {them}."
    return ModelError(message, field="base_model", details=[part.detail() for part in missing])


def _total(missing: Sequence[MissingPart]) -> str:
    """Return the size of all parts together, "" if one is not known or there is one only."""
    sizes = [part.published.megabytes for part in missing if part.published is not None]
    return f" ({size_words(sum(sizes))})" if 1 < len(sizes) == len(missing) else ""


def size_words(megabytes: float) -> str:
    """Return a size of 10^6 bytes with three digits, such as “23.8 GB”, “335 MB” or “0.8 MB”."""
    return f"{megabytes / 1000:.3g} GB" if megabytes >= 1000 else f"{megabytes:.3g} MB"
