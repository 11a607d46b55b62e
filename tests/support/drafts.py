"""Ids of drafts, as a browser makes them."""

import secrets


def new_draft_id() -> str:
    """Return a random id that cannot be guessed."""
    return secrets.token_hex(16)
