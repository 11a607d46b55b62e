"""What the page's scripts need to know once: every status, phase and field has its words."""

from fluxgym.config.settings import SETTINGS
from fluxgym.contract.codes import LIVE, Phase, Status
from fluxgym.ui.api.config import config_router
from tests.support.api import router_client, value


def test_every_status_phase_and_field_is_in_it():
    config = value(router_client([config_router()]).get("config"))
    assert set(config["statuses"]) == {status.value for status in Status}
    assert {name for name, text in config["statuses"].items() if text["is_live"]} == {status.value for status in LIVE}
    assert config["statuses"]["completed"] == {"word": "Completed", "symbol": "✅", "is_live": False}
    assert set(config["phases"]) == {phase.value for phase in Phase}
    assert config["fields"] == list(SETTINGS)
    assert ".png" in config["image_types"]
    assert config["images_per_page"] > 0
    assert config["sessions_per_page"] > 0
