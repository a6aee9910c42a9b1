"""Case 14: "I read recall@1 while it trains: superb. A colleague measures a third of it." """

import torch
from torch import Tensor

from cliplib.clinic import Chart, Ward, examine, new_heads, own_ward, steps
from cliplib.loss import contrastive_loss


def recall_at_1(images: Tensor, texts: Tensor) -> float:
    """Unit rows (N, E), pictures and a caption of each: the share of captions that find theirs."""
    found = []
    for start in range(0, len(images), 16):
        cosines = texts[start : start + 16] @ images[start : start + 16].T
        found.append(cosines.argmax(dim=1) == torch.arange(len(cosines)))
    return torch.cat(found).float().mean().item()


def run(ward: Ward, seed: int = 0) -> Chart:
    model = new_heads(ward, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for images, texts in steps(ward.train, 128, 300, seed):
        rows = model.encode_image(images), model.encode_text(texts)  # (B, E) each
        loss = contrastive_loss(*rows, model.logit_scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.inference_mode():
        images = model.encode_image(ward.val.images)  # (N, E)
        texts = model.encode_text(ward.val.first_texts())
        claimed = recall_at_1(images, texts)
    return examine(ward, model, losses, 128, seed, claimed, len(images))


if __name__ == "__main__":
    print(run(own_ward()))
