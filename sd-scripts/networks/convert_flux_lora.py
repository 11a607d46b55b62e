"""Convert a FLUX LoRA between kohya's and diffusers' (PEFT's) keys: `python sd-scripts/networks/convert_flux_lora.py --help`.

The conversion is lossless: converting there and back gives identical tensors.
"""

import sys
from argparse import Namespace
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])

from library.command_parser import Parser
from library.errors import TrainerError
from networks.command_line import run_command
from networks.lora_file import read_lora, write_lora

FORMS = {"kohya": "kohya", "sd-scripts": "kohya", "diffusers": "diffusers", "ai-toolkit": "diffusers"}


def build_parser() -> Parser:
    """Return the parser, with kohya's flag names."""
    parser = Parser(description="Rename a FLUX LoRA's tensors: kohya's keys to diffusers' (PEFT's), or back.")
    parser.add_argument("--src_path", required=True, help="the LoRA to read")
    parser.add_argument("--dst_path", required=True, help="the .safetensors file to write")
    parser.add_argument("--dst", required=True, choices=list(FORMS), help="the format to write; kohya calls them sd-scripts and ai-toolkit")
    parser.add_argument("--src", choices=list(FORMS), help="the format of the source; detected by default")
    return parser


def convert(args: Namespace) -> str:
    """Convert one file and return a message.

    Raises:
        TrainerError: If the file does not have the given source format.
    """
    lora = read_lora(args.src_path, "--src_path")
    form = lora.form
    if args.src and FORMS[args.src] != form:
        raise TrainerError(f"--src is {args.src}, but {args.src_path} has {form}'s keys.")
    write_lora(lora.tensors, args.dst_path, lora.metadata, diffusers=FORMS[args.dst] == "diffusers", dtype=None)
    return f"saved {args.dst_path}: {len(lora.ranks())} modules, from {form}'s keys to {FORMS[args.dst]}'s"


if __name__ == "__main__":
    sys.exit(run_command(build_parser(), convert, sys.argv[1:]))
