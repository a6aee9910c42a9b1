"""Checks of lesson 04b: utilisation, gradients in float16, what a step keeps in memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cliplib.checks import Yours, check

SPEED = 6e12  # operations a second
FORWARD = 4e9  # operations a picture


def utilisation(yours: Yours) -> None:
    """Exercise 1: pictures a second, operations of forward and the device's speed to a share."""
    check("04b.1", yours, [_the_worked_share, _follows_pictures, _follows_device, _hides_nothing])


def _share(yours: Yours, pictures: float, forward: float = FORWARD, speed: float = SPEED) -> float:
    return float(yours(pictures, forward, speed))


def _the_worked_share(yours: Yours) -> str:
    found = _share(yours, 100)
    mistakes = {
        0.2 / 3: "Does a training step end after forward?",
        0.4 / 3: "Backward costs twice as much as forward: is forward itself still in it?",
        5.0: "Is that the device's speed over what was used, or the other way round?",
        20.0: "Is that per cent, where a share of 1 is asked for?",
    }
    for value, question in mistakes.items():
        if math.isclose(found, value, rel_tol=1e-6):
            return f"the worked example gave {found:.3f}, not 0.200. {question}"
    if not math.isclose(found, 0.2, rel_tol=1e-6):
        return f"the worked example gave {found:.3g}, not 0.2. How often is forward's work done?"
    return ""


def _follows_pictures(yours: Yours) -> str:
    found = _share(yours, 200), _share(yours, 100, 2 * FORWARD)
    if not all(math.isclose(share, 0.4, rel_tol=1e-6) for share in found):
        return (
            f"twice the pictures gave {found[0]:.3f} and twice the operations {found[1]:.3f}, not "
            "0.400. Is the work a second their product?"
        )
    return ""


def _follows_device(yours: Yours) -> str:
    found = _share(yours, 100, speed=2 * SPEED)
    if not math.isclose(found, 0.1, rel_tol=1e-6):
        return f"a device twice as fast gave {found:.3f}, not 0.100. Is it not half as busy?"
    return ""


def _hides_nothing(yours: Yours) -> str:
    found = _share(yours, 600)
    if not math.isclose(found, 1.2, rel_tol=1e-6):
        return (
            f"600 pictures a second gave {found:.2f}, not 1.20. A share above 1 tells that a figure"
            " is wrong: should a bound hide that?"
        )
    return ""


def unscale(yours: Yours) -> None:
    """Exercise 2: float16 gradients of a multiplied loss in; float32 ones and a multiplier out."""
    check(
        "04b.2",
        yours,
        [_two_results, _divides, _in_float32, _scale_stays, _leaves_out, _nan_too, _halves],
    )


def _results(yours: Yours, values: list[float], scale: float = 1024.0) -> tuple[Tensor, float]:
    gradient, following = yours(torch.tensor(values, dtype=torch.float16), scale)
    return gradient, float(following)


def _two_results(yours: Yours) -> str:
    gradient, _ = _results(yours, [0.5, -2.0])
    if not isinstance(gradient, Tensor) or gradient.shape != (2,):
        return "the first result is not shaped like the gradient. Is it one number for each?"
    return ""


def _divides(yours: Yours) -> str:
    gradient, _ = _results(yours, [0.5, -2.0])
    if torch.allclose(gradient.float(), torch.tensor([0.5, -2.0])):
        return "0.5 stayed 0.5. It belongs to a loss that was multiplied by 1024: what undoes that?"
    if not torch.allclose(gradient.float(), torch.tensor([0.5, -2.0]) / 1024, rtol=1e-2):
        return f"0.5 became {gradient[0]:.4g}. What undoes a multiplication by 1024?"
    return ""


def _in_float32(yours: Yours) -> str:
    gradient, _ = _results(yours, [3e-5, 0.5])
    if gradient[0] == 0:
        return "3e-05 over 1024 became 0. In which format do you divide?"
    if gradient.dtype != torch.float32:
        return f"the gradient is {str(gradient.dtype)[6:]}. Are the weights not in float32?"
    return ""


def _scale_stays(yours: Yours) -> str:
    _, following = _results(yours, [0.5, -2.0])
    if following != 1024:
        return f"all was finite, and 1024 became {following:g}. Did anything overflow?"
    return ""


def _leaves_out(yours: Yours) -> str:
    return _left_out(yours, math.inf)


def _nan_too(yours: Yours) -> str:
    return _left_out(yours, math.nan)


def _left_out(yours: Yours, value: float) -> str:
    gradient, _ = _results(yours, [0.5, value])
    if not gradient.isfinite().all():
        return f"with one gradient {value} came back {gradient.tolist()}. Is {value} finite?"
    if gradient.any():
        return (
            f"with one gradient {value} another one stayed {gradient[0]:.4g}. Is it the whole step "
            "that is left out?"
        )
    return ""


def _halves(yours: Yours) -> str:
    _, following = _results(yours, [0.5, math.inf])
    if following == 1024:
        return "after an overflow 1024 stayed. Would the next step not overflow as well?"
    if following != 512:
        return f"after an overflow 1024 became {following:g}. What is half of it?"
    return ""


def kept_bytes(yours: Yours) -> None:
    """Exercise 3: a model in, the bytes that it takes between two steps of AdamW out."""
    check("04b.3", yours, [_all_learn, _frozen_too, _half_frozen, _adds_layers])


def _all_learn(yours: Yours) -> str:
    found = int(yours(nn.Linear(3, 4)))
    mistakes = {
        16: "Are these numbers, and not their bytes?",
        32: "Is that a count of tensors, and how many numbers are in each?",
        64: "What else is kept for a weight that learns?",
        128: "How many averages does Adam keep for each weight?",
        192: "Adam keeps an average of the gradients: of what else?",
    }
    if found != 256:
        question = mistakes.get(found, "Four numbers of 4 bytes for each weight?")
        return f"nn.Linear(3, 4), 16 weights, gave {found}, not 256. {question}"
    return ""


def _frozen_too(yours: Yours) -> str:
    found = int(yours(nn.Linear(3, 4).requires_grad_(False)))
    if found == 256:
        return (
            "frozen, nn.Linear(3, 4) gave 256 all the same. Does a frozen weight have a gradient?"
        )
    if found == 0:
        return "frozen, nn.Linear(3, 4) gave 0. Must a frozen weight not be in memory?"
    if found != 64:
        return f"frozen, nn.Linear(3, 4) gave {found}, not 64. What is left of four numbers?"
    return ""


def _half_frozen(yours: Yours) -> str:
    layer = nn.Linear(3, 4)
    layer.weight.requires_grad_(False)
    found = int(yours(layer))
    if found != 12 * 4 + 4 * 16:
        return f"12 weights frozen and 4 learning gave {found}, not 112. Do you ask each parameter?"
    return ""


def _adds_layers(yours: Yours) -> str:
    found = int(yours(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))))
    if found != (16 + 8) * 16:
        return f"two layers of 16 and 8 weights gave {found}, not 384. Are all layers in it?"
    return ""
