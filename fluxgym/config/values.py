"""Which texts can be settings: short enough, and writable to every file and command line."""

MAX_TEXT = 20_000


def is_text(value: str) -> bool:
    """Return True if a text can be a setting; half a letter of UTF-16 and NUL cannot be written, and nobody types more than MAX_TEXT."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return len(value) <= MAX_TEXT and "\0" not in value
