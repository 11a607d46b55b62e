"""The routes for files: only the files that a run's page needs are served."""

import asyncio
import io
import os
import socket
import tarfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from starlette.testclient import TestClient

from fluxgym.app_settings import Settings
from fluxgym.runs.paths import RunPaths
from fluxgym.sessions.drafts import open_draft
from fluxgym.ui.api import uploads
from fluxgym.ui.api.assets import read_assets
from fluxgym.ui.api.bundle import BUNDLE
from fluxgym.ui.server import listen
from tests.support.api import app_client, error
from tests.support.drafts import new_draft_id
from tests.support.photos import write_cats
from tests.support.runs import make_run
from tests.support.small_installation import small_installation, write_safetensors

CANARY = "canary-6f3a"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return folders with a canary wherever a route might lead to."""
    settings = small_installation(tmp_path)
    settings.outputs.mkdir()
    for path in (tmp_path / "secret.png", settings.outputs / "secret.png", settings.models / "secret.safetensors"):
        path.write_text(CANARY)
    return settings


@pytest.fixture
def run(settings: Settings) -> RunPaths:
    """Return a finished run with a sample, a LoRA and images."""
    run = make_run(settings.outputs, "cat")
    write_cats(run.dataset, count=1)
    run.samples.mkdir()
    Image.new("RGB", (8, 8)).save(run.samples / "cat_000010_00_20250101000000_42.png")
    write_safetensors(run.lora)
    run.training_log.write_text(CANARY)
    return run


@pytest.fixture
def client(settings: Settings, run: RunPaths) -> TestClient:
    """Return a browser of the app."""
    return app_client(settings)


def png(size: int = 70) -> bytes:
    """Return an image's bytes."""
    buffer = io.BytesIO()
    Image.effect_noise((size, size), 60).save(buffer, "PNG")
    return buffer.getvalue()


def test_page_is_served_and_requests_no_other_host(client):
    page = client.get("/")
    assert page.status_code == 200
    assert len(page.content) < 300_000
    assert client.get("/config").json()["analytics_enabled"] is False


def test_page_and_scripts_are_compressed_and_model_files_are_not(client):
    for path, is_compressed in (("/", True), (read_assets().script, True), ("/fluxgym/runs/cat/loras/cat.safetensors", False)):
        answer = client.get(path, headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        assert (answer.headers.get("content-encoding") == "gzip") is is_compressed, path
    assert "content-encoding" not in client.get("/", headers={"Accept-Encoding": "identity"}).headers


def test_browser_fetches_script_as_soon_as_it_has_the_page_headers(client):
    assert client.get("/").headers["link"] == f"<{read_assets().script}>; rel=modulepreload"
    assert "link" not in client.get("/config").headers


def test_script_is_kept_by_browser_as_long_as_no_script_changes(client):
    assets = read_assets()
    answer = client.get(assets.script)
    assert (answer.status_code, answer.content) == (200, assets.files[BUNDLE].content)
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    assert client.get(assets.script, headers={"Accept-Encoding": "identity"}).content == answer.content
    older = client.get(f"/fluxgym/assets/0123456789ab/{BUNDLE}")  # of a page that was opened before an upgrade
    assert (older.content, older.headers["cache-control"]) == (answer.content, "no-cache")


def test_samples_loras_and_thumbnails_are_served(client):
    assert client.get("/fluxgym/runs/cat/samples/cat_000010_00_20250101000000_42.png").headers["content-type"] == "image/png"
    lora = client.get("/fluxgym/runs/cat/loras/cat.safetensors")
    assert lora.headers["content-disposition"].startswith("attachment")
    thumbnail = client.get(f"/fluxgym/runs/cat/images/{quote('cat 0.png')}")
    assert Image.open(io.BytesIO(thumbnail.content)).format == "JPEG"


@pytest.mark.parametrize(
    "path",
    [
        "runs/cat/samples/..%2f..%2fsecret.png", "runs/cat/samples/../../secret.png", "runs/..%2f/samples/secret.png", "runs/.fluxgym/samples/x.png",
        "runs/cat/samples/%2fetc%2fpasswd", "runs/cat/loras/ui_state.json", "runs/cat/loras/training.log", "runs/cat/loras/..%2f..%2fsecret.png",
        "runs/cat/loras/..%2f..%2f..%2fmodels%2fsecret.safetensors", "runs/cat/images/..%2f..%2fsecret.png", "runs/cat/images/cat 0.txt",
        "runs/dog/loras/dog.safetensors", "runs/cat/samples/%00.png", "assets/x/..%2fserver.py", "assets/x/..%2f..%2fcli.py", "assets/.",
        "assets/x/README.md", "assets/x/" + "a" * 300 + ".js", "assets/dom.js",
        "drafts/../runs/images/x.png", "drafts/00/images/x.png", "runs/cat", "runs",
    ],
)  # fmt: skip
def test_other_files_are_not_served(client, path):
    answer = client.get(f"/fluxgym/{path}")
    assert answer.status_code in (400, 404), path
    assert CANARY not in answer.text


def test_complete_log_is_downloaded_as_it_is_now(client, run):
    run.training_log.write_bytes(b"line\n" * 200_000)
    answer = client.get("/fluxgym/runs/cat/training.log")
    assert answer.content == run.training_log.read_bytes()
    assert answer.headers["content-length"] == "1000000"
    assert "cat-training.log" in answer.headers["content-disposition"]
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_log_that_is_missing_or_link_or_pipe_is_not_sent(client, run, settings):
    assert client.get("/fluxgym/runs/dog/training.log").status_code == 404
    for make in (lambda path: path.symlink_to(settings.outputs / "secret.png"), os.mkfifo, lambda path: path.mkdir()):
        run.training_log.unlink()
        make(run.training_log)
        answer = client.get("/fluxgym/runs/cat/training.log")
        assert (answer.status_code, CANARY in answer.text) == (404, False)


@pytest.mark.parametrize("path", ["file=../secret.png", "file=/etc/passwd", "file/etc/passwd", "file=outputs/cat/training.log"])
def test_gradio_file_route_is_closed(client, path):
    assert client.get(f"/gradio_api/{path}").status_code == 404


def test_links_are_not_followed(client, run, settings):
    (run.samples / "link.png").symlink_to(settings.outputs / "secret.png")
    (run.folder / "link.safetensors").symlink_to(settings.models / "secret.safetensors")
    assert client.get("/fluxgym/runs/cat/samples/link.png").status_code == 404
    assert client.get("/fluxgym/runs/cat/loras/link.safetensors").status_code == 404


def test_run_that_is_link_elsewhere_serves_nothing(client, settings, tmp_path):
    elsewhere = make_run(tmp_path / "elsewhere", "cat")
    elsewhere.samples.mkdir()
    (elsewhere.samples / "a.png").write_text(CANARY)
    (settings.outputs / "linked").symlink_to(elsewhere.folder)
    assert client.get("/fluxgym/runs/linked/samples/a.png").status_code == 404


def test_image_and_caption_are_uploaded_by_one_request_each(client, settings):
    draft = new_draft_id()
    assert client.put(f"/fluxgym/drafts/{draft}/images/my%20cat.png", content=png()).json()["name"] == "my cat.png"
    assert client.put(f"/fluxgym/drafts/{draft}/images/my%20cat.txt", content="sks cat, ünïcode".encode()).status_code == 200
    assert open_draft(settings.outputs, draft).images.caption("my cat.png") == "sks cat, ünïcode"
    assert client.get(f"/fluxgym/drafts/{draft}/images/my%20cat.png").status_code == 200


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("cat.png", b"just text", "not an image"), ("cat.png", b"", "empty"), ("cat.exe", b"MZ", "neither"), ("cat.png", png()[:300], "cat.png"),
        ("cat.txt", b"\xff\xfe\x00", "UTF-8"),
    ],
)  # fmt: skip
def test_upload_that_is_not_image_is_refused_with_one_message_and_leaves_nothing(client, settings, name, content, word):
    draft = new_draft_id()
    answer = client.put(f"/fluxgym/drafts/{draft}/images/{name}", content=content)
    assert word in error(answer, 400)
    assert list(open_draft(settings.outputs, draft).images.path.glob("*")) == []


def test_upload_to_runs_images_copies_them_first(client, settings, run):
    own = open_draft(settings.outputs, new_draft_id())
    base = f"/fluxgym/drafts/{own.id}/images"
    assert client.put(f"{base}/new.png?source=cat", content=png()).json()["name"] == "new.png"
    assert client.put(f"{base}/new.txt?source=cat", content=b"a caption").status_code == 200  # sent before the first was answered
    assert own.images.names() == ["cat 0.png", "new.png"]
    assert own.is_copy_of(run)
    assert [path.name for path in run.dataset.glob("*.png")] == ["cat 0.png"]


def test_upload_that_is_refused_copies_none_of_runs_images(client, settings):
    own = open_draft(settings.outputs, new_draft_id())
    for name, content in (("new.png", b"just text"), ("new.txt", b"\xff"), ("new.exe", b"MZ"), ("new.png", b"")):
        error(client.put(f"/fluxgym/drafts/{own.id}/images/{name}?source=cat", content=content), 400)
    assert own.is_empty()
    for source in ("../..", ".fluxgym", "x" * 5000):
        error(client.put(f"/fluxgym/drafts/{own.id}/images/new.png", params={"source": source}, content=png()), 404)
    assert own.is_empty()


def test_upload_to_runs_images_never_mixes_with_those_of_another_tab(client, settings):
    own = open_draft(settings.outputs, new_draft_id())
    write_cats(own.images.path, count=4)
    answer = client.put(f"/fluxgym/drafts/{own.id}/images/new.png?source=cat", content=png())
    assert "4 images that were not started" in error(answer, 400)
    assert own.images.count() == 4


def test_upload_cannot_leave_its_draft(client, tmp_path):
    draft, before = new_draft_id(), sorted(tmp_path.rglob("*"))
    for name in ("..%2f..%2fescaped.png", "..%2f..%2f.png"):
        assert error(client.put(f"/fluxgym/drafts/{draft}/images/{name}", content=png()), 404) == "There is nothing at this address."
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_unknown_address_of_the_api_is_an_error_of_the_api(client, method):
    for path in ("nothing", f"drafts/{new_draft_id()}/images/..%2fa.png", "runs/"):
        assert error(client.request(method, f"/fluxgym/api/{path}", json={}), 404) == "There is nothing at this address."


def test_too_large_file_is_refused_before_and_during_its_upload(client, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_IMAGE_BYTES", 1000)
    address = f"/fluxgym/drafts/{new_draft_id()}/images/a.png"
    assert client.put(address, content=png(200)).status_code == 413
    assert client.put(address, content=iter([b"x" * 600, b"x" * 600])).status_code == 413


def test_full_disk_is_reported(client, monkeypatch):
    monkeypatch.setattr(uploads, "MIN_FREE_BYTES", 1 << 60)
    answer = client.put(f"/fluxgym/drafts/{new_draft_id()}/images/a.png", content=png())
    assert "free" in error(answer, 507)


def test_draft_has_id_that_cannot_be_guessed(client):
    assert "reload" in error(client.put("/fluxgym/drafts/mine/images/a.png", content=png()), 404)


def test_exported_run_is_imported_again(client, settings, run):
    state = client.get("/fluxgym/runs/cat/export/state.json")
    assert state.json()["lora_name"] == "cat"
    assert 'filename="cat.json"' in state.headers["content-disposition"]
    sent = client.get("/fluxgym/runs/cat/export/everything.zip")
    archive = sent.content
    assert "content-length" not in sent.headers  # it is packed while it is sent
    assert "cat-everything.zip" in sent.headers["content-disposition"]
    assert not list((settings.outputs / ".fluxgym" / "new").glob("*.zip*"))
    assert CANARY.encode() not in archive
    assert client.put("/fluxgym/import/x.zip", content=archive).json() == {"slugs": ["cat-2"]}
    assert (settings.outputs / "cat-2" / "cat-2.safetensors").read_bytes() == run.lora.read_bytes()
    assert client.put("/fluxgym/import/x.json", content=state.content).json() == {"slugs": ["cat-3"]}
    assert not list((settings.outputs / ".fluxgym" / "new").iterdir())


def test_archive_of_all_states_equals_that_of_guide(client, run):
    archive = client.get("/fluxgym/states.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as opened:
        assert opened.getnames() == ["outputs/cat/ui_state.json"]


@pytest.mark.parametrize(
    "path", ["cat/export/launch.json", "cat/export/..%2fui_state.json", "dog/export/state.json", ".fluxgym/export/state.json"]
)
def test_other_files_are_not_exported(client, run, path):
    assert client.get(f"/fluxgym/runs/{path}").status_code == 404


def test_hostile_import_is_refused_with_message(client, settings, monkeypatch):
    before = sorted(settings.outputs.iterdir())
    answer = client.put("/fluxgym/import/x.zip", content=b"PK\x03\x04 no")
    assert "x.zip" in error(answer, 409)
    assert "empty" in error(client.put("/fluxgym/import/x.json", content=b""), 400)
    monkeypatch.setattr(uploads, "MAX_ARCHIVE_BYTES", 10)
    assert "smaller" in error(client.put("/fluxgym/import/x.zip", content=b"12345678901"), 413)
    assert [path for path in sorted(settings.outputs.iterdir()) if path.name != ".fluxgym"] == [
        path for path in before if path.name != ".fluxgym"
    ]


def test_responses_are_sent_without_delay(tmp_path):
    """Without TCP_NODELAY, the second part of each answer waits until the first is acknowledged, which takes 40 ms."""
    found = []

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport):
            found.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def connect(listener):
        async with await asyncio.get_running_loop().create_server(Accepted, sock=listener):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            await reader.read()
            writer.close()

    asyncio.run(connect(listen(replace(small_installation(tmp_path), port=0))))
    assert found == [1]
