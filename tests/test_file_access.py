"""Files are opened in one way: no links, pipes or files above a limit, images by one reader, text without a byte order mark. Each exception has a reason."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.source_tree import ROOT, sources

# Files that open images in another way than by fluxgym/contract/images/reader.py, and why. This table may only shrink.
IMAGE_OPENERS = {"sd-scripts/pocket/images.py": "photos that packages bundle, for the pretraining of the pocket model"}
# How a file is opened without fluxgym/contract/regular_files.py, which refuses links, pipes, devices and giants.
PLAIN_OPENS = frozenset({"open", "fdopen", "read_text", "read_bytes", "copy", "copy2", "copyfile", "copytree", "fromfile"})
# Files of the app that open files plainly, and why these cannot be hostile, or are opened safely. This table may only shrink.
OPENS_PLAINLY = {
    "fluxgym/config/trainer_flags.py": "a file of the app",
    "fluxgym/contract/regular_files.py": "opens safely; the target of a copy is created",
    "fluxgym/contract/volumes.py": "opens a folder to sync it",
    "fluxgym/contract/images/worker_protocol.py": "/proc",
    "fluxgym/contract/images/reader.py": "opens an image without waiting for a pipe, and refuses all but regular files",
    "fluxgym/engines/local.py": "/proc",
    "fluxgym/engines/machine.py": "/proc",
    "fluxgym/runs/atomic_files.py": "creates a temporary file",
    "fluxgym/runs/locks.py": "opens a lock without following links",
    "fluxgym/runs/process_identity.py": "/proc",
    "fluxgym/runs/signature.py": "the key in the user's folder, without following links",
    "fluxgym/sessions/archive.py": "entries of an archive, and files that are created",
    "fluxgym/sessions/backup.py": "creates an archive",
    "fluxgym/sessions/transfer.py": "creates an archive",
    "fluxgym/supervisor/process_tree.py": "/proc",
    "fluxgym/supervisor/stall.py": "/proc",
    "fluxgym/supervisor/trainer_process.py": "/proc",
    "fluxgym/trainers/kohya/flags.py": "sources of the user's checkout of kohya",
    "fluxgym/ui/api/assets.py": "files of the app",
    "fluxgym/ui/api/uploads.py": "a temporary file of the app",
    "fluxgym/ui/page.py": "files of the app",
    "fluxgym/ui/page_scripts.py": "files of the app",
}  # fmt: skip
# Files whose text has no byte order mark: the kernel writes it.
KERNEL_TEXT = {
    "fluxgym/contract/images/worker_protocol.py", "fluxgym/engines/machine.py", "fluxgym/runs/process_identity.py", "fluxgym/supervisor/stall.py",
    "fluxgym/supervisor/trainer_process.py",
}  # fmt: skip


def plain_opens(path: Path) -> Iterator[str]:
    """Yield the calls in a file that open another file plainly; a method of the page's own called open is not one."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in PLAIN_OPENS:
            yield ast.unparse(node)


def test_files_of_run_are_opened_in_one_way():
    found = {str(path): list(plain_opens(path)) for path in sources("fluxgym")}
    assert {path: calls for path, calls in found.items() if calls and path not in OPENS_PLAINLY} == {}
    assert [path for path in OPENS_PLAINLY if not found.get(path)] == []


def test_images_are_opened_only_by_reader_of_contract():
    found = set()
    for path in sources("fluxgym", "sd-scripts"):
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "open" and isinstance(node.value, ast.Name) and node.value.id == "Image":
                found.add(str(path))
    assert found == set(IMAGE_OPENERS)


def test_text_files_are_read_without_byte_order_mark():
    found = set()
    for path in sources("fluxgym", "sd-scripts"):
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "read_text":
                encodings = [keyword.value for keyword in node.keywords if keyword.arg == "encoding"]
                if not any(isinstance(each, ast.Constant) and each.value == "utf-8-sig" for each in encodings):
                    found.add(str(path))
    assert found == KERNEL_TEXT
