"""`python -m tests.gpu.fake_cuda`: the step of each VRAM tier at FLUX.1's true shapes, 10 to 160 s per row on a CPU; JSON lines."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[3]


def main(argv: list[str]) -> int:
    """Measure the cases that are asked for; returns 0, or 2 where the shim cannot be used."""
    sys.path[:0] = [str(ROOT / "sd-scripts"), str(ROOT)]
    from fluxgym.config.vram_tiers import TIERS
    from tests.gpu.fake_cuda import build

    parser = argparse.ArgumentParser(prog="python -m tests.gpu.fake_cuda", description=__doc__)
    parser.add_argument("--tiers", nargs="*", default=list(TIERS), choices=list(TIERS))
    parser.add_argument("--shapes", default="flux", choices=["flux", "small"])
    parser.add_argument("--resolutions", nargs="*", type=int, default=[512], help="pixels of a side")
    parser.add_argument("--rank", type=int, default=16, help="of the LoRA")
    parser.add_argument("--text_tokens", type=int, default=512)
    parser.add_argument("--checkpointing", nargs="*", default=["full"], choices=["full", "products", "none"])
    parser.add_argument("--swap", type=int, help="--blocks_to_swap in place of the tier's")
    args = parser.parse_args(argv)
    if (reason := build.missing()) is not None:
        print(reason, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        build.load_shim(build.compile_shim(Path(folder)))
    from tests.gpu.fake_cuda import device, step

    device.activate()
    for tier in args.tiers:
        for resolution in args.resolutions:
            for checkpointing in args.checkpointing:
                case = step.Case(tier, args.shapes, resolution, args.rank, args.text_tokens, checkpointing, args.swap)
                print(json.dumps(vars(case) | step.measure(case)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
