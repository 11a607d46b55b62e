"""The catalog of base models: titles, paths of their files, default settings. Reads models.yaml; downloads nothing."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fluxgym.config.settings import SETTINGS, TrainConfig
from fluxgym.contract.regular_files import irregular_entry, read_regular
from fluxgym.errors import ModelError
from fluxgym.models.identify import identify
from fluxgym.models.missing_files import MissingPart, missing_file, missing_parts_error, missing_tokenizer, tokenizers

CATALOG = "models.yaml"
MAX_CATALOG_BYTES = 1 << 20
BUILT_IN = Path(__file__).with_name(CATALOG)
ROLES = {
    "transformer": "the FLUX transformer",
    "ae": "the VAE (ae)",
    "clip_l": "the CLIP-L text encoder",
    "t5xxl": "the T5 text encoder",
}
CAPTION_LENGTH = "t5xxl_max_token_length"  # the advanced setting with the number of tokens that is read of a caption
PREFERRED, FALLBACK = "flux-dev", "pocket"


@dataclass(frozen=True, kw_only=True)
class Model:
    """One entry of models.yaml; `files` maps each role to paths relative to the models folder, in the order they are tried.

    use is a text about the programs that its LoRAs work with.
    """

    id: str
    title: str
    license: str
    files: Mapping[str, tuple[str, ...]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    use: str = "Works in ComfyUI, Forge, and diffusers."

    @property
    def short_title(self) -> str:
        """The title without its remark in parentheses."""
        return self.title.partition(" (")[0]


@dataclass(frozen=True, kw_only=True)
class FoundFiles:
    """The four files of a model, or diffusers folders instead of them; all exist and are complete according to their headers."""

    transformer: Path
    clip_l: Path
    t5xxl: Path
    ae: Path


def list_models(models: Path) -> list[Model]:
    """Return the built-in models and those of models/models.yaml.

    Raises:
        ModelError: If that file is invalid.
    """
    entries = dict(_built_in())
    user_catalog = models / CATALOG
    if user_catalog.exists():
        entries |= _parse(user_catalog)
    return list(entries.values())


@cache
def _built_in() -> dict[str, Model]:
    return _parse(BUILT_IN)


def _parse(path: Path) -> dict[str, Model]:
    try:
        table = yaml.safe_load(read_regular(path, MAX_CATALOG_BYTES, follow_links=True).decode("utf-8-sig")) or {}
        return {str(name): _model(str(name), entry) for name, entry in table.items()}
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.", field="base_model") from None
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(
            f"{path} cannot be read: {' '.join(str(error).split())}. Each entry needs title and files.", field="base_model"
        ) from None


def _model(name: str, entry: Mapping[str, Any]) -> Model:
    files = {role: (paths,) if isinstance(paths := entry["files"][role], str) else tuple(map(str, paths)) for role in ROLES}
    defaults = entry.get("defaults") or {}
    if not isinstance(defaults, Mapping) or not isinstance(defaults.get("advanced", {}), Mapping):
        raise TypeError(f"the defaults of {name} are not a table of settings")
    return Model(
        id=name,
        title=str(entry.get("title", name)),
        license=str(entry.get("license", entry.get("licence", ""))),
        files=files,
        defaults=defaults,
        use=str(entry.get("use", Model.use)),
    )


def get_model(model_id: str, models: Path) -> Model:
    """Return a model by id.

    Raises:
        ModelError: If there is none; the message lists the known ids.
    """
    models_by_id = {model.id: model for model in list_models(models)}
    if model_id not in models_by_id:
        raise ModelError(f"The base model “{model_id[:80]}” is not known; known: {', '.join(models_by_id)}.", field="base_model")
    return models_by_id[model_id]


def model_of_file(transformer: Path) -> str | None:
    """Return the id of the model whose transformer is at a path, None if no catalog has it.

    The catalogs are the models.yaml of a folder that the file is in, and the built-in one.
    """
    candidates = list(_built_in().values())
    with suppress(ModelError):
        listed = [model for folder in transformer.parents if (folder / CATALOG).is_file() for model in list_models(folder)]
        candidates = listed or candidates
    names = ((model.id, Path(path).parts) for model in candidates for path in model.files["transformer"])
    matches = [(len(parts), model_id) for model_id, parts in names if transformer.parts[-len(parts) :] == parts]
    return max(matches)[1] if matches else None


def is_present(model: Model, models: Path) -> bool:
    """Return True if every file of a model exists."""
    return all(_locate(paths, models) is not None for paths in model.files.values())


def default_model(models: Path) -> str:
    """Return the id of the default model: flux-dev if its files exist, else the pocket model."""
    models_by_id = {model.id: model for model in list_models(models)}
    return PREFERRED if PREFERRED in models_by_id and is_present(models_by_id[PREFERRED], models) else FALLBACK


def find_files(model_id: str, models: Path) -> FoundFiles:
    """Return the paths of a model's files; its tokenizers are in the folders of the text encoders.

    Raises:
        ModelError: If files are missing (details list all), or one is damaged or of another kind.
    """
    model = get_model(model_id, models)
    located = {role: _locate(paths, models) for role, paths in model.files.items()}
    if missing := list(_missing(model, located, models)):
        raise missing_parts_error(model.short_title, missing, models)
    present = {role: path for role, path in located.items() if path is not None}
    for role, path in present.items():
        check_file(path, role)
    _check_tokenizers(present)
    return FoundFiles(**present)


def _missing(model: Model, located: Mapping[str, Path | None], models: Path) -> Iterator[MissingPart]:
    """Yield the files that are missing, then the tokenizers, which are expected beside their text encoders."""
    for role, path in located.items():
        if path is None:
            yield missing_file(ROLES[role], model.files[role][0])
    for role, tokenizer in tokenizers().items():
        encoder = located[role] or models / model.files[role][0]
        if tokenizer.find(encoder) is None:
            beside = encoder.parent
            yield missing_tokenizer(tokenizer, beside.relative_to(models) if beside.is_relative_to(models) else beside)


def _check_tokenizers(encoders: Mapping[str, Path]) -> None:
    """Raise ModelError if a file of a tokenizer is a named pipe or a device, for which the trainer would wait."""
    for role, tokenizer in tokenizers().items():
        folder = tokenizer.find(encoders[role])
        if folder is not None and (entry := irregular_entry(folder)):
            path, reason = entry
            raise ModelError(f"T{tokenizer.title[1:]}'s file {path} cannot be read: {reason}.", field="base_model")


def caption_tokenizer(files: FoundFiles) -> Path | None:
    """Return the folder of the tokenizer of T5, which reads captions without truncation; None if there is none."""
    return tokenizers()["t5xxl"].find(files.t5xxl)


def _locate(paths: tuple[str, ...], models: Path) -> Path | None:
    return next((models / path for path in paths if (models / path).exists()), None)


def check_file(path: Path, role: str) -> None:
    """Raise ModelError if a file is damaged or identified as another kind of file; unknown kinds are accepted."""
    identity, what = identify(path), f"{ROLES[role][0].upper()}{ROLES[role][1:]}"
    if identity.problem is not None:
        raise ModelError(f"{what} {path}: the {identity.problem}.", field="base_model")
    if identity.roles and role not in identity.roles:
        raise ModelError(f"{what} {path} is {identity.words}; put the right file there.", field="base_model")


def apply_defaults(state: Mapping[str, Any], models: Path) -> dict[str, Any]:
    """Return a state with missing settings filled from its model's defaults; without a model, the default model is used."""
    filled = dict(state)
    if filled.get("base_model") in (None, ""):
        filled["base_model"] = default_model(models)
    defaults = get_model(str(filled["base_model"]), models).defaults
    for name, value in defaults.items():
        if name != "advanced" and filled.get(name) is None:
            filled[name] = value
    advanced = filled.get("advanced")
    filled["advanced"] = (
        {**defaults.get("advanced", {}), **advanced} if isinstance(advanced, Mapping) else dict(defaults.get("advanced", {}))
    )
    return filled


def regularization_folder(config: TrainConfig, models: Path) -> Path | None:
    """Return the folder of regularization images, resolved against the models folder.

    Raises:
        ModelError: If it does not exist.
    """
    named = config.flag("reg_data_dir")
    if not named:
        return None
    folder = models / str(named)
    if not os.path.isdir(folder):  # noqa: PTH112 (unlike Path's it takes every name)
        label = SETTINGS["reg_data_dir"].label
        raise ModelError(f"{label}: the folder {folder} is missing. Correct the path, or leave the field empty.", field="reg_data_dir")
    return folder
