"""Case 08: "My test recall is superb. On the next pictures that I took it is not." """

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib.clinic import Chart, Ward, examine, new_heads, own_ward
from cliplib.model import CLIP


def split(caption_image: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of captions to train on, and to test on. caption_image (M,): each caption's picture."""
    held_out = np.random.default_rng(seed).random(len(caption_image)) < 0.3  # (M,)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


@torch.inference_mode()
def test(model: CLIP, images: Tensor, texts: Tensor) -> float:
    """Recall@1 of captions (Q, D) among their pictures (Q, D), one caption a picture."""
    cosines = model.encode_text(texts) @ model.encode_image(images).T  # (Q, Q)
    return (cosines.argmax(dim=1) == torch.arange(len(cosines))).float().mean().item()


def run(ward: Ward, seed: int = 0) -> Chart:
    model = new_heads(ward, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    owner = ward.val.pairs.caption_image
    owner = owner[owner >= 0.7 * len(ward.val.images)]  # (M,): a small collection, 300 pictures
    images, texts = ward.val.images[owner], ward.val.texts[-len(owner) :]  # (M, D) each
    train, held_out = split(owner, seed)
    random, losses = np.random.default_rng(seed), []
    for _ in range(400):
        rows = random.permutation(train)
        rows = rows[np.unique(owner[rows], return_index=True)[1]]  # one caption of each picture
        rows = random.permutation(rows)[:128]  # (B,)
        logits = model.encode_image(images[rows]) @ model.encode_text(texts[rows]).T  # (B, B)
        logits = model.logit_scale * logits
        own = torch.arange(len(logits))  # (B,)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    rows = np.intersect1d(held_out, np.unique(owner, return_index=True)[1])  # (Q,) first captions
    claimed = test(model, images[rows], texts[rows])
    return examine(ward, model, losses, 128, seed, claimed, len(rows))


if __name__ == "__main__":
    print(run(own_ward()))
