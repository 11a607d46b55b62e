"""An archive that is made while it is sent: its first bytes come before the second file is touched, and any reader can open it."""

import io
import zipfile

from fluxgym.sessions.archive import CHUNK, pack


def test_packed_archive_contains_all_entries(tmp_path):
    content = {"a.txt": b"words " * 1000, "b.png": bytes(3 * CHUNK + 7), "ünï.safetensors": b"x", "empty.txt": b""}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    whole = b"".join(pack((tmp_path / name, f"run/{name}") for name in content))
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert {entry.filename: archive.read(entry) for entry in archive.infolist()} == {
            f"run/{name}": data for name, data in content.items()
        }
        assert archive.getinfo("run/a.txt").compress_size < 1000


def test_archive_is_streamed_without_buffering(tmp_path):
    (tmp_path / "large.safetensors").write_bytes(bytes(8 * CHUNK))
    files = iter([(tmp_path / "large.safetensors", "a"), (tmp_path / "gone.safetensors", "b")])
    pieces = pack(files)
    first = [next(pieces) for _ in range(3)]
    assert sum(map(len, first)) < 3 * CHUNK
    assert next(files)[1] == "b"  # the second file has not been requested yet


def test_links_are_skipped(tmp_path):
    (tmp_path / "secret").write_text("canary")
    (tmp_path / "a.png").symlink_to(tmp_path / "secret")
    assert b"canary" not in b"".join(pack([(tmp_path / "a.png", "a.png")]))
