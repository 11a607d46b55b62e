"""The header of a .safetensors file of weights, read without PyTorch; a fault of the file becomes an error message."""

import os
from pathlib import Path

from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.model_kinds import other_format
from fluxgym.contract.regular_files import open_regular
from fluxgym.contract.safetensors import Header, HeaderError, HeaderProblem, read_header
from library.errors import TrainerError


def read_weight_header(path: Path, what: str) -> Header:
    """Return the header of a file that error messages call `what`.

    Raises:
        TrainerError: With bad_model, if the file is missing, empty, truncated, or not a .safetensors file.
    """
    if not path.exists():
        raise TrainerError(f"{what} {path} is missing; check the path or download it.", reason_code=ReasonCode.BAD_MODEL)
    try:
        with open_regular(path, follow_links=True) as file:
            size, head = os.fstat(file.fileno()).st_size, file.read(512)
        if other := other_format(head):
            raise TrainerError(f"{what} {path} is {other}.", reason_code=ReasonCode.BAD_MODEL)
        header = read_header(path)
    except OSError as error:
        raise TrainerError(f"{what} {path} cannot be read: {error.strerror}.", reason_code=ReasonCode.BAD_MODEL) from None
    except HeaderError as error:
        is_damaged = error.kind is HeaderProblem.DAMAGED
        raise damaged(path, what, "its header cannot be read" if is_damaged else "it is cut short, or not a .safetensors file") from None
    if header.file_bytes > size:
        raise damaged(path, what, f"it is cut short and has {size} of {header.file_bytes} bytes")
    return header


def damaged(path: Path, what: str, why: str) -> TrainerError:
    """Return the error for a file that cannot be read."""
    return TrainerError(f"{what} {path} is damaged: {why}. Download it again.", reason_code=ReasonCode.BAD_MODEL)
