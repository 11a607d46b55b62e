"""Loading the FLUX.1 transformer: BFL's and ComfyUI's single files, diffusers' files and folders, in any precision that files come in."""

from collections.abc import Callable

import torch

from library.errors import TrainerError
from library.models.diffusers_keys import flux_pieces
from library.models.flux_model import Flux, FluxParams, params_from_shapes
from library.models.model_files import ModelFiles, Place

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.")
IN_CHANNELS = 64  # 16 latent channels by 2x2 pixels
Prepare = Callable[[Flux], Place | None]


def open_flux(path: str, *, mapped: bool = True) -> tuple[ModelFiles, FluxParams]:
    """Read a FLUX transformer's headers only: the open files and its dimensions; raises TrainerError as load_flux does."""
    file = ModelFiles(path, "the FLUX model", folders=("transformer",), prefixes=PREFIXES, mapped=mapped)
    file.translate(flux_pieces(file.stored_names()))
    try:
        params = params_from_shapes({name: file.shape(name) for name in file.names if _tells(name)})
    except KeyError as error:
        raise file.is_other_kind("a FLUX transformer", str(error.args[0])) from None
    except StopIteration:
        raise file.is_other_kind("a FLUX transformer", "double_blocks.0.img_attn.norm.query_norm.scale") from None
    if params.in_channels != IN_CHANNELS:
        raise TrainerError(
            f"{path} is a FLUX transformer for {params.in_channels} input channels instead of {IN_CHANNELS}, such as Fill, Depth or Canny; "
            "choose dev or schnell.",
            reason_code="bad_model",
        )
    return file, params


def _tells(name: str) -> bool:
    """Say whether a tensor belongs to the transformer; a piece of it may be missing, which is named when it is read."""
    return name.startswith(("img_in.", "txt_in.", "vector_in.", "guidance_in.", "double_blocks.", "single_blocks."))


def load_flux(
    path: str,
    *,
    dtype: torch.dtype | None,
    device: torch.device | str | Callable[[str], torch.device],
    prepare: Prepare | None = None,
    mapped: bool = True,
) -> Flux:
    """Load a FLUX transformer, tensor by tensor, with `dtype` (None keeps the file's) on `device`, which may be a function of the name.

    `prepare` gets the empty model before it is filled and returns how some of its tensors are stored; see quantization.py.
    Raises TrainerError (bad_model) when a file is missing, truncated, or not a FLUX transformer, naming what is wrong.
    """
    file, params = open_flux(path, mapped=mapped)
    with torch.device("meta"):
        model = Flux(params)
    place = prepare(model) if prepare else None
    file.load_into(model, dtype=dtype, device=device, place=place)
    return model.eval().requires_grad_(False)
