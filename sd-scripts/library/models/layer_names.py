"""Layer names of a model family: its own, diffusers', and kohya's LoRA modules.

A family gives one table, for FLUX.1 in flux1/layer_names.py. Every conversion between the three forms is derived from it here.
"""

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from library.weights.model_files import TensorRecipe


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of a transformer under its own name and diffusers'.

    Attributes:
        name: The module's own path, inside its block.
        parts: diffusers' modules; their rows, one after another, are the layer's rows.
        multiples: Rows of each part as multiples of the layer's inputs. The last part takes the remaining rows.
        is_norm: The parameter's own name is `scale` instead of `weight`; a norm is never part of a LoRA.
        swap_halves: diffusers has the two halves of the rows in the other order.
    """

    name: str
    parts: tuple[str, ...]
    multiples: tuple[int, ...] = (1,)
    is_norm: bool = False
    swap_halves: bool = False

    def part_rows(self, in_features: int, out_features: int | None = None) -> list[int]:
        """Return the rows of each part; without `out_features`, those of the family's usual widths."""
        rows = [multiple * in_features for multiple in self.multiples]
        return rows if out_features is None else [*rows[:-1], out_features - sum(rows[:-1])]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Layers that repeat in numbered blocks. Both names are empty for the layers outside of blocks."""

    name: str
    diffusers: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True, kw_only=True)
class TextLayers:
    """The layers of a text encoder that a LoRA may train; their module paths are the same everywhere.

    Attributes:
        prefix: kohya's prefix, such as "lora_te1".
        diffusers: The encoder's name in a pipeline of diffusers, such as "text_encoder".
        path: The module path with {} for each field.
        fields: A regular expression for each field.
        aliases: What other programs put in front of the path instead of the prefix.
    """

    prefix: str
    diffusers: str
    path: str
    fields: tuple[str, ...]
    aliases: tuple[str, ...] = ()

    def matches(self, path: str) -> bool:
        """Return True if a module path is one of these layers."""
        return re.fullmatch(self._pattern(re.escape(self.path).replace(r"\{\}", "{}")), path) is not None

    def path_of(self, module: str) -> str | None:
        """Return the module path of a kohya module name; None for another module."""
        match = re.fullmatch(self._pattern(f"{self.prefix}_{self.path.replace('.', '_')}"), module)
        return self.path.format(*match.groups()) if match else None

    def _pattern(self, template: str) -> str:
        return template.format(*(f"({field})" for field in self.fields))


@dataclass(frozen=True, kw_only=True)
class LayerNames:
    """The names of all layers of a family.

    Attributes:
        prefix: kohya's prefix of the transformer's modules.
        stacks: The transformer's layers.
        text: The text encoders' layers.
        mark: A tensor name that only a transformer under diffusers' names has.
        aliases: What other programs put in front of a transformer's layer in LoRA files instead of the prefix.
    """

    prefix: str
    stacks: tuple[Stack, ...]
    text: tuple[TextLayers, ...]
    mark: str
    aliases: tuple[str, ...] = ("transformer",)

    @property
    def prefixes(self) -> tuple[str, ...]:
        """kohya's prefixes of all parts, the transformer's first."""
        return (self.prefix, *(text.prefix for text in self.text))

    def prefix_of(self, module: str) -> str | None:
        """Return the prefix of a kohya module name; None if it belongs to no part of this family."""
        return next((prefix for prefix in self.prefixes if module.startswith(f"{prefix}_")), None)

    def is_trainable(self, prefix: str, path: str) -> bool:
        """Return True if the Linear at a module path of one part may get a LoRA."""
        return prefix == self.prefix or any(text.prefix == prefix and text.matches(path) for text in self.text)

    def layer_at(self, module: str) -> Layer | None:
        """Return the transformer's layer that a kohya module name belongs to; None for any other name."""
        found = self._find(module)
        return found[0] if found else None

    def diffusers_modules(self, module: str) -> tuple[str, ...]:
        """Return diffusers' modules, with the pipeline part in front, of a kohya module; empty for an unknown name."""
        for text in self.text:
            if path := text.path_of(module):
                return (f"{text.diffusers}.{path}",)
        if found := self._find(module):
            layer, block = found
            return tuple(f"transformer.{block}{part}" for part in layer.parts)
        return ()

    def kohya_module(self, owner: str) -> tuple[str, int | None] | None:
        """Return the kohya module of a module name in any program's LoRA; None for an unknown name.

        The second value is the index of diffusers' part in it, None for the whole layer under its own name. Dots and underscores count as
        equal, since some programs write one for the other.
        """
        flat = _flat(owner)
        for text in self.text:
            for path in _after(flat, (text.prefix, text.diffusers, *text.aliases)):
                if text.path_of(f"{text.prefix}_{path}") is not None:
                    return f"{text.prefix}_{path}", 0
        for path in (flat, *_after(flat, (self.prefix, *self.aliases))):
            if self._find(module := f"{self.prefix}_{path}"):
                return module, None
            if found := self._find_part(path):
                return found
        return None

    def _find_part(self, path: str) -> tuple[str, int] | None:
        """Return the kohya module and the index of a diffusers module, whose path has underscores for dots."""
        for stack in self.stacks:
            match = re.fullmatch(rf"{_flat(stack.diffusers)}_(\d+)_(\w+)" if stack.diffusers else r"()(\w+)", path)
            for layer in stack.layers if match else ():
                parts = [_flat(part) for part in layer.parts]
                if match and not layer.is_norm and match[2] in parts:
                    return kohya_name(self.prefix, _block(stack.name, match[1]) + layer.name), parts.index(match[2])
        return None

    def recipes(self, names: Iterable[str]) -> dict[str, TensorRecipe]:
        """Return how the transformer's own tensors are made of diffusers'; empty if these are not diffusers' names."""
        names = set(names)
        if self.mark not in names:
            return {}
        return {
            own: recipe
            for stack in self.stacks
            for index in _block_indices(stack.diffusers, names)
            for layer in stack.layers
            for own, recipe in _recipes(layer, _block(stack.name, index), _block(stack.diffusers, index), names)
        }

    @cached_property
    def _by_kohya_name(self) -> Mapping[str, Mapping[str, Layer]]:
        return {stack.name: {_flat(layer.name): layer for layer in stack.layers if not layer.is_norm} for stack in self.stacks}

    def _find(self, module: str) -> tuple[Layer, str] | None:
        """Return a kohya module's layer and diffusers' path of its block."""
        for stack in self.stacks:
            block = rf"{_flat(stack.name)}_(\d+)_" if stack.name else "()"
            match = re.fullmatch(rf"{self.prefix}_{block}(\w+)", module)
            if match and (layer := self._by_kohya_name[stack.name].get(match[2])):
                return layer, _block(stack.diffusers, match[1])
        return None


def kohya_name(prefix: str, path: str) -> str:
    """Return kohya's name of the LoRA module for a layer: "lora_unet" and "img_in" give "lora_unet_img_in"."""
    return f"{prefix}_{_flat(path)}"


def _flat(path: str) -> str:
    return path.replace(".", "_")


def _after(flat: str, prefixes: Iterable[str]) -> Iterator[str]:
    """Yield what follows each of the prefixes that a flat name has."""
    for prefix in prefixes:
        if flat.startswith(start := f"{_flat(prefix).removesuffix('_')}_"):
            yield flat.removeprefix(start)


def _block(stack: str, index: str) -> str:
    return f"{stack}.{index}." if stack else ""


def _block_pattern(stack: str) -> str:
    return rf"{re.escape(stack)}\.(\d+)\." if stack else "()"


def _block_indices(stack: str, names: Iterable[str]) -> set[str]:
    return {match[1] for name in names if (match := re.match(_block_pattern(stack), name))}


def _recipes(layer: Layer, own: str, theirs: str, names: Container[str]) -> Iterator[tuple[str, TensorRecipe]]:
    for leaf in ("weight",) if layer.is_norm else ("weight", "bias"):
        parts = tuple(f"{theirs}{part}.{leaf}" for part in layer.parts)
        if any(part in names for part in parts):  # a missing part is reported when the tensor is read
            yield f"{own}{layer.name}.{'scale' if layer.is_norm else leaf}", TensorRecipe(parts, swap_halves=layer.swap_halves)
