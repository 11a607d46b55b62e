"""All model families, and which of them a training's files belong to. CONTRIBUTING.md lists what a new family changes elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from library.config import ModelConfig
from library.models.family import FamilyOf, ModelFamily
from library.models.flux1.family import Flux1Family, is_flux1, open_flux1


@dataclass(frozen=True, kw_only=True)
class FamilyEntry:
    """A family's name, whether a model's files belong to it, and how to open it for them (headers only)."""

    name: str
    recognizes: Callable[[ModelConfig], bool]
    open: Callable[[ModelConfig], FamilyOf[Any, Any, Any]]  # each family has classes of its own


FAMILIES = (FamilyEntry(name=Flux1Family.name, recognizes=is_flux1, open=open_flux1),)


def find_family(files: ModelConfig, families: Sequence[FamilyEntry] = FAMILIES) -> ModelFamily:
    """Return the family of a model's files, for the version that they hold. Reads headers only.

    Raises:
        TrainerError: If no family recognizes the files; the first one's error says what is wrong with them.
    """
    entry = next((entry for entry in families if entry.recognizes(files)), families[0])
    return entry.open(files)
