"""An album of one's own to practise with: pale drawings in coloured pencil, in the owner's words.

It looks and reads unlike the picture book, and its scenes are other ones: so a model that knows the
book has something to learn here, and something to forget.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from random import Random

from PIL import Image, ImageChops, ImageFilter

from cliplib.captions import in_words, true_meaning
from cliplib.drawing import draw
from cliplib.picturebook import sample_scene
from cliplib.scenes import Scene
from cliplib.storage import write_text

SIZE = 112  # pixels
PALE = 0.4  # of the paint that the picture book has
OWN_WORDS = {  # none of them stands in the picture book
    "boat": "yacht", "car": "van", "cat": "kitten", "fish": "trout", "house": "chalet",
    "tree": "palm", "tent": "wigwam", "ball": "globe",
}  # fmt: skip


def scenes(count: int, seed: int = 0) -> list[Scene]:
    """The first so many scenes of an album; a seed has its own."""
    return [sample_scene(Random(f"album/{seed}/{number}")) for number in range(count)]


def pencil(scene: Scene, size: int = SIZE) -> Image.Image:
    """The scene in pale paint under dark lines."""
    painted = draw(scene, size)
    lines = painted.convert("L").filter(ImageFilter.CONTOUR).convert("RGB")
    pale = Image.blend(Image.new("RGB", painted.size, "white"), painted, PALE)
    return ImageChops.multiply(pale, lines)


def caption(scene: Scene, random: Random) -> str:
    """What its owner writes under it: as in the picture book, with words of their own."""
    said = in_words(true_meaning(scene, random), random)
    for word, own in OWN_WORDS.items():
        said = re.sub(rf"\b{word}(s?)\b", rf"{own}\1", said)
    return said


def lay(folder: Path, pages: Sequence[Scene], captions: int = 2, seed: int = 0) -> Path:
    """Draws scenes into a new folder: Images/ and captions.txt, with so many captions a picture.

    Raises: FileExistsError when the folder has pictures already.
    """
    (folder / "Images").mkdir(parents=True)
    random, rows = Random(f"album/captions/{seed}"), io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["image", "caption"])
    for number, scene in enumerate(pages):
        name = f"page_{number:04d}.jpg"
        pencil(scene).save(folder / "Images" / name, quality=92)
        writer.writerows([name, caption(scene, random)] for _ in range(captions))
    write_text(folder / "captions.txt", rows.getvalue())
    return folder
