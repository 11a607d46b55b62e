"""axe-core finds nothing in the page, Gradio's parts included, on each page and state, in light and dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.support.page import App, open_page
from tests.support.runs import make_run
from tests.support.trained_runs import make_trained_run, record_end

THEMES = ["light", "dark"]


def findings(page: Page) -> list[str]:
    """Return the findings of every impact: rule, element, and what is wrong."""
    page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]} {node['any'][0]['message'] if node['any'] else ''}" for rule in found for node in rule["nodes"]
    ]


@pytest.fixture(name="themed", params=THEMES)
def fixture_themed(request: pytest.FixtureRequest, page: Page) -> Page:
    """Return the page with a system theme."""
    page.emulate_media(color_scheme=request.param, reduced_motion="reduce")
    return page


def test_axe_finds_fault_in_our_markup(app: App, page: Page):
    open_page(page, app)
    page.evaluate("document.getElementById('fg-app').append(Object.assign(document.createElement('button'), { className: 'btn' }))")
    assert any(finding.startswith("button-name:") for finding in findings(page))


def test_train_page_with_images_errors_and_advanced_has_no_axe_violations(app: App, themed: Page):
    open_page(themed, app)
    assert findings(themed) == []
    themed.locator("#fg-example").click()
    expect(themed.locator(".fg-image")).to_have_count(8)
    themed.locator(".fg-image input[type=checkbox]").first.check()
    themed.get_by_role("button", name="Advanced").click()
    themed.get_by_label("Learning rate", exact=True).fill("much")
    expect(themed.locator("#field-learning_rate [role=alert], #field-learning_rate .err").first).to_be_visible()
    assert findings(themed) == []


def test_menus_and_dialogs_have_no_axe_violations(app: App, themed: Page):
    make_run(app.outputs, "dog", status="stopped")
    open_page(themed, app)
    themed.get_by_role("button", name="More for dog").first.click()
    expect(themed.get_by_role("menu")).to_be_visible()
    assert findings(themed) == []
    themed.get_by_role("menuitem", name="Delete…").click()
    expect(themed.get_by_role("dialog")).to_be_visible()
    assert findings(themed) == []


def test_runs_and_comparison_have_no_axe_violations(app: App, themed: Page, done, running):
    make_run(app.outputs, "dog", status="failed", reason="GPU out of memory.")
    themed.goto(f"{app.url}#runs")
    for name in ("my-cat", "done-cat"):
        themed.get_by_label(f"Select {name}").check()
    assert findings(themed) == []
    themed.get_by_role("button", name="Compare").click()
    expect(themed.locator(".uplot canvas").first).to_be_visible()
    assert findings(themed) == []


def test_pages_of_runs(app: App, themed: Page, done, running):
    failed = make_trained_run(app.outputs, "failed-cat", last_step=41, status="failed")
    record_end(failed, "failed", exit_code=1, last_step=41)
    for slug in ("my-cat", "done-cat", "failed-cat"):
        themed.goto(f"{app.url}#run/{slug}")
        expect(themed.locator("#fg-run-page .fg-name:visible")).to_be_visible()
        expect(themed.locator(".uplot canvas").first).to_be_visible()
        assert findings(themed) == [], slug
