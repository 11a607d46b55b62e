"""Code and files that a training names: Python modules that the trainer imports, pickles that it loads, files that it writes elsewhere.

A run's folder may come from elsewhere, and such settings let it execute code. Therefore a run that this installation did not start needs
consent. docs/trust.md has the rules.
"""

from collections.abc import Iterator
from pathlib import Path

from fluxgym.contract.packages import CLASS_PACKAGES
from fluxgym.runs.launch_spec import LaunchSpec, TrainerOptions
from fluxgym.trainers.base import backend_named

MODULE_FLAGS = ("--optimizer_type", "--lr_scheduler_type", "--network_module")
WRITING_FLAGS = ("--console_log_file",)  # appended to a file of any name
NETWORK_PACKAGES = frozenset({"networks", "lycoris"})  # the trainer's own networks, and an optional requirement


def named_code(spec: LaunchSpec) -> tuple[str, ...]:
    """Return what in a launch needs the user's consent, each as a phrase such as “runs the Python module “x” (optimizer_type)”."""
    return (*_modules(spec.options), *_files(spec.options), *_pickles(spec))


def _modules(options: TrainerOptions) -> Iterator[str]:
    for flag in MODULE_FLAGS:
        for name in options.get(flag) or ():  # one without dots is a class of PyTorch or one of kohya's names
            if "." in name and name.partition(".")[0] not in CLASS_PACKAGES | NETWORK_PACKAGES:
                yield f"runs the Python module “{name.rpartition('.')[0][:80]}” ({flag[2:]})"


def _files(options: TrainerOptions) -> Iterator[str]:
    for flag in WRITING_FLAGS:
        for name in options.get(flag) or ():
            yield f"writes to “{name[:80]}” ({flag[2:]})"


def _pickles(spec: LaunchSpec) -> Iterator[str]:
    """Yield the files that the trainer unpickles, which can execute code."""
    backend = backend_named(spec.backend)
    for flag in backend.pickle_flags:
        for name in spec.options.get(flag) or ():
            if Path(name).suffix != ".safetensors":
                yield f"loads the pickle “{name[:80]}” ({flag[2:]})"
    if spec.resume_from is not None and backend.has_pickled_checkpoints:
        yield f"loads the pickles of the checkpoint “{Path(spec.resume_from).name[:80]}”"
