"""Write kohya_lora_keys.json: which modules the real kohya's networks.lora_flux trains for which --network_args, with rank and alpha.

Run as `python tests/support/kohya_lora_keys.py CHECKOUT` with a checkout of kohya-ss/sd-scripts (the file was made with 48d368fa). The models
have FLUX.1's and CLIP-L's widths, 2 double and 3 single blocks, 1 layer of text, and no memory: all is on PyTorch's meta device.
"""

import json
import sys
from pathlib import Path
from unittest.mock import MagicMock

import torch
from diffusers import AutoencoderKL  # noqa: F401, loaded before torchvision gets its stand-in
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

OUTPUT = Path(__file__).with_suffix(".json")
NOT_NEEDED = (
    "torchvision",
    "torchvision.transforms",
    "cv2",
    "library.sdxl_original_unet",
)  # imported by kohya's modules, not used for this
CASES = {
    "plain": {},
    "train_blocks=single": {"train_blocks": "single"},
    "train_blocks=double": {"train_blocks": "double"},
    "parts": {"img_attn_dim": "1", "txt_attn_dim": "2", "img_mlp_dim": "3", "txt_mlp_dim": "5", "img_mod_dim": "6", "txt_mod_dim": "7"},
    "parts_left_out": {"img_mod_dim": "0", "txt_mod_dim": "0", "single_mod_dim": "0", "single_dim": "9"},
    "in_dims": {"in_dims": "[4,0,2,3,1]"},
    "blocks": {"train_double_block_indices": "1", "train_single_block_indices": "0,2"},
    "blocks_range": {"train_double_block_indices": "none", "train_single_block_indices": "1-2"},
    "patterns": {"network_reg_dims": "single_blocks_1=3,txt_attn=6,self_attn_q=2,img_mod=0"},
    "pattern_and_blocks": {"network_reg_dims": "blocks_0_linear1=8", "train_single_block_indices": "1", "single_dim": "3"},
    "train_t5xxl": {"train_t5xxl": "True"},
}


def main(checkout: str) -> None:
    """Ask kohya's code and write the file."""
    sys.path.insert(0, checkout)
    for name in NOT_NEEDED:
        sys.modules[name] = MagicMock()
    from library import flux_models  # kohya's
    from networks import lora_flux  # kohya's

    params = flux_models.configs["dev"].params
    params.depth, params.depth_single_blocks = 2, 3
    found = {}
    with torch.device("meta"):
        flux = flux_models.Flux(params)
        text = torch.nn.Module()  # newer versions of transformers name CLIP's layers without the outermost part
        text.text_model = CLIPTextModel(CLIPTextConfig(num_hidden_layers=1))
        t5 = T5EncoderModel(T5Config(num_layers=1, feed_forward_proj="gated-gelu"))
        for name, arguments in CASES.items():
            network = lora_flux.create_network(1.0, 4, 2.0, None, [text, t5], flux, **arguments)
            loras = network.text_encoder_loras + network.unet_loras
            found[name] = {
                "network_args": arguments,
                "modules": {lora.lora_name: [lora.lora_dim, lora.scale * lora.lora_dim] for lora in loras},
            }
    OUTPUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
