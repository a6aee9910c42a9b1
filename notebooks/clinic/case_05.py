"""Case 05: "My loss is 0.000 from the first step. Is it that easy?" """

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from cliplib.clinic import Chart, Ward, examine, new_heads, own_ward


def run(ward: Ward, seed: int = 0) -> Chart:
    model = new_heads(ward, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    pairs = TensorDataset(ward.train.images, ward.train.first_texts())
    loader = DataLoader(pairs, shuffle=True, drop_last=True)
    losses = []
    while len(losses) < 300:
        for images, texts in loader:
            rows = model.encode_image(images), model.encode_text(texts)  # (B, E) each
            logits = model.logit_scale * rows[0] @ rows[1].T  # (B, B)
            own = torch.arange(len(logits))  # (B,)
            loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == 300:
                break
    return examine(ward, model, losses, len(logits), seed)


if __name__ == "__main__":
    print(run(own_ward()))
