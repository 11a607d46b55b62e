"""Unpacking: independent of the archive's headers, only a run is extracted, with little memory."""

import json
import re
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from fluxgym.errors import ImportRefused, StorageError
from fluxgym.runs.disk_space import MIN_FREE_BYTES
from fluxgym.sessions import archive as module
from fluxgym.sessions.archive import unpack

STATE = json.dumps({"lora_name": "cat", "note": "".join(chr(97 + index * 7 % 26) for index in range(300))})
LOCAL, DIRECTORY, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"


@pytest.fixture(name="archive")
def fixture_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/ui_state.json", STATE)
    return tmp_path / "x.zip"


def unpacked(path: Path) -> list[str]:
    staging = path.parent / f"staging-{len(list(path.parent.iterdir()))}"
    staging.mkdir()
    return [folder.name for folder in unpack(path, staging)]


def patch(path: Path, *changes: tuple[bytes, int, bytes]) -> Path:
    """Write other bytes at an offset behind a signature."""
    data = bytearray(path.read_bytes())
    for signature, offset, new in changes:
        at = data.index(signature) + offset
        data[at : at + len(new)] = new
    path.write_bytes(data)
    return path


def test_valid_archive_is_unpacked(archive):
    assert unpacked(archive) == ["cat"]


def test_archive_with_damaged_byte_is_refused_or_equal(archive, tmp_path):
    data = archive.read_bytes()
    for index in range(len(data)):
        hurt = tmp_path / "hurt.zip"
        hurt.write_bytes(data[:index] + bytes([data[index] ^ 0xFF]) + data[index + 1 :])
        staging = tmp_path / f"staging {index}"
        staging.mkdir()
        try:
            unpack(hurt, staging)
        except ImportRefused:
            continue
        assert (staging / "cat" / "ui_state.json").read_text() == STATE


@pytest.mark.parametrize("cut", [0, 2, 30, -1, -22])
def test_truncated_archive_is_refused(cut, archive):
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(ImportRefused, match="export it again"):
        unpacked(archive)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([(LOCAL, 6, b"\1\0"), (DIRECTORY, 8, b"\1\0")], "encrypted"),
        ([(LOCAL, 8, b"\x0e\0"), (DIRECTORY, 10, b"\x0e\0")], "uncommon way"),
        ([(LOCAL, 22, struct.pack("<I", 10)), (DIRECTORY, 24, struct.pack("<I", 10))], "damaged"),  # says 10 bytes, holds more
        ([(END, 12, struct.pack("<I", 3 << 30))], "damaged|table of contents"),
        ([(END, 8, b"\xff\xff\xff\xff")], "damaged|cat"),
        ([(DIRECTORY, 42, struct.pack("<I", 1 << 31))], "damaged"),
    ],
    ids=["encrypted", "lzma", "size", "directory", "number", "offset"],
)
def test_sizes_and_counts_in_archives_headers_are_not_trusted(changes, message, archive):
    patch(archive, *changes)
    try:
        assert unpacked(archive) == ["cat"]
    except ImportRefused as error:
        assert re.search(message, str(error))


@pytest.mark.parametrize(
    "name", ["", ".", "/", "cat", "cat/dataset/" + "a" * 300 + ".png", "cat/dataset/a\nb.png", "cat/dataset/.png", "cat/\x1b[31m.txt"]
)
def test_invalid_entry_names_are_refused_and_escaped(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("cat/ui_state.json", STATE)
        archive.writestr(zipfile.ZipInfo(name), b"x")
    try:
        assert unpacked(tmp_path / "x.zip") == ["cat"]
        assert name == "/"  # a folder, which is left out
    except ImportRefused as error:
        assert str(error).isprintable()


def test_duplicate_entry_and_empty_archive_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("cat/ui_state.json", STATE)
        archive.writestr("./cat/ui_state.json", STATE)
    with pytest.raises(ImportRefused, match="twice"):
        unpacked(tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "y.zip", "w"):
        pass
    with pytest.raises(ImportRefused, match="empty"):
        unpacked(tmp_path / "y.zip")


def limit_room(monkeypatch, *free: int) -> None:
    """Let the disk have less and less room, the last value for ever."""
    usage, left = shutil.disk_usage("/"), list(free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=left.pop(0) if len(left) > 1 else left[0]))


def test_archive_that_leaves_too_little_disk_space_is_refused_before_writing(archive, tmp_path, monkeypatch):
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("cat/cat.safetensors", bytes(5_000_000))
    limit_room(monkeypatch, MIN_FREE_BYTES + 5_000_000)
    with pytest.raises(StorageError, match=r"5 MB are needed, 529 MB are free, and 524 MB of these stay reserved for trainings"):
        unpacked(archive)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["x.zip"]
    limit_room(monkeypatch, MIN_FREE_BYTES + 6_000_000)
    assert unpacked(archive) == ["cat"]


def test_disk_space_that_shrinks_while_unpacking_aborts_it(archive, monkeypatch):
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("cat/cat.safetensors", bytes(20 << 20))
    limit_room(monkeypatch, 1 << 40, MIN_FREE_BYTES)
    with pytest.raises(StorageError, match="stay reserved for trainings"):
        unpacked(archive)


def png_header(side: int) -> bytes:
    """Return a PNG that says it is of this size."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def test_long_table_of_contents_is_not_even_read(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for index in range(2000):
            archive.writestr(f"cat/{index}/", b"")
    monkeypatch.setattr(module, "MAX_DIRECTORY_BYTES", 1 << 16)
    with pytest.raises(ImportRefused, match="table of contents"):
        unpacked(tmp_path / "x.zip")


HOSTILE = """
import re, sys
from pathlib import Path
from fluxgym.errors import ImportRefused
from fluxgym.runs.paths import OutputsPaths
from fluxgym.sessions.transfer import import_file
for path in sorted(Path(sys.argv[1]).glob("*.zip")):
    try:
        import_file(path, OutputsPaths(Path(sys.argv[1]) / "outputs"))
        print("taken", path.stem)
    except ImportRefused as error:
        print("refused", path.stem)
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def test_hostile_archives_stay_small_in_memory(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/ui_state.json", STATE)
        with archive.open("cat/dataset/a.txt", "w") as file:
            for _ in range(300):
                file.write(bytes(1 << 20))
    with zipfile.ZipFile(tmp_path / "flood.zip", "w") as archive:
        for index in range(100_000):
            archive.writestr(f"cat/{index:060}/", b"")
    Image.new("RGB", (6000, 6000)).save(tmp_path / "large.png")
    (tmp_path / "huge.png").write_bytes(png_header(12_000))
    (tmp_path / "vast.png").write_bytes(png_header(40_000))
    for name in ("large", "huge", "vast"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("cat/ui_state.json", STATE)
            archive.write(tmp_path / f"{name}.png", "cat/dataset/a.png")
    done = subprocess.run([sys.executable, "-c", HOSTILE, str(tmp_path)], capture_output=True, text=True, check=True)
    *verdicts, megabytes = done.stdout.splitlines()
    assert verdicts == ["refused bomb", "refused flood", "refused huge", "taken large", "refused vast"]
    assert int(megabytes) < 300, megabytes
