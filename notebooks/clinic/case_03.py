"""Case 03: "It learns and stays behind. With another encoder the first losses were enormous." """

import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib.clinic import Chart, Ward, examine, new_heads, own_ward, steps
from cliplib.model import CLIP


def embed(model: CLIP, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """Features of a batch to one space: (B, D) and (B, D) in, (B, E) twice out."""
    return model.image_projection(images), model.text_projection(texts)


def run(ward: Ward, seed: int = 0) -> Chart:
    model = new_heads(ward, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for images, texts in steps(ward.train, 128, 300, seed):
        image_rows, text_rows = embed(model, images, texts)  # (B, E) each
        logits = model.logit_scale * image_rows @ text_rows.T  # (B, B)
        own = torch.arange(len(logits))  # (B,)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return examine(ward, model, losses, 128, seed)


if __name__ == "__main__":
    print(run(own_ward()))
