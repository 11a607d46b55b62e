"""From the name that people read to the name of a folder."""

from slugify import slugify

from fluxgym.errors import BadName

MAX_LENGTH = 64


def slug_of(lora_name: str) -> str:
    """Return the folder name for a LoRA's name: transliterated, lower case, at most 64 characters.

    Raises BadName when the name is empty, far too long, or gives no folder name ("../", "🐱").
    """
    name = lora_name.strip()
    if not name:
        raise BadName("The LoRA has no name yet; type one.", field="lora_name")
    if len(name) > 200:
        raise BadName(f"The LoRA name has {len(name)} characters; at most 200 are allowed.", field="lora_name")
    if "/" in name or "\\" in name or "\0" in name:
        raise BadName(f"The LoRA name “{_short(name)}” holds a slash; use letters, digits, spaces and dashes.", field="lora_name")
    if not name.isprintable():
        raise BadName("The LoRA name holds a line break or another character that cannot be seen; type it anew.", field="lora_name")
    slug = slugify(name, max_length=MAX_LENGTH)
    if not slug:
        raise BadName(f"The LoRA name “{_short(name)}” gives no folder name; use at least one letter or digit.", field="lora_name")
    return slug


def next_version(slug: str, number: int) -> str:
    """Return `slug-number`, cut so that the whole stays within 64 characters."""
    ending = f"-{number}"
    return slug[: MAX_LENGTH - len(ending)].rstrip("-") + ending


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:39] + "…"
