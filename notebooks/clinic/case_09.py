"""Case 09: "The loss will not fall below about 1.5. Is my model too small?" """

import numpy as np
import torch
import torch.nn.functional as F

from cliplib.clinic import Chart, Ward, examine, new_heads, own_ward


def batches(caption_image: np.ndarray, pairs: int, seed: int) -> list[np.ndarray]:
    """An epoch: caption rows (B,) for each batch. caption_image (M,): each caption's picture."""
    rows = np.arange(len(caption_image))
    return [rows[start : start + pairs] for start in range(0, len(rows) - pairs + 1, pairs)]


def run(ward: Ward, seed: int = 0) -> Chart:
    model = new_heads(ward, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    owner = ward.train.pairs.caption_image  # (M,)
    losses, epoch = [], 0
    while len(losses) < 500:
        for words in batches(owner, 32, 1000 * seed + epoch):
            images, texts = ward.train.images[owner[words]], ward.train.texts[words]
            rows = model.encode_image(images), model.encode_text(texts)  # (B, E) each
            logits = model.logit_scale * rows[0] @ rows[1].T  # (B, B)
            own = torch.arange(len(logits))  # (B,)
            loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        epoch += 1
    return examine(ward, model, losses[:500], 32, seed)


if __name__ == "__main__":
    print(run(own_ward()))
