"""Case 10: "The model was fine when it was trained. My search with it finds much less." """

import numpy as np
import torch
from torch import Tensor

from cliplib.clinic import Chart, Ward, examine_vectors, own_ward
from cliplib.encoders import ImageEncoder
from cliplib.search import embed_words
from cliplib.store import PictureStore

PICTURES = 300
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def prepare(pixels: np.ndarray, encoder: ImageEncoder) -> Tensor:
    """Pixels (B, H, W, 3) of type uint8 to the encoder's input (B, 3, H, W)."""
    values = torch.from_numpy(pixels).float() / 255
    values = (values - torch.tensor(MEAN)) / torch.tensor(STD)
    return values.permute(0, 3, 1, 2)


def run(ward: Ward, seed: int = 0) -> Chart:
    model, pairs = ward.run.model, ward.val.pairs
    store = PictureStore(pairs.paths()[:PICTURES], ward.run.transform)
    images = []
    with torch.inference_mode():
        for rows in np.array_split(np.arange(len(store)), len(store) // 16):
            pictures = prepare(store.uint8(rows), model.image_encoder)  # (B, 3, H, W)
            images.append(model.encode_image(pictures))
    words = [pairs.captions[pairs.captions_of(row)[0]] for row in range(len(store))]
    spread = f"input: mean {pictures.mean():.2f}, deviation {pictures.std():.2f}"
    return examine_vectors(torch.cat(images), embed_words(ward.run, words), spread)


if __name__ == "__main__":
    print(run(own_ward()))
