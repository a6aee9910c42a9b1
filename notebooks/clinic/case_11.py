"""Case 11: "Boats are found, and people, and snow. But the colours are all wrong." """

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cliplib.clinic import Chart, Ward, examine_vectors, own_ward
from cliplib.pictures import FILTERS, ImageTransform
from cliplib.search import embed_words

PICTURES = 300


def read(path: Path, transform: ImageTransform) -> np.ndarray:
    """The pixels (H, W, 3) of a picture, as cv2.imread and cv2.resize would give them."""
    picture = Image.open(path).convert("RGB")
    small = picture.resize((transform.size, transform.size), FILTERS[transform.interpolation])
    return np.asarray(small)[:, :, ::-1]  # OpenCV's order


def prepare(paths: list[Path], transform: ImageTransform) -> Tensor:
    """Picture files to the encoder's input (B, 3, H, W)."""
    pixels = np.stack([read(path, transform) for path in paths])  # (B, H, W, 3)
    return transform.normalise(pixels)


def run(ward: Ward, seed: int = 0) -> Chart:
    pairs, images = ward.val.pairs, []
    with torch.inference_mode():
        for start in range(0, PICTURES, 16):
            paths = pairs.paths()[start : min(start + 16, PICTURES)]
            images.append(ward.run.model.encode_image(prepare(paths, ward.run.transform)))
    words = [pairs.captions[pairs.captions_of(row)[0]] for row in range(PICTURES)]
    return examine_vectors(torch.cat(images), embed_words(ward.run, words), "")


if __name__ == "__main__":
    print(run(own_ward()))
