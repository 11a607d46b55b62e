"""Runs one stage: `python -m bench.first_day_stages STAGE FOLDER`, with sd-scripts on PYTHONPATH."""

import sys
from pathlib import Path

from bench.first_day_stages import checks, kernels, steps, whole_trainer

STAGES = {
    "facts": checks.facts, "memory_calls": checks.memory_calls, "fp8_forms": checks.fp8_forms, "gpu_tests": checks.gpu_tests,
    "micro": kernels.micro, "optimizers": kernels.optimizers, "steps": steps.steps, "tiers": steps.tiers, "compile": steps.compile_blocks,
    "trainer": whole_trainer.trainer,
}  # fmt: skip

STAGES[sys.argv[1]](Path(sys.argv[2]))
