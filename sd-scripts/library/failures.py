"""Explanations of exceptions that other libraries raise."""

from fluxgym.contract.codes import ReasonCode
from fluxgym.contract.volumes import DISK_FULL_ERRORS
from library.files import disk_full


def first_line(error: Exception | str) -> str:
    """Return the first line of an error's text without its full stop, or the kind of an error without a text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(" .:")


def explain_error(error: Exception) -> tuple[str, ReasonCode] | None:
    """Return a message and a reason code for errors of memory, disk and determinism; None for any other error."""
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "CUDA out of memory" in text:  # PyTorch's class, which is not imported here
        remedy = "close other programs that use it, or start again with a smaller resolution or batch, or more swapped blocks"
        return f"The GPU ran out of memory; {remedy}.", ReasonCode.CUDA_OOM
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "The machine ran out of main memory; close other programs or choose a smaller model.", ReasonCode.RAM_OOM
    if isinstance(error, OSError) and error.errno in DISK_FULL_ERRORS:
        full = disk_full(error.filename or "a file")
        return str(full), full.reason_code
    if "does not have a deterministic implementation" in text:
        return f"--deterministic is not possible: {text.split('. ')[0]}.", ReasonCode.BAD_INPUT
    return None
