"""A search box, prompts to try on pictures, and scenes to compose that a model then judges."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import ipywidgets
import torch
from IPython.display import display
from PIL.Image import Image

from cliplib.captions import in_words, true_meaning
from cliplib.checkpoint import Run
from cliplib.drawing import draw
from cliplib.picturebook import compose
from cliplib.scenes import COLOURS, GROUNDS, KINDS, SKIES, Scene, describes
from cliplib.search import (
    Answer,
    CaptionIndex,
    PictureIndex,
    by_picture,
    by_words,
    captions_for,
    embed_picture,
    embed_words,
    nothing_matches,
)
from cliplib.widgets import in_turn, picture_html
from cliplib.zeroshot import classifier, classify

SHOWN = 150  # pixels of a picture's longer side
DRAWN = 320
NOTHING = "(nothing)"


# ---- search


def search_box(
    run: Run, pictures: PictureIndex, captions: CaptionIndex | None = None,
    words: str = "a red boat at night", k: int = 6,
) -> None:  # fmt: skip
    """Searches while you type; the button under a picture finds its neighbours and its captions.

    Raises: ValueError when k is below 1.
    """
    display(_SearchBox(run, pictures, captions, words, k).box)


class _SearchBox:
    """The field, what is told about the answers, the answers, and captions of a chosen picture."""

    def __init__(
        self, run: Run, pictures: PictureIndex, captions: CaptionIndex | None, words: str, k: int
    ) -> None:
        self.run, self.pictures, self.captions, self.k = run, pictures, captions, k
        self.field = ipywidgets.Text(
            value=words, description="look for", layout={"width": "32em"}, continuous_update=True
        )
        self.field.observe(lambda change: self.find_words(), "value")
        self.told, self.fitting = ipywidgets.HTML(), ipywidgets.HTML()
        self.answers = ipywidgets.HBox(layout={"flex_flow": "row wrap"})
        self.box = ipywidgets.VBox([self.field, self.told, self.answers, self.fitting])
        self.find_words()

    @in_turn
    def find_words(self) -> None:
        """Answers what stands in the field now; an empty field has no answers."""
        words = self.field.value.strip()
        answers = by_words(self.run, self.pictures, words, self.k) if words else []
        self._show(answers, nothing_matches(self.run, answers) if answers else "", "")

    @in_turn
    def find_like(self, path: Path) -> None:
        """The pictures most alike one, and the captions that fit it best."""
        fitting = ""
        if self.captions is not None:
            found = captions_for(self.run, self.captions, path, 5)
            items = "".join(f"<li>{a.score:.2f} {html.escape(str(a.item))}</li>" for a in found)
            fitting = f"<b>Captions that fit {html.escape(path.name)}:</b><ul>{items}</ul>"
        neighbours = by_picture(self.run, self.pictures, path, self.k)
        self._show(neighbours, f"Pictures like {html.escape(path.name)}:", fitting)

    def _show(self, answers: Sequence[Answer], told: str, fitting: str) -> None:
        self.told.value, self.fitting.value = told, fitting
        self.answers.children = tuple(self._answer(answer) for answer in answers)

    def _answer(self, answer: Answer) -> ipywidgets.VBox:
        picture = picture_html(answer.item, f"found: {answer.item.name}", SHOWN)
        button = ipywidgets.Button(
            description=f"{answer.score:.2f}  like this", tooltip=answer.item.name,
            layout={"width": f"{SHOWN}px"},
        )  # fmt: skip
        button.on_click(lambda _: self.find_like(answer.item))
        return ipywidgets.VBox([ipywidgets.HTML(picture), button])


# ---- zero-shot


def prompt_builder(
    run: Run, pictures: PictureIndex, classes: str = "a boat, a cat, a house, a tree",
    templates: str = "{}\na picture of {}", k: int = 8,
) -> None:  # fmt: skip
    """Class names and templates to change, and what the first k pictures are then called.

    Class names stand between commas, templates one a line.
    """
    display(_PromptBuilder(run, pictures, classes, templates, k).box)


class _PromptBuilder:
    """The two fields, what is wrong with them, and the pictures with their classes."""

    def __init__(
        self, run: Run, pictures: PictureIndex, classes: str, templates: str, k: int
    ) -> None:
        self.run, self.pictures, self.k = run, pictures, k
        wide = {"width": "32em"}
        self.classes = ipywidgets.Text(
            value=classes, description="classes", layout=wide, continuous_update=False
        )
        self.templates = ipywidgets.Textarea(
            value=templates, description="templates", layout=wide, continuous_update=False
        )
        self.told = ipywidgets.HTML()
        self.answers = ipywidgets.HBox(layout={"flex_flow": "row wrap"})
        for field in (self.classes, self.templates):
            field.observe(lambda change: self.redraw(), "value")
        self.box = ipywidgets.VBox([self.classes, self.templates, self.told, self.answers])
        self.redraw()

    @in_turn
    def redraw(self) -> None:
        names = [name.strip() for name in self.classes.value.split(",") if name.strip()]
        templates = [line.strip() for line in self.templates.value.splitlines() if line.strip()]
        try:
            rows = classifier(self.run.model, self.run.tokenizer, names, templates)  # (K, E)
        except ValueError as error:
            self.told.value, self.answers.children = html.escape(str(error)), ()
            return
        images = self.pictures.embeddings[: self.k]  # (k, E)
        cosines = (images @ rows.T).max(dim=1).values  # (k,)
        self.told.value = (
            f"{len(names)} classes, {len(templates)} templates: chance {1 / len(names):.2f}"
        )
        self.answers.children = tuple(
            ipywidgets.HTML(
                f"{picture_html(path, names[chosen], SHOWN)}<br>{cosine:.2f} "
                f"<b>{html.escape(names[chosen])}</b>"
            )
            for path, chosen, cosine in zip(
                self.pictures.paths[: self.k], classify(images, rows).tolist(), cosines.tolist(),
                strict=True,
            )
        )  # fmt: skip


# ---- compose and judge


@dataclass(frozen=True)
class Verdict:
    """A caption, whether it is true of the scene, and how well a model thinks that it fits."""

    caption: str
    true: bool
    cosine: float


def captions_to_judge(scene: Scene, seed: int = 0, each: int = 4) -> list[tuple[str, bool]]:
    """Captions that are true of a scene, and as many of scenes that differ, which are not.

    Raises: ValueError for a scene without things.
    """
    if not scene.things:
        raise ValueError("Captions speak of things, and this scene has none: give it one.")
    random = Random(seed)
    true = _different(scene, scene, random, each, wanted=True)
    other = _different(_changed(scene, random), scene, random, each, wanted=False)
    return [(caption, True) for caption in true] + [(caption, False) for caption in other]


def _changed(scene: Scene, random: Random) -> Scene:
    """Other colours, another sky, another ground."""
    other = {c: random.choice([o for o in COLOURS if o != c]) for c in COLOURS}
    return replace(
        scene,
        things=tuple(replace(thing, colour=other[thing.colour]) for thing in scene.things),
        sky=random.choice([sky for sky in SKIES if sky != scene.sky]),
        ground=random.choice([ground for ground in GROUNDS if ground != scene.ground]),
    )


def _different(told: Scene, shown: Scene, random: Random, count: int, wanted: bool) -> list[str]:
    """Captions of one scene that are, or are not, true of another; each of them once."""
    found: dict[str, None] = {}
    while len(found) < count:
        meaning = true_meaning(told, random)
        if describes(meaning, shown) == wanted:
            found[in_words(meaning, random)] = None
    return list(found)


@torch.inference_mode()
def judge(run: Run, picture: Image, captions: Sequence[tuple[str, bool]]) -> list[Verdict]:
    """What a model thinks of captions of a picture, the best fitting first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "composed.png"
        picture.save(path)
        image = embed_picture(run, path)  # (E,)
    cosines = embed_words(run, [caption for caption, _ in captions]) @ image  # (M,)
    verdicts = [
        Verdict(caption, true, cosine)
        for (caption, true), cosine in zip(captions, cosines.tolist(), strict=True)
    ]
    return sorted(verdicts, key=lambda verdict: -verdict.cosine)


def compose_and_judge(run: Run) -> None:
    """Build a scene out of things, colours, sky and ground; your model then judges captions of it.

    For a model that was trained on the picture book.
    """
    display(_Composer(run).box)


class _Composer:
    """The choices, the drawn scene, and the captions with the model's cosines."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.things = [
            (_choice((NOTHING, *KINDS), kind, f"thing {i + 1}"), _choice(COLOURS, colour, "colour"))
            for i, (kind, colour) in enumerate((("car", "purple"), ("tree", "green"), ("", "red")))
        ]
        self.sky, self.ground = _choice(SKIES, "day", "sky"), _choice(GROUNDS, "snow", "ground")
        self.own = ipywidgets.Text(description="your words", layout={"width": "32em"})
        self.picture, self.verdicts = ipywidgets.HTML(), ipywidgets.HTML()
        rows = [ipywidgets.HBox(pair) for pair in (*self.things, (self.sky, self.ground))]
        for choice in (*(c for pair in self.things for c in pair), self.sky, self.ground, self.own):
            choice.observe(lambda change: self.redraw(), "value")
        below = ipywidgets.HBox([self.picture, self.verdicts])
        self.box = ipywidgets.VBox([*rows, self.own, below])
        self.redraw()

    def scene(self) -> Scene:
        """What is chosen now."""
        things = [f"{c.value} {k.value}" for k, c in self.things if k.value != NOTHING]
        return compose(*things, sky=self.sky.value, ground=self.ground.value)

    @in_turn
    def redraw(self) -> None:
        scene = self.scene()
        drawn = draw(scene, DRAWN)
        self.picture.value = picture_html(drawn, "the scene that you composed", DRAWN)
        if not scene.things:
            self.verdicts.value = "Choose at least one thing."
            return
        captions = captions_to_judge(scene)
        verdicts = judge(self.run, drawn, captions)
        table = _table(verdicts)
        if self.own.value.strip():
            (own,) = judge(self.run, drawn, [(self.own.value, False)])
            table += f"<p><b>Your words:</b> {own.cosine:.2f} {html.escape(own.caption)}</p>"
        self.verdicts.value = f"<div style='margin-left:1em'>{table}</div>"


def _choice(options: Sequence[str], value: str, name: str) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(options=options, value=value or NOTHING, description=name)


def _table(verdicts: Sequence[Verdict]) -> str:
    rows = "".join(
        f"<tr><td>{v.cosine:.2f}</td><td>{'true' if v.true else 'false'}</td>"
        f"<td style='text-align:left'>{html.escape(v.caption)}</td></tr>"
        for v in verdicts
    )
    return f"<table><tr><th>cosine</th><th>of the scene</th><th>caption</th></tr>{rows}</table>"
