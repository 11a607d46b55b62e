"""The trainer's command: kohya's flags in, a FLUX LoRA out. `python sd-scripts/flux_train_network.py --help` lists the flags.

Exit codes: 0 done, 2 a mistake of the user's in one sentence, 143 stopped by SIGTERM after saving the state, 144 replaced by another start in
the same folder, 1 anything else.
"""

import sys

import torch

import library  # noqa: F401, makes fluxgym.contract importable
from fluxgym.contract.codes import ERROR_PREFIX, EXIT_FENCED, EXIT_STOPPED
from library.cli.parse import read_flags, to_config, write_config
from library.command import explain_error
from library.errors import CheckpointError, TrainerError
from library.process import Fenced, StopFlag, StopRequested
from library.training.reporting import ProgressLog, set_up_logging
from library.training.setup import build_trainer, describe_dataset


def main(argv: list[str]) -> int:
    """Train by kohya's flags; returns the exit code."""
    torch.set_flush_denormal(True)  # numbers below 1e-38 are as good as zero, and a CPU takes a hundred times longer over them
    stop = StopFlag()
    stop.install()
    progress = ProgressLog(None)
    try:
        flags = read_flags(argv)
        if flags.output_config:
            print(f"wrote {write_config(flags)}; nothing was trained", flush=True)
            return 0
        config = to_config(flags)
        set_up_logging(config.log)
        progress = ProgressLog(config.save.output_dir)
        if config.run.debug_dataset:
            print(describe_dataset(config), flush=True)
            return 0
        build_trainer(config, progress, stop).run()
    except TrainerError as error:
        return _refuse(progress, error)
    except StopRequested:
        print("stopped on request; the state is saved" if progress.step else "stopped on request before the first step", flush=True)
        return EXIT_STOPPED
    except Fenced:
        print("another start has taken over this folder; ended without writing anything more", file=sys.stderr, flush=True)
        return EXIT_FENCED
    except (MemoryError, OSError, RuntimeError) as error:
        known = explain_error(error)
        if known is None:
            raise
        return _refuse(progress, TrainerError(known[0], reason_code=known[1]))
    return 0


def _refuse(progress: ProgressLog, error: TrainerError) -> int:
    progress.fail(error.reason_code, str(error), checkpoint=error.checkpoint if isinstance(error, CheckpointError) else None)
    print(f"{ERROR_PREFIX}{error}", file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
