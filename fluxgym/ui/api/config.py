"""Route of what the page's scripts need to know once: names, labels and limits that the server defines."""

from fastapi import APIRouter

from fluxgym import __version__
from fluxgym.config.settings import SETTINGS
from fluxgym.contract.codes import LIVE
from fluxgym.contract.dataset_rules import IMAGE_EXTENSIONS
from fluxgym.ui.api.answers import ClientConfig, StatusText
from fluxgym.ui.api.responses import new_router
from fluxgym.ui.api.session_rows import PHASE_TEXTS, STATUS_TEXTS
from fluxgym.ui.api.sessions import PAGE_SIZE

IMAGES_PER_PAGE = 12


def client_config() -> ClientConfig:
    """Return what the page's scripts need to know once."""
    return ClientConfig(
        version=__version__,
        statuses={
            status: StatusText(word=word, symbol=symbol, is_live=status in LIVE) for status, (word, symbol, _) in STATUS_TEXTS.items()
        },
        phases={phase.value: text for phase, text in PHASE_TEXTS.items()},
        fields=list(SETTINGS),
        image_types=list(IMAGE_EXTENSIONS),
        images_per_page=IMAGES_PER_PAGE,
        sessions_per_page=PAGE_SIZE,
    )


def config_router() -> APIRouter:
    """Return the route, to be included in the application."""
    router = new_router()
    router.add_api_route("/config", client_config, response_model=ClientConfig)
    return router
