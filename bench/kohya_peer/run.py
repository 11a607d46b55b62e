"""Run a kohya-ss/sd-scripts checkout's FLUX trainer on the mini stack: `python run.py CHECKOUT FLAGS…`, by the checkout's own Python.

Nothing of the checkout is changed. Its constants of FLUX, T5 and the VAE are set to mini's sizes after they are imported, tokenizers
are read from their tokenizer.json, and a stand-in replaces torchvision where it is not installed.
"""

import importlib.util
import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path


def main() -> None:
    """Prepare, then be kohya's trainer."""
    checkout, flags = Path(sys.argv[1]), sys.argv[2:]
    sys.path[:0] = [str(checkout), str(Path(__file__).parent)]
    if importlib.util.find_spec("torchvision") is None:
        import torchvision_stand_in

        torchvision_stand_in.install()
    _shrink_flux()
    _shrink_t5()
    _read_tokenizers_as_json()
    sys.argv = [str(checkout / "flux_train_network.py"), *flags]
    runpy.run_path(sys.argv[0], run_name="__main__")


def _shrink_flux() -> None:
    from library import flux_models

    for spec in flux_models.configs.values():
        spec.params = replace(spec.params, hidden_size=768, num_heads=6)
        spec.ae_params = replace(spec.ae_params, ch=32, ch_mult=[1, 1, 1, 1])


def _shrink_t5() -> None:
    from library import flux_utils

    full = flux_utils.T5Config

    def small(**values):
        return full(**(values | {"num_layers": 1, "num_heads": 2, "d_ff": 64, "vocab_size": 700}))

    flux_utils.T5Config = small


def _read_tokenizers_as_json() -> None:
    """Let kohya's tokenizer classes be read from tokenizer.json, with the longest text that tokenizer_config.json gives."""
    from transformers import PreTrainedTokenizerFast

    from library import strategy_flux

    class FromJson:
        @staticmethod
        def from_pretrained(folder, **_):
            config = json.loads((Path(folder) / "tokenizer_config.json").read_text(encoding="utf-8"))
            special = {"pad_token": config["pad_token"], "eos_token": config["eos_token"], "model_max_length": config["model_max_length"]}
            return PreTrainedTokenizerFast(tokenizer_file=str(Path(folder) / "tokenizer.json"), **special)

    strategy_flux.CLIPTokenizer = strategy_flux.T5TokenizerFast = FromJson


if __name__ == "__main__":
    main()
