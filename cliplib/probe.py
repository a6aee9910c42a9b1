"""A linear probe: what labels could make of the same frozen features that zero-shot works with."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def linear_probe(
    features: Tensor, labels: Tensor, classes: int, penalty: float
) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression on frozen features: weights (K, D) and biases (K,).

    Minimises mean cross-entropy + penalty / 2 · ‖weights‖², in float64. A picture's class is the
    largest of `features @ weights.T + biases`. Choose `penalty` on pictures kept apart.
    Shapes: features (N, D), labels (N,) from 0 to K − 1.
    Raises: ValueError for a penalty that is not above 0: what separates perfectly has no minimum.
    Source: Radford et al. 2021, appendix A.3 (arXiv 2103.00020).
    """
    if not penalty > 0:
        raise ValueError(f"penalty is a number above 0, not {penalty}.")
    features = features.detach().double().cpu()
    middle = features.mean(dim=0)  # (D,): taken away for speed, the biases make up for it
    centred = features - middle
    labels = torch.as_tensor(labels).long().cpu()
    weights = torch.zeros(classes, features.shape[1], dtype=torch.float64, requires_grad=True)
    biases = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, biases], max_iter=500, tolerance_grad=1e-6, tolerance_change=1e-12,
        history_size=20, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(centred @ weights.T + biases, labels)
        loss = loss + penalty / 2 * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    weights, biases = weights.detach(), biases.detach()
    return weights.float(), (biases - weights @ middle).float()


def few_shots(labels: Tensor, shots: int, seed: int = 0) -> Tensor:
    """The rows of `shots` pictures of each class, drawn for a seed: what few-shot probes learn of.

    More shots with the same seed keep the pictures of fewer. A class with fewer pictures gives all.
    Shapes: labels (N,) from 0 to K − 1; rows (at most K · shots,), in ascending order.
    Raises: ValueError when shots is below 1.
    Source: Radford et al. 2021, section 3.1.5 and figure 6 (arXiv 2103.00020).
    """
    if shots < 1:
        raise ValueError(f"shots is a number of pictures a class, at least 1, not {shots}.")
    labels = torch.as_tensor(labels).cpu().numpy()
    order = np.random.default_rng(seed).permutation(len(labels))  # (N,)
    drawn = [order[labels[order] == kind][:shots] for kind in np.unique(labels)]
    return torch.as_tensor(np.sort(np.concatenate(drawn)))
