"""Case 06: "Gradients are there, a step follows each of them, and nothing gets better." """

import torch
import torch.nn.functional as F

from cliplib.clinic import Chart, Ward, examine, new_heads, own_ward, steps


def run(ward: Ward, seed: int = 0) -> Chart:
    model = new_heads(ward, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    # begin again from fresh weights
    model = new_heads(ward, seed)
    losses = []
    for images, texts in steps(ward.train, 128, 300, seed):
        rows = model.encode_image(images), model.encode_text(texts)  # (B, E) each
        logits = model.logit_scale * rows[0] @ rows[1].T  # (B, B)
        own = torch.arange(len(logits))  # (B,)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        model.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return examine(ward, model, losses, 128, seed)


if __name__ == "__main__":
    print(run(own_ward()))
