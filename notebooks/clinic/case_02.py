"""Case 02: "The loss begins where it should and then hardly moves, however long I wait." """

import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib.clinic import Chart, Ward, examine, new_heads, own_ward, steps


def logits_of(images: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
    """Unit rows (B, E) twice and the learned logarithm of the logit scale to logits (B, B)."""
    return images @ texts.T / log_scale.exp()


def run(ward: Ward, seed: int = 0) -> Chart:
    model = new_heads(ward, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for images, texts in steps(ward.train, 128, 300, seed):
        rows = model.encode_image(images), model.encode_text(texts)  # (B, E) each
        logits = logits_of(*rows, model.log_logit_scale)
        own = torch.arange(len(logits))  # (B,)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return examine(ward, model, losses, 128, seed)


if __name__ == "__main__":
    print(run(own_ward()))
