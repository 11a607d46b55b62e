"""Train the pocket model in models/pocket/: tokenizers, VAE, transformer and text encoders, guidance distillation, prior images.

    python sd-scripts/pretrain_pocket.py --stage all --work /some/folder --out models/pocket

Each stage writes its result to the work folder and can be repeated separately. Requires requirements-dev.txt (bundled photos) and about an hour
on two cores. Seeds are fixed, but results differ between machines because the order of floating-point sums does.
"""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from library.models.flux1.text_encoders import Tokenizers, load_tokenizers
from library.models.flux1.vae import VAE
from pocket import prior_images, transformer, vae, vocabulary

STEPS = {"vae": 4600, "flux": 4400, "distil": 900, "decoder": 1000}
NUM_SCENES, NUM_CROPS = 22_000, 4_000


def make_tokenizers(work: Path, out: Path) -> None:
    """Train both tokenizers."""
    vocabulary.build_clip(out / "tokenizer_clip")
    vocabulary.build_t5(out / "tokenizer_t5")


def make_vae(work: Path, out: Path) -> None:
    """Pretrain the VAE."""
    _save(vae.train_vae(STEPS["vae"]), work / "ae.safetensors")


def make_flux(work: Path, out: Path) -> None:
    """Pretrain the transformer and the text encoders."""
    corpus, tokenizers = _corpus(work, out)

    def save(networks: transformer.Networks) -> None:
        _save(networks.modules(), work / "teacher.safetensors")

    save(transformer.pretrain(transformer.new_networks(tokenizers), corpus, STEPS["flux"], save))


def make_distil(work: Path, out: Path) -> None:
    """Distil classifier-free guidance into the guidance embedding."""
    corpus, tokenizers = _corpus(work, out)
    teacher = _load_networks(work / "teacher.safetensors", tokenizers)
    _save(transformer.distil_guidance(teacher, corpus, STEPS["distil"]).modules(), work / "student.safetensors")


def make_decoder(work: Path, out: Path) -> None:
    """Train the VAE's decoder further, with unchanged latents."""
    _save(vae.sharpen_decoder(_load_vae(work), STEPS["decoder"]), work / "ae_sharp.safetensors")


def make_export(work: Path, out: Path) -> None:
    """Write the trained networks in bfloat16, under the file names of FLUX.1."""
    networks = _load_networks(work / "student.safetensors", _tokenizers(out))
    _save(_load_vae(work, "ae_sharp"), out / "ae.safetensors", torch.bfloat16)
    _save(networks.flux, out / "flux.safetensors", torch.bfloat16)
    _save(networks.clip, out / "clip_l.safetensors", torch.bfloat16)
    _save(networks.t5, out / "t5xxl.safetensors", torch.bfloat16, drop="encoder.embed_tokens.weight")


def make_prior(work: Path, out: Path) -> None:
    """Generate the regularization images with the trained model."""
    prior_images.draw_prior(out, out / "prior")


def _corpus(work: Path, out: Path) -> tuple[transformer.Corpus, Tokenizers]:
    tokenizers = _tokenizers(out)
    return transformer.build_corpus(_load_vae(work), tokenizers, NUM_SCENES, NUM_CROPS), tokenizers


def _tokenizers(out: Path) -> Tokenizers:
    return load_tokenizers(str(out / "clip_l.safetensors"), str(out / "t5xxl.safetensors"), None, 512)


def _load_vae(work: Path, name: str = "ae") -> VAE:
    model = VAE(vae.PARAMS)
    model.load_state_dict(load_file(work / f"{name}.safetensors"))
    return model.eval().requires_grad_(False)


def _load_networks(path: Path, tokenizers: Tokenizers) -> transformer.Networks:
    networks = transformer.new_networks(tokenizers)
    networks.modules().load_state_dict(load_file(path), strict=False)
    return networks


def _save(module: nn.Module, path: Path, dtype: torch.dtype = torch.float32, *, drop: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in module.state_dict().items() if name != drop}
    shared = {name for name in tensors if name.endswith("encoder.embed_tokens.weight")}
    save_file({name: tensor for name, tensor in tensors.items() if name not in shared}, path, metadata={"format": "pt"})


STAGES: dict[str, Callable[[Path, Path], None]] = {
    "tokenizers": make_tokenizers,
    "vae": make_vae,
    "flux": make_flux,
    "distil": make_distil,
    "decoder": make_decoder,
    "export": make_export,
    "prior": make_prior,
}  # in the order in which they run


def main() -> None:
    """Run the stages that --stage selects."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=("all", *STAGES), default="all")
    parser.add_argument("--work", type=Path, required=True, help="folder for the stages' float32 results")
    parser.add_argument("--out", type=Path, default=Path("models/pocket"), help="folder for the finished model")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.work.mkdir(parents=True, exist_ok=True)
    for stage in STAGES if args.stage == "all" else (args.stage,):
        STAGES[stage](args.work, args.out)


if __name__ == "__main__":
    main()
