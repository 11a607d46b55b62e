"""The trainer's command: kohya's flags in, a FLUX LoRA out. `python sd-scripts/flux_train_network.py --help` lists the flags.

Exit codes: 0 done, 2 an error that the user can fix, with its message after `error: `, 28 full disk, 5 unwritable file, 143 stopped by
SIGTERM after saving the state, 144 replaced by another start in the same folder, 1 anything else.
"""

import sys
from contextlib import suppress

import library  # noqa: F401, makes fluxgym.contract importable
from fluxgym.contract.codes import ERROR_PREFIX, EXIT_CODES, EXIT_FENCED, EXIT_REFUSED, EXIT_STOPPED, ReasonCode
from library.cli.parse import read_flags, to_config, write_config
from library.config import TrainerConfig
from library.errors import CheckpointError, TrainerError, warn
from library.failures import explain_error
from library.process import Fenced, StopFlag, StopRequested
from library.training.preflight.settings import CheckedSettings, check_settings
from library.training.progress_log import ProgressLog


def main(argv: list[str]) -> int:
    """Train by kohya's flags; returns the exit code."""
    stop = StopFlag()
    stop.install()
    progress = ProgressLog(None)
    try:
        flags = read_flags(argv)
        if flags.output_config:
            print(f"wrote {write_config(flags)}; nothing was trained", flush=True)
            return 0
        progress = ProgressLog(flags.output_dir)
        config = to_config(flags)
        _report(config)
        _train(check_settings(config), progress, stop)
    except TrainerError as error:
        return _refuse(progress, str(error), error.reason_code, checkpoint=error.checkpoint if isinstance(error, CheckpointError) else None)
    except StopRequested:
        print("stopped on request; the state is saved" if progress.step else "stopped on request before the first step", flush=True)
        return EXIT_STOPPED
    except Fenced:
        print("another start has taken over this folder; ended without writing anything more", file=sys.stderr, flush=True)
        return EXIT_FENCED
    except (MemoryError, OSError, RuntimeError) as error:
        explanation = explain_error(error)
        if explanation is None:
            raise
        return _refuse(progress, *explanation)
    return 0


def _report(config: TrainerConfig) -> None:
    """Print the warnings about the flags, and the seed if it was drawn."""
    for warning in config.warnings:
        warn(warning)
    if config.seed_is_drawn:
        print(f"--seed was not given; {config.run.seed} was drawn", flush=True)


def _train(settings: CheckedSettings, progress: ProgressLog, stop: StopFlag) -> None:
    """Train, or describe the data set. PyTorch and transformers are imported here, after the checks of the flags: importing takes seconds."""
    import torch

    from library.training.reporting import set_up_logging
    from library.training.setup import build_trainer, describe_dataset

    torch.set_flush_denormal(True)  # denormal numbers (below 1e-38) count as 0: a CPU needs a hundred times longer to compute with them
    set_up_logging(settings.config.log)
    for warning in settings.warnings:
        warn(warning)
    stop.check()
    if settings.config.run.debug_dataset:
        print(describe_dataset(settings), flush=True)
        return
    build_trainer(settings, progress, stop).run()


def _refuse(progress: ProgressLog, sentence: str, reason_code: ReasonCode, *, checkpoint: str | None = None) -> int:
    """Report why the training ends, also on a full disk, and return the exit code.

    `checkpoint` is the name of the checkpoint that cannot be used, if that is the reason.
    """
    progress.fail(reason_code, sentence, checkpoint=checkpoint)
    with suppress(OSError):  # the log may be on the full disk, too
        print(f"{ERROR_PREFIX}{sentence}", file=sys.stderr, flush=True)
    return EXIT_CODES.get(reason_code, EXIT_REFUSED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
