"""The lessons as pages: read in a real browser from a disk, no link, picture or word missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from playwright.sync_api import Page

COURSE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(COURSE / "notebooks"))

import rebuild  # noqa: E402
import website  # noqa: E402

PICTURES = "() => [...document.images].map(i => [i.naturalWidth, i.alt])"
LINKS = "() => [...document.links].map(a => a.getAttribute('href'))"
NAMES = "() => [...document.querySelectorAll('[id]')].map(e => e.id)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("site")
    website.build(built)
    return built


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    if lab.browser() is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    with lab.open_browser() as browser:
        yield browser.new_page()


def test_there_is_a_page_for_each_lesson_and_one_that_lists_them(folder: Path) -> None:
    pages = {f"{path.stem}.html" for path in rebuild.lessons()}
    assert {path.name for path in folder.iterdir()} == pages | {"index.html"}
    index = (folder / "index.html").read_text(encoding="utf-8")
    for path in rebuild.lessons():
        assert f'<a href="{path.stem}.html">{rebuild.title(path)}</a>' in index
    assert "How can a batch of pictures and their captions" in index


def test_links_lead_somewhere_and_pictures_are_there(folder: Path, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    links, names, pictures = {}, {}, 0
    for path in sorted(folder.iterdir()):
        page.goto(path.as_uri())
        links[path.name], names[path.name] = page.evaluate(LINKS), set(page.evaluate(NAMES))
        for width, alt in page.evaluate(PICTURES):
            pictures += 1
            assert width > 0 and len(alt) > 20, f"{path.name}: a picture is missing or has no words"
        assert page.title() and "<script" not in page.content()
    assert pictures > 40
    assert all(url.startswith(("file:", "data:")) for url in asked), "nothing comes from elsewhere"
    for name, found in links.items():
        assert found, f"{name} leads nowhere"
        for link in found:
            if link.startswith("https://"):
                continue
            file, _, part = link.partition("#")
            assert (file or name) in names, f"{name}: {link} is not there"
            assert not part or part in names[file or name], f"{name}: {link} has no such heading"


def test_what_a_lesson_printed_stands_in_its_page(folder: Path, page: Page) -> None:
    page.goto((folder / "03_contrastive_loss.html").as_uri())
    text = page.inner_text("body")
    assert "symmetric: 0.483, a guess among three: 1.099" in text
    page.click("text=All lessons")
    assert page.title() == "Build your own CLIP"


def test_the_command_says_what_to_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(website, "lessons", lambda: rebuild.lessons()[:1])
    assert website.main([str(tmp_path / "new")]) == 0
    assert str(tmp_path / "new" / "index.html") in capsys.readouterr().out
    assert (tmp_path / "new" / "00_start_here.html").is_file()
