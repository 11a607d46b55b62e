"""A backup has the states of all runs, and nothing that a link leads to."""

import subprocess
import tarfile

import pytest

from fluxgym.errors import StorageError
from fluxgym.sessions.backup import backup
from tests.support.runs import make_run


def test_backup_is_unpacked_as_guide_reports(completed_run, tmp_path):
    make_run(tmp_path / "outputs", "dog", status="stopped")
    assert backup(tmp_path / "outputs", tmp_path / "states.tar.gz") == 2
    kept = completed_run.ui_state.read_bytes()
    completed_run.ui_state.unlink()
    subprocess.run(["tar", "-xzf", "states.tar.gz"], cwd=tmp_path, check=True)
    assert completed_run.ui_state.read_bytes() == kept


def test_backup_holds_what_hard_links_share(completed_run, tmp_path):
    twin = make_run(tmp_path / "outputs", "twin", status="stopped")
    twin.ui_state.unlink()
    twin.ui_state.hardlink_to(completed_run.ui_state)
    assert backup(tmp_path / "outputs", tmp_path / "x.tar.gz") == 2
    with tarfile.open(tmp_path / "x.tar.gz") as archive:
        assert {member.name: member.isreg() and archive.extractfile(member).read() for member in archive} == {
            f"outputs/{each.slug}/ui_state.json": each.ui_state.read_bytes() for each in (completed_run, twin)
        }


@pytest.mark.parametrize(("make", "named"), [
    (lambda path, secret: path.symlink_to(secret), "it is a link"),
    (lambda path, secret: path.write_bytes(bytes(2 << 20)), "it is larger than 1 MB"),
])  # fmt: skip
def test_backup_excludes_link_targets_and_oversized_files(make, named, completed_run, tmp_path):
    (tmp_path / "secret.json").write_text('{"canary": 1}')
    completed_run.ui_state.unlink()
    make(completed_run.ui_state, tmp_path / "secret.json")
    with pytest.raises(StorageError, match=rf"cat/ui_state\.json cannot be read \({named}.*so no backup was made; repair the run"):
        backup(tmp_path / "outputs", tmp_path / "y.tar.gz")
    assert list(tmp_path.glob("*.gz*")) == []
