"""Helpers of all server functions of the page: JSON object in, JSON object out, and a user's error as one sentence."""

import functools
import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from fluxgym.errors import FluxGymError

logger = logging.getLogger(__name__)
JsonObject = dict[str, Any]
Owner = TypeVar("Owner")


def json_endpoint(function: Callable[[Owner, JsonObject], JsonObject]) -> Callable[[Owner, Any], JsonObject]:
    """Make a method a server function, which returns {"error": sentence} for a FluxGymError or a request that is not an object."""

    @functools.wraps(function)
    def endpoint(self: Owner, data: Any) -> JsonObject:
        if not isinstance(data, dict):
            return {"error": "The page sent an unknown request; reload the page."}
        try:
            return function(self, data)
        except FluxGymError as error:
            logger.info("refused: %s", error)
            return {"error": str(error)}

    return endpoint


def fingerprint(value: Any) -> str:
    """Return a short hash of a JSON value, which the page sends back so that unchanged values are not sent again."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def text(data: JsonObject, name: str, limit: int = 20_000) -> str:
    """Return a string of a request, cut to limit characters; "" if it is missing or not a string."""
    value = data.get(name)
    return value[:limit] if isinstance(value, str) else ""


def integer(data: JsonObject, name: str, low: int = 0, high: int = 1_000_000_000) -> int:
    """Return an integer of a request, clamped to low and high; low if it is missing or not an integer."""
    value = data.get(name)
    return min(max(value, low), high) if isinstance(value, int) and not isinstance(value, bool) else low
