"""Control characters, which no text of a training may contain: they are invisible, come from damaged copies and would be trained."""

import unicodedata

WHITE = "\t\n\r"


def control_character_in(text: str) -> str:
    """Return the first control character of a text as U+0007; "" if it has none. Tabs and line ends are not counted."""
    found = next((char for char in text if unicodedata.category(char) == "Cc" and char not in WHITE), "")
    return f"U+{ord(found):04X}" if found else ""


def complaint_about(text: str) -> str:
    """Return the end of a sentence about the first control character of a text, "" if it has none."""
    found = control_character_in(text)
    return f"holds the control character {found}, which cannot be seen; delete it, or type the text again" if found else ""
