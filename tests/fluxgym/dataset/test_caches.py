"""What is read of images is shared by the requests and plans of one server, and by nothing else."""

from fluxgym.contract.images.pool import ImagePool
from fluxgym.dataset.caches import DatasetCaches
from tests.support.photos import write_cats


def test_image_that_was_added_is_decoded_already(tmp_path, monkeypatch):
    source = write_cats(tmp_path / "uploaded", count=1) / "cat 0.png"
    caches = DatasetCaches()
    folder = caches.folder(tmp_path / "draft")
    requests = []
    run = ImagePool.run
    monkeypatch.setattr(ImagePool, "run", lambda *args: requests.append(args) or run(*args))
    folder.add(source, "cat.png")
    assert len(requests) == 1
    assert caches.decoded.problems([folder.path / "cat.png"], may_decode=False) == []
    assert caches.decoded.problems([folder.path / "cat.png"], may_decode=True) == []
    assert len(requests) == 1
    assert DatasetCaches().decoded.problems([folder.path / "cat.png"], may_decode=False) is None


def test_folders_share_their_index(tmp_path):
    caches = DatasetCaches()
    assert caches.indexes.of(tmp_path) is caches.indexes.of(tmp_path)
    assert caches.indexes.of(tmp_path) is not DatasetCaches().indexes.of(tmp_path)
