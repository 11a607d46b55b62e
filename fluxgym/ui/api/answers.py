"""What every server function of the page has in common: a mapping in, a mapping out, and a user's mistake as one sentence."""

import functools
import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from fluxgym.errors import FluxGymError

logger = logging.getLogger(__name__)
Answer = dict[str, Any]
Owner = TypeVar("Owner")


def answers(function: Callable[[Owner, Answer], Answer]) -> Callable[[Owner, Any], Answer]:
    """Let a server function answer {"error": sentence} for what a user can cause, and for a message that is not a mapping."""

    @functools.wraps(function)
    def answer(self: Owner, data: Any) -> Answer:
        if not isinstance(data, dict):
            return {"error": "The page sent something that the app does not know; reload the page."}
        try:
            return function(self, data)
        except FluxGymError as error:
            logger.info("refused: %s", error)
            return {"error": str(error)}

    return answer


def fingerprint(value: Any) -> str:
    """Return a short id of something that goes to the page, so that the page can say what it has seen."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def text(data: Answer, name: str, limit: int = 20_000) -> str:
    """Return a text of a message, "" when it is missing or something else."""
    value = data.get(name)
    return value[:limit] if isinstance(value, str) else ""


def whole(data: Answer, name: str, low: int = 0, high: int = 1_000_000_000) -> int:
    """Return a whole number of a message within its bounds, `low` when it is missing or something else."""
    value = data.get(name)
    return min(max(value, low), high) if isinstance(value, int) and not isinstance(value, bool) else low
