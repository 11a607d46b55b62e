"""The standard work "mini" of performance.md: its models, its images, and FluxGym's 16G flags for them.

A FLUX checkpoint of random weights, 768 wide (6 heads of 128, 2 double and 4 single blocks, 85 M parameters); CLIP-L at its true size;
T5 with one layer and its true 4096 channels; 8 images at 512 px; 512 text tokens, that is 1,536 tokens per step. `python -m bench.mini
FOLDER` writes the files in another process, so that the caller does not import torch.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NUM_IMAGES, RESOLUTION, TEXT_TOKENS = 8, 512, 512
TOKENIZERS = ("openai_clip-vit-large-patch14", "google_t5-v1_1-xxl")
FILES = {"pretrained_model_name_or_path": "flux", "ae": "ae", "clip_l": "clip_l", "t5xxl": "t5xxl"}
TRAINER = ROOT / "sd-scripts" / "flux_train_network.py"


def write(folder: Path) -> None:
    """Write models, tokenizers, images and dataset.toml into an empty folder, in a child process, so that this one does not import torch."""
    code = "import sys; sys.path[:0] = ['sd-scripts']; from bench.mini import _write; _write(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True)


def flags(folder: Path, out: Path) -> list[str]:
    """Return FluxGym's command line for its 16G tier, all defaults, over the files of `folder`. Written out, so that figures of all days compare."""
    models = [word for flag, name in FILES.items() for word in (f"--{flag}", str(folder / f"{name}.safetensors"))]
    return [
        *models, "--tokenizer_cache_dir", str(folder / "tokenizers"), "--cache_latents_to_disk", "--save_model_as", "safetensors", "--sdpa",
        "--persistent_data_loader_workers", "--max_data_loader_n_workers", "2", "--seed", "42", "--gradient_checkpointing",
        "--mixed_precision", "bf16", "--save_precision", "bf16", "--network_module", "networks.lora_flux", "--network_dim", "4",
        "--learning_rate", "8e-4", "--cache_text_encoder_outputs", "--cache_text_encoder_outputs_to_disk", "--fp8_base", "--highvram",
        "--max_train_epochs", "16", "--save_every_n_epochs", "4", "--dataset_config", str(folder / "dataset.toml"), "--output_dir", str(out),
        "--output_name", "mini", "--timestep_sampling", "shift", "--discrete_flow_shift", "3.1582", "--model_prediction_type", "raw",
        "--guidance_scale", "1.0", "--loss_type", "l2", "--optimizer_type", "adafactor", "--optimizer_args", "relative_step=False",
        "scale_parameter=False", "warmup_init=False", "--lr_scheduler", "constant_with_warmup", "--max_grad_norm", "0.0",
    ]  # fmt: skip


def _write(target: str) -> None:
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    _write_models(folder)
    _write_tokenizers(folder / "tokenizers")
    _write_images(folder)


def _write_models(folder: Path) -> None:
    """Write the four model files in bfloat16; weights are torch's own initialization, so that activations keep their size."""
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPTextConfig, T5Config, T5EncoderModel

    from library.models.flux1.text_encoders import ClipTextEncoder
    from library.models.flux1.vae import VAE, VAEParams

    torch.manual_seed(0)
    clip = CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, hidden_act="quick_gelu",
        bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    t5 = T5Config(
        vocab_size=700, d_model=4096, d_kv=64, d_ff=64, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu", is_encoder_decoder=False
    )
    models = {
        "flux": make_flux(),
        "ae": VAE(VAEParams(channels=(32, 32, 32, 32), num_res_blocks=2, z_channels=16)),
        "clip_l": ClipTextEncoder(clip),
        "t5xxl": T5EncoderModel(t5),
    }
    _minimize_variance(models["ae"])
    for name, model in models.items():
        state = {key: tensor for key, tensor in model.to(torch.bfloat16).state_dict().items() if key != "encoder.embed_tokens.weight"}
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, folder / f"{name}.safetensors")


def _minimize_variance(vae) -> None:
    """Set the variance of the encoder's latents close to 0, where FLUX's VAE has it.

    kohya samples the latents around their mean and our trainer takes the mean. With random weights the variance would be large, and the
    two would train on different latents.
    """
    out = vae.encoder.conv_out
    means = out.out_channels // 2
    out.weight.data[means:] = 0
    out.bias.data[means:] = -20  # the logarithm of the variance


def make_flux():
    """Return the mini transformer, in float32; needs sd-scripts on the path."""
    from library.models.flux1.transformer import Flux, FluxParams

    sizes = {"in_channels": 64, "context_dim": 4096, "vec_dim": 768, "hidden_size": 768, "num_heads": 6, "mlp_dim": 3072}
    return Flux(FluxParams(**sizes, depth=2, depth_single_blocks=4, guidance_embed=True))


def _write_tokenizers(folder: Path) -> None:
    """Write the pocket's tokenizers under the folder names that both trainers look for; T5's reads as many tokens as FLUX dev does."""
    from pocket.vocabulary import build_clip, build_t5

    build_clip(folder / TOKENIZERS[0])
    t5 = build_t5(folder / TOKENIZERS[1])
    t5.model_max_length = TEXT_TOKENS
    t5.save_pretrained(folder / TOKENIZERS[1])


def _write_images(folder: Path) -> None:
    import tomli_w

    from tests.support.photos import write_cats

    write_cats(folder / "images", count=NUM_IMAGES, size=RESOLUTION)
    subset = {"image_dir": str(folder / "images"), "class_tokens": "sks cat", "num_repeats": 10}
    dataset = {"resolution": RESOLUTION, "batch_size": 1, "keep_tokens": 1, "subsets": [subset]}
    general = {"shuffle_caption": False, "caption_extension": ".txt", "keep_tokens": 1}
    (folder / "dataset.toml").write_text(tomli_w.dumps({"general": general, "datasets": [dataset]}), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
