"""Case 04: "I took the loss from a tutorial. It falls, then it rests, far from 0." """

import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib.clinic import Chart, Ward, examine, new_heads, own_ward, steps


def loss_of(images: Tensor, texts: Tensor) -> Tensor:
    """Projected rows (B, E) twice to one number; captions that are alike share the credit."""
    logits = texts @ images.T  # (B, B)
    alike = (images @ images.T + texts @ texts.T) / 2  # (B, B)
    targets = F.softmax(alike, dim=1)
    of_texts = -(targets * F.log_softmax(logits, dim=1)).sum(dim=1)  # (B,)
    of_images = -(targets.T * F.log_softmax(logits.T, dim=1)).sum(dim=1)  # (B,)
    return ((of_texts + of_images) / 2).mean()


def run(ward: Ward, seed: int = 0) -> Chart:
    model = new_heads(ward, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for images, texts in steps(ward.train, 128, 300, seed):
        loss = loss_of(model.image_projection(images), model.text_projection(texts))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return examine(ward, model, losses, 128, seed)


if __name__ == "__main__":
    print(run(own_ward()))
