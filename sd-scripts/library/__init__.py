"""The FLUX.1 LoRA trainer.

Makes `fluxgym.contract` importable: the repository root goes to the end of sys.path, so that nothing in it hides a package of the trainer.
"""

import sys
from pathlib import Path

_root = str(Path(__file__).resolve().parents[2])
if _root not in sys.path:
    sys.path.append(_root)
try:
    import fluxgym.contract.safetensors  # noqa: F401
except ModuleNotFoundError:
    print(f"error: the trainer needs the folder fluxgym/contract in {_root}; run it from a complete FluxGym checkout.", file=sys.stderr)
    sys.exit(2)
