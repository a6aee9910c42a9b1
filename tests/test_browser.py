"""The widgets in a real browser: JupyterLab serves lessons, Chromium drags, clicks and types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lab
import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.skipif(
    lab.browser() is None,
    reason="Chromium is not installed; on Debian: apt-get install chromium",
)

HANDLE = ".noUi-handle, .ui-slider-handle"  # of a slider of ipywidgets 8, and of 7
TRACK = "xpath=ancestor::*[contains(@class, 'noUi-target') or contains(@class, 'ui-slider')]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with lab.running_lab(folder) as served:
        yield served


@pytest.fixture
def page() -> Iterator[Page]:
    with lab.open_browser() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        yield page


def output_with(page: Page, inside: Locator) -> Locator:
    """The output area of the cell that holds such an element, scrolled to."""
    output = page.locator(".jp-OutputArea").filter(has=inside).first
    output.scroll_into_view_if_needed()
    return output


def drag_to(page: Page, handle: Locator, share: float) -> None:
    """Drags a slider's handle to a share of its track."""
    track = handle.locator(TRACK).bounding_box()
    held = handle.bounding_box()
    assert track is not None and held is not None
    page.mouse.move(held["x"] + held["width"] / 2, held["y"] + held["height"] / 2)
    page.mouse.down()
    page.mouse.move(track["x"] + share * track["width"], held["y"] + held["height"] / 2, steps=5)
    page.mouse.up()


def loss_in(output: Locator) -> float:
    text = output.locator(".widget-html-content", has_text="Loss ").first.inner_text()
    return float(text.split("Loss ")[1].split(" ")[0])


def test_the_matrix_and_the_steps_of_lesson_03(page: Page, address: str) -> None:
    lab.open_and_run(page, address, "notebooks/03_contrastive_loss.ipynb")

    # the slider over the toy's probabilities
    slider = output_with(page, page.locator(".widget-slider"))
    field = slider.get_by_role("spinbutton", name="or type it")
    assert field.input_value() == "0.07"
    figure = slider.locator("img")
    before = str(figure.get_attribute("src"))
    drag_to(page, slider.locator(HANDLE), 0.9)
    dragged = lab.changes(page, figure, "src", before)
    assert float(field.input_value()) > 1
    expect(slider).to_contain_text(f"Temperature {float(field.input_value()):.3g}")
    slider.locator(HANDLE).focus()
    page.keyboard.press("ArrowLeft")
    lab.changes(page, figure, "src", dragged)

    # the eight pairs
    cells = output_with(page, page.locator("button[title='picture 0, caption 0']")).filter(
        has=page.locator(".widget-gridbox")
    )
    expect(cells).to_contain_text("Caption 0:")
    told = cells.locator(".widget-html-content").last
    picture = told.locator("img")
    first = str(picture.get_attribute("src"))
    cells.locator("button[title='picture 3, caption 5']").click()
    expect(told).to_contain_text("Caption 5:")
    expect(told).to_contain_text("no pair")
    third = lab.changes(page, picture, "src", first)
    cells.locator("button[title='picture 6, caption 6']").focus()
    page.keyboard.press("Enter")
    expect(told).to_contain_text("a pair")
    lab.changes(page, picture, "src", third)
    shares = told.inner_text()
    hotter = cells.get_by_role("spinbutton", name="or type it")
    hotter.fill("1")
    hotter.press("Enter")
    expect(told).not_to_have_text(shares)

    # the batch in two dimensions
    steps = output_with(page, page.locator("button:has-text('Ten steps')"))
    losses = [loss_in(steps)]
    for title in ("Step", "Ten steps", "Begin again"):
        circle = str(steps.locator("img").first.get_attribute("src"))
        steps.get_by_role("button", name=title, exact=True).click()
        lab.changes(page, steps.locator("img").first, "src", circle)
        losses.append(loss_in(steps))
    start, one, eleven, again = losses
    assert start > one > eleven and again == start


def test_prompts_are_built_in_lesson_06(page: Page, address: str) -> None:
    lab.open_and_run(page, address, "notebooks/06_zero_shot.ipynb")
    builder = output_with(page, page.locator("textarea"))
    expect(builder).to_contain_text("16 classes, 2 templates: chance 0.06")
    named = builder.locator("img")
    assert named.count() == 8
    classes = builder.get_by_role("textbox", name="classes")
    classes.fill("a boat, a house")
    classes.press("Enter")
    expect(builder).to_contain_text("2 classes, 2 templates: chance 0.50")
    expect(builder.locator("img:is([alt='a boat'], [alt='a house'])")).to_have_count(8)
    templates = builder.get_by_role("textbox", name="templates")
    templates.fill("a picture of a thing")
    templates.press("Tab")
    expect(builder).to_contain_text("has 0 places for a class")
    expect(named).to_have_count(0)  # no old answer stays below a refused template


def test_the_search_box_of_lesson_07(page: Page, address: str) -> None:
    lab.open_and_run(page, address, "notebooks/07_look_inside.ipynb")
    field = page.get_by_role("textbox", name="look for")
    box = output_with(page, field)
    pictures = box.locator("img")
    expect(pictures).to_have_count(6)

    def found() -> list[str]:
        return [str(picture.get_attribute("alt")) for picture in pictures.all()]

    before = found()
    field.fill("a red boat at night")
    boats = lab.settled(page, found, before)
    field.fill("a cat in falling snow")
    cats = lab.settled(page, found, boats)
    assert not set(boats) & set(cats)
    field.fill("")
    expect(pictures).to_have_count(0)
    field.press_sequentially("a red boat at night", delay=30)  # an answer for every letter
    assert lab.settled(page, found, []) == boats, "the last letters' answer stays"
    field.fill("the quarterly report of the bank")
    expect(box).to_contain_text("nothing here matches", ignore_case=True)
    field.fill("a red boat at night")
    expect(box).not_to_contain_text("nothing here matches", ignore_case=True)
    name = boats[1].removeprefix("found: ")
    box.locator(f"button[title='{name}']").click()
    expect(box).to_contain_text(f"Pictures like {name}")
    expect(box).to_contain_text(f"Captions that fit {name}")
    assert lab.settled(page, found, boats) != boats


def test_a_scene_is_composed_and_judged_in_lesson_08(page: Page, address: str) -> None:
    lab.open_and_run(page, address, "notebooks/08_limits.ipynb")
    sky = page.get_by_role("combobox", name="sky")
    composer = output_with(page, sky)
    drawn = composer.locator("img")
    table = composer.locator("table")

    day, verdicts = str(drawn.get_attribute("src")), table.inner_text()
    sky.select_option("night")
    night = lab.changes(page, drawn, "src", day)
    expect(table).not_to_have_text(verdicts)
    composer.get_by_role("combobox", name="thing 1").select_option("boat")
    lab.changes(page, drawn, "src", night)
    expect(table).to_contain_text("boat")
    words = composer.get_by_role("textbox", name="your words")
    words.fill("a boat at night")
    words.press("Tab")
    expect(composer).to_contain_text("Your words:")
    for thing in ("thing 1", "thing 2", "thing 3"):
        composer.get_by_role("combobox", name=thing).select_option("(nothing)")
    expect(composer).to_contain_text("Choose at least one thing.")
    expect(table).to_have_count(0)


FILM = """\
import sys
sys.path.insert(0, "..")
import numpy as np
from cliplib.widgets_film import play_film
frames = {0: np.full((4, 4), 0.5), 10: np.eye(4)[[0, 1, 2, 2]], 20: np.eye(4)}
play_film(frames, [(10, 1.0), (20, 0.3)], np.log(4))
"""


def test_the_film_plays_and_can_be_stepped_through(page: Page, address: str, folder: Path) -> None:
    film = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(FILM)])
    film.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(film, folder / "course" / "notebooks" / "film.ipynb")
    lab.open_and_run(page, address, "notebooks/film.ipynb")
    film = output_with(page, page.locator(".widget-play"))
    expect(film).to_contain_text("Step 0 of 20: the pair is the largest in 0 of 4 rows.")
    first = str(film.locator("img").get_attribute("src"))
    film.locator(".widget-play button").first.click()
    expect(film).to_contain_text("Step 20 of 20: the pair is the largest in 4 of 4 rows.")
    last = lab.changes(page, film.locator("img"), "src", first)
    drag_to(page, film.locator(HANDLE), 0.5)
    expect(film).to_contain_text("Step 10 of 20: the pair is the largest in 3 of 4 rows.")
    lab.changes(page, film.locator("img"), "src", last)
    field = film.get_by_role("spinbutton", name="or type it")
    field.fill("0")
    field.press("Enter")
    expect(film).to_contain_text("Step 0 of 20")
