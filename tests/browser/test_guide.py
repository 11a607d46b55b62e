"""The guide's statements about the page, in a real browser: the position of the banner, its examples, and what a refresh restores."""

import json
import re

from playwright.sync_api import Page, expect

from tests.support.page import open_page
from tests.support.runs import make_run

SAVED = {
    "lora_name": "My Cat", "concept_sentence": "catsy style", "num_repeats": 7, "max_train_epochs": 21, "sample_prompts": "a cat\na dog",
    "sample_every_n_steps": 77, "resolution": 128, "resume_from_checkpoint": "other-lora-4-state", "seed": 4711, "workers": 3,
    "learning_rate": "3e-4", "save_every_n_epochs": 5, "guidance_scale": 2.5, "timestep_sampling": "sigmoid", "network_dim": 24,
}  # fmt: skip
SWITCHES = {"enable_checkpointing": False, "enable_monitoring": False}
# The upper and lower edges of elements, at one moment: the banner grows when its rows arrive.
EDGES = (
    "(selectors) => selectors.map((one) => document.querySelector(one).getBoundingClientRect()).map(({ top, bottom }) => ({ top, bottom }))"
)


def field(page: Page, name: str):
    """Return the box of a setting."""
    return page.locator(f"#field-{name} :is(input, textarea)").first


def test_reload_restores_every_saved_setting(app, page):
    make_run(app.outputs, "my-cat", base_model="flux-dev", vram="12G", status="stopped", **SAVED, **SWITCHES)
    open_page(page, app)
    page.reload()
    expect(field(page, "lora_name")).to_have_value("My Cat")
    page.get_by_role("button", name="Advanced", exact=True).click()
    for name, value in SAVED.items():
        expect(field(page, name)).to_have_value(str(value))
    for name in SWITCHES:
        expect(field(page, name)).not_to_be_checked()
    expect(field(page, "base_model")).to_have_value("FLUX.1 dev")
    expect(field(page, "vram")).to_have_value("12 GB card (12G)")


def test_banner_below_navigation_shows_example_2(app, page):
    for folder, name, epochs, timestamp in (("cat", "fluffy-cats", 16, 1706140800.0), ("dog", "puppy-style", 12, 1706227200.0)):
        (app.outputs / folder).mkdir(parents=True)
        state = {"lora_name": name, "max_train_epochs": epochs, "timestamp": timestamp}
        (app.outputs / folder / "ui_state.json").write_text(json.dumps(state))
    open_page(page, app)
    title = page.get_by_role("button", name="Active Training Sessions")
    expect(title).to_have_text("🔄 Active Training Sessions")
    for fragment in ("#run/cat", "#train"):  # on its own page the banner leaves the run out
        page.goto(f"{app.url}{fragment}")
        expect(page.locator(".nav a[aria-current]")).to_have_text("Train" if fragment == "#train" else "Runs")
        shown = "#fg-train" if fragment == "#train" else "#fg-run-page"
        navigation, banner, content = page.evaluate(EDGES, [".top", "#fg-banner", shown])
        assert navigation["bottom"] <= banner["top"]
        assert banner["bottom"] <= content["top"]
    title.click()
    rows = page.locator("#fg-banner li.row")
    expect(rows).to_have_count(2)
    for row, name, epochs in ((rows.nth(0), "puppy-style", 12), (rows.nth(1), "fluffy-cats", 16)):
        expect(row).to_contain_text(re.compile(rf"{name}.*🔵.*Stopped.*Started: 2024-01-2\d \d\d:\d\d:00.*Epochs: {epochs}", re.DOTALL))
        expect(row).to_be_visible()
