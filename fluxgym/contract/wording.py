"""Lists of names and counted nouns for messages."""

from collections.abc import Iterable

MAX_NAMED = 3


def listed(names: Iterable[str]) -> str:
    """Return names for a message, the first three and how many more there are: "a, b, c and 2 more"."""
    names = list(names)
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def counted(number: int, noun: str, verb: str = "", verbs: str = "") -> str:
    """Return a number with its noun, and the verb in singular or plural: "1 image is", "1,200 images are"."""
    words = f"{number:,} {noun}{'s' * (number != 1)}"
    return f"{words} {verb if number == 1 else verbs}" if verb else words
