"""An image in the terminal from a FLUX model and LoRA files, to look at what was trained; the flags are those of kohya's script of that name.

`python sd-scripts/flux_minimal_inference.py --help` lists them. Text encoders, transformer and VAE are loaded and freed in turn, so that
only one of them needs to fit. Exit codes: 0 done, 2 an error that the user can fix.
"""

import argparse
import gc
import logging
import random
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

import library  # noqa: F401, makes fluxgym.contract importable
from fluxgym.contract.limits import MAX_SWAPPED
from fluxgym.contract.sample_prompts import RANGES
from library.command_parser import Parser
from library.config import BaseWeights, ModelConfig, PlacementConfig, Quantization
from library.errors import TrainerError
from library.failures import explain_error
from library.files import disk_errors
from library.models.family import TRANSFORMER, ModelFamily
from library.models.flux1.family import SAMPLING_DEFAULTS
from library.models.registry import find_family
from library.number_parsing import finite, number
from library.placement.cpu import fast_dtype
from library.placement.layout import autocast, choose_device
from library.placement.quantization import QUANTIZED_LAYERS
from library.sample_prompts import SamplePrompt
from library.sampling import EncodedPrompt, initial_noise, sample_latents, to_image
from library.training.base_model import BaseModel
from networks.lora_inference import Attachment, read_attachment

DTYPES = {
    "bfloat16": torch.bfloat16, "bf16": torch.bfloat16, "float16": torch.float16, "fp16": torch.float16, "float32": torch.float32,
    "fp32": torch.float32, "float": torch.float32,
}  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; names and defaults are kohya's."""
    parser = Parser(prog="flux_minimal_inference.py", description="Draw an image with FLUX.1 and LoRA files.", allow_abbrev=False)
    add = parser.add_argument
    add("--ckpt_path", required=True, help="the transformer: a .safetensors file, an index of shards, or a folder of diffusers'")
    add("--clip_l", required=True, help="the CLIP-L text encoder")
    add("--t5xxl", required=True, help="the T5 text encoder")
    add("--ae", required=True, help="the VAE")
    add("--model_type", choices=["flux"], default="flux", help="only flux")
    add("--tokenizer_cache_dir", help="folder of the tokenizers, if they are not beside the encoders")
    add("--apply_t5_attn_mask", action="store_true", help="mask T5's padding in the transformer's attention")
    add("--prompt", default="A photo of a cat", help="what to draw")
    add("--negative_prompt", help="what not to draw; needs --cfg_scale")
    add("--cfg_scale", type=number, default=1.0, help="strength of classifier-free guidance; 1 is off")
    add("--guidance", type=number, default=3.5, help="dev's embedded guidance")
    add("--width", type=int, default=1360, help="pixels, floored to 16")
    add("--height", type=int, default=768, help="pixels, floored to 16")
    add(
        "--steps",
        type=int,
        help="Euler steps; " + " and ".join(f"{each.steps} for {name}" for name, each in SAMPLING_DEFAULTS.items()) + " if not given",
    )
    add("--seed", type=int, help="of the starting noise; drawn and printed if not given")
    add("--output_dir", default=".", help="where the PNG goes, named after the time")
    add("--lora_weights", nargs="*", default=[], metavar="FILE;MULTIPLIER", help="LoRA files, each with its strength if that is not 1")
    add("--merge_lora_weights", action="store_true", help="merge them into the weights instead of computing beside them")
    add("--dtype", default="bfloat16", choices=DTYPES, help="precision of all models")
    add("--flux_dtype", choices=[*DTYPES, *QUANTIZED_LAYERS], help="precision of the transformer; fp8, int8 and nf4 keep it small")
    for name in ("clip_l", "t5xxl", "ae"):
        add(f"--{name}_dtype", choices=DTYPES, help="precision of this model" + ("; both encoders have one" if name != "ae" else ""))
    add("--blocks_to_swap", type=int, help=f"how much of the transformer stays in main memory, 0 to {MAX_SWAPPED}; as in the trainer")
    add("--offload", action="store_true", help="has no effect: models are loaded and freed in turn in any case")
    return parser


def main(argv: Sequence[str]) -> int:
    """Draw one image by the flags; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        args = _checked(build_parser().parse_args(argv))
        path = Path(args.output_dir) / f"{datetime.now():%Y%m%d_%H%M%S}.png"
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            image = draw(args)
        with disk_errors(path):
            image.save(path)
    except TrainerError as error:
        return _refuse(str(error))
    except (MemoryError, OSError, RuntimeError) as error:
        explanation = explain_error(error)
        if explanation is None:
            raise
        return _refuse(explanation[0])
    print(f"saved {path} (seed {args.seed})", flush=True)
    return 0


def _refuse(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    return 2


def _checked(args: argparse.Namespace) -> argparse.Namespace:
    """Fill in what was not given.

    Raises:
        TrainerError: For values that no image can have.
    """
    bounds = {"width": RANGES["width"], "height": RANGES["height"], "steps": RANGES["sample_steps"], "seed": RANGES["seed"],
              "guidance": RANGES["guidance_scale"], "cfg_scale": RANGES["scale"], "blocks_to_swap": (0, MAX_SWAPPED)}  # fmt: skip
    for name, (low, high) in bounds.items():
        if (value := getattr(args, name)) is not None and not low <= value <= high:
            raise TrainerError(f"--{name} {value} must lie between {low} and {high}.")
    if args.negative_prompt is not None and args.cfg_scale == 1:
        raise TrainerError("--negative_prompt needs a --cfg_scale other than 1.")
    if args.clip_l_dtype and args.t5xxl_dtype and args.clip_l_dtype != args.t5xxl_dtype:
        raise TrainerError("--clip_l_dtype and --t5xxl_dtype must be the same.")
    args.seed = random.SystemRandom().randrange(2**32) if args.seed is None else args.seed
    return args


def draw(args: argparse.Namespace) -> Image.Image:
    """Return the image that the flags request."""
    device = choose_device()
    loras = [_attachment(text) for text in args.lora_weights]
    family = find_family(_files(args))
    prompt = SamplePrompt(
        prompt=args.prompt, width=args.width, height=args.height, seed=args.seed, sample_steps=args.steps or family.sampling_defaults.steps,
        guidance_scale=args.guidance, scale=args.cfg_scale, negative_prompt=args.negative_prompt or "",
    ).on_grid()  # fmt: skip
    encoded = _encode(
        _base(args, family, loras, _dtype(args.t5xxl_dtype or args.clip_l_dtype or args.dtype, device), device), prompt, loras
    )
    kind = args.flux_dtype or args.dtype
    base = _base(args, family, loras, _dtype(args.dtype if kind in QUANTIZED_LAYERS else kind, device), device)
    placement = PlacementConfig(
        base_quantization=Quantization(kind) if kind in QUANTIZED_LAYERS else None, blocks_to_swap=args.blocks_to_swap
    )
    latents = _integrate(base, placement, encoded, loras)
    vae = family.load_vae(base.files, _dtype(args.ae_dtype or args.dtype, device), device)
    return to_image(family.decode_latents(vae, latents))


def _dtype(name: str, device: torch.device) -> torch.dtype:
    return fast_dtype(DTYPES[name], device)


def _files(args: argparse.Namespace) -> ModelConfig:
    return ModelConfig(
        pretrained_model_name_or_path=args.ckpt_path, ae=args.ae, clip_l=args.clip_l, t5xxl=args.t5xxl,
        tokenizer_cache_dir=args.tokenizer_cache_dir, apply_t5_attn_mask=args.apply_t5_attn_mask,
    )  # fmt: skip


def _attachment(text: str) -> Attachment:
    path, _, multiplier = text.partition(";")
    try:
        return read_attachment(path, finite(multiplier) if multiplier else 1.0)
    except ValueError:
        raise TrainerError(f"--lora_weights {text}: {multiplier} is not a number; write FILE;0.8 in quotes.") from None


def _base(args: argparse.Namespace, family: ModelFamily, loras: list[Attachment], dtype: torch.dtype, device: torch.device) -> BaseModel:
    """Return the loader of the models; --merge_lora_weights is the trainer's --base_weights."""
    merged = [BaseWeights(path=str(lora.file.path), multiplier=lora.multiplier) for lora in loras] if args.merge_lora_weights else []
    return BaseModel(family, _files(args), merged, device=device, dtype=dtype)


def _encode(base: BaseModel, prompt: SamplePrompt, loras: list[Attachment]) -> EncodedPrompt:
    """Encode the prompt and, with guidance, the negative prompt; the encoders are gone afterwards."""
    encoders = base.load_text_encoders()
    for lora in [] if base.base_weights else loras:
        for part, model in encoders.parts().items():
            lora.attach(model, base.family.lora_parts[part].prefix, device=base.device)
    with autocast(base.device, base.dtype):
        text = base.family.encode_text(encoders, [prompt.prompt], frozenset())
        negative_text = None if prompt.scale == 1 else base.family.encode_text(encoders, [prompt.negative_prompt], frozenset())
    del encoders
    _free_memory()
    return EncodedPrompt(prompt=prompt, text=text, negative_text=negative_text)


def _integrate(base: BaseModel, placement: PlacementConfig, encoded: EncodedPrompt, loras: list[Attachment]) -> Tensor:
    """Return the image's latents (1, 16, H/8, W/8); the transformer is gone afterwards."""
    flux = base.load_transformer(placement)
    for lora in [] if base.base_weights else loras:
        lora.attach(flux, base.family.lora_parts[TRANSFORMER].prefix, device=base.device)
    if base.dtype == torch.float16:
        raise TrainerError("The transformer of FLUX overflows in float16; use --flux_dtype bf16, and float16 for the others if you like.")
    with autocast(base.device, base.dtype):
        latents = sample_latents(base.family, flux, encoded, initial_noise(base.family.geometry, encoded.prompt, 0, None))
    if not latents.isfinite().all():
        raise TrainerError("The image contains NaN; a LoRA is damaged, its multiplier is too large, or a precision is too low.")
    del flux
    _free_memory()
    return latents


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
