"""Checks of lesson 10: the clinic's cases, how each is mended, and a first look at a chart."""

from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cliplib.checks import Property, Yours, check
from cliplib.clinic import Chart, Ward, first_sign, open_case, toy_ward

FAULTS = {
    1: "one direction only",
    2: "divided by the logit scale",
    3: "nothing normalised",
    4: "soft targets",
    5: "batches of one",
    6: "the optimizer holds other weights",
    7: "captions slipped by one place",
    8: "split by caption",
    9: "five captions of a picture in a batch",
    10: "another encoder's mean and deviation",
    11: "red and blue exchanged",
    12: "padding in the mean",
    13: "eval() forgotten",
    14: "recall inside a batch",
}

BY_PICTURE = """\
    held_out = np.random.default_rng(seed).random(caption_image.max() + 1) < 0.3  # a picture each
    held_out = held_out[caption_image]  # (M,)
"""
ONE_OF_EACH = """\
    random = np.random.default_rng(seed)
    rows = random.permutation(len(caption_image))
    rows = rows[np.unique(caption_image[rows], return_index=True)[1]]  # one of each picture
    rows = random.permutation(rows)
"""

# What stands in a case, and what should stand there.
MENDS = {
    1: (
        "return F.cross_entropy(logits, own)",
        "return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2",
    ),
    2: ("images @ texts.T / log_scale.exp()", "log_scale.exp() * images @ texts.T"),
    3: (
        "return model.image_projection(images), model.text_projection(texts)",
        "return model.encode_image(images), model.encode_text(texts)",
    ),
    4: ("targets = F.softmax(alike, dim=1)", "targets = torch.eye(len(logits))"),
    5: ("DataLoader(pairs, shuffle", "DataLoader(pairs, batch_size=128, shuffle"),
    6: ("    # begin again from fresh weights\n    model = new_heads(ward, seed)\n", ""),
    7: ("texts = texts[: len(images)]", "texts = texts[opens]"),
    8: (
        "    held_out = np.random.default_rng(seed).random(len(caption_image)) < 0.3  # (M,)\n",
        BY_PICTURE,
    ),
    9: ("    rows = np.arange(len(caption_image))\n", ONE_OF_EACH),
    10: (
        "(values - torch.tensor(MEAN)) / torch.tensor(STD)",
        '(values - torch.tensor(encoder.data_config["mean"])) '
        '/ torch.tensor(encoder.data_config["std"])',
    ),
    11: (
        "return transform.normalise(pixels)",
        "return transform.normalise(pixels[..., ::-1].copy())",
    ),
    12: (
        "return hidden.mean(dim=1)",
        "return (hidden * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1)[:, None]",
    ),
    13: (
        "model.load_state_dict(sound.model.state_dict())",
        "model.load_state_dict(sound.model.state_dict())\n    model.eval()",
    ),
    14: (
        "    for start in range(0, len(images), 16):\n"
        "        cosines = texts[start : start + 16] @ images[start : start + 16].T\n",
        "    for cosines in [texts @ images.T]:\n",
    ),
}


def mended(number: int) -> ModuleType:
    """A case with its fault mended; `open_case` gives it as it came."""
    return open_case(number, *MENDS[number])


def logits_of(yours: Yours) -> None:
    """Exercise 1: unit rows (B, E) twice and the logarithm of the scale in, logits (B, B) out."""
    check("10.1", yours, [_multiplied, _rows_are_pictures, _scale_can_learn, _case_2_is_well])


def _unit_rows(seed: int) -> Tensor:
    drawn = torch.randn(5, 8, generator=torch.Generator().manual_seed(seed))
    return F.normalize(drawn, dim=1)  # (5, 8)


LOG_SCALE = torch.tensor(math.log(10.0))


def _multiplied(yours: Yours) -> str:
    images, texts = _unit_rows(0), _unit_rows(1)
    cosines = images @ texts.T
    found = torch.as_tensor(yours(images, texts, LOG_SCALE))
    if found.shape != (5, 5):
        return f"shape {tuple(found.shape)} came back. Is it every picture against every caption?"
    size = (found.norm() / cosines.norm()).item()
    for factor, hint in (
        (0.1, "Is the scale a multiplier, 1/temperature, or a temperature?"),
        (LOG_SCALE.item(), "Is that number the scale, or its logarithm?"),
        (1 / LOG_SCALE.item(), "Is that number the scale, or its logarithm? And does it divide?"),
        (1.0, "Where is the scale?"),
    ):
        if abs(size - factor) < 1e-3 * factor:
            return f"with a scale of 10, cosines were multiplied by {size:.2f}. {hint}"
    if abs(size - 10) > 0.01:
        return f"with a scale of 10, cosines were multiplied by {size:.2f}. Which factor is needed?"
    return ""


def _rows_are_pictures(yours: Yours) -> str:
    images, texts = _unit_rows(0), _unit_rows(1)
    if torch.allclose(yours(images, texts, LOG_SCALE), 10 * images @ texts.T, atol=1e-4):
        return ""
    return "logit (0, 1) is not picture 0 with caption 1. Which of the two is transposed?"


def _scale_can_learn(yours: Yours) -> str:
    log_scale = LOG_SCALE.clone().requires_grad_()
    found = yours(_unit_rows(0), _unit_rows(1), log_scale)
    if not found.requires_grad:
        return "no gradient reaches the scale. Did .item(), float() or detach() cut it off?"
    return ""


def _case_2_is_well(yours: Yours) -> str:
    case = open_case(2)
    case.logits_of = yours
    last = case.run(toy_ward()).losses[-1]
    return (
        "" if last < 1 else f"the case's loss still ends at {last:.2f}. Does anything hold it up?"
    )


def batches(yours: Yours) -> None:
    """Exercise 2: each caption's picture (M,), B and a seed in, a list of caption rows (B,) out."""
    properties = [_no_picture_twice, _all_pictures, _drawn_anew, _each_caption, _case_9_is_well]
    check("10.2", yours, properties)


OWNER = np.repeat(np.arange(40), 5)  # 40 pictures, five captions each


def _no_picture_twice(yours: Yours) -> str:
    made = list(yours(OWNER, 8, 0))
    if not made or any(np.shape(rows) != (8,) for rows in made):
        return f"{len(made)} batches came back, not all of 8 rows. Is the rest left out?"
    twice = sum(len(set(OWNER[np.asarray(rows)])) < 8 for rows in made)
    if twice == len(made):
        return f"in all {twice} batches a picture stands twice. Are captions still in file order?"
    if twice:
        return (
            f"in {twice} of {len(made)} batches a picture stands twice. Shuffling makes it rarer; "
            "what makes it impossible?"
        )
    return ""


def _all_pictures(yours: Yours) -> str:
    seen = np.concatenate([OWNER[np.asarray(rows)] for rows in yours(OWNER, 8, 0)])
    if len(seen) != 40 or len(set(seen)) != 40:
        return (
            f"an epoch shows {len(set(seen))} of 40 pictures, {len(seen)} times in all. "
            "Does each come once?"
        )
    return ""


def _drawn_anew(yours: Yours) -> str:
    first, again, other = (np.concatenate(list(yours(OWNER, 8, s))) for s in (0, 0, 1))
    if not np.array_equal(first, again):
        return "the same seed gave two orders. Does chance come from the seed alone?"
    if np.array_equal(OWNER[first], OWNER[other]):
        return "two seeds gave pictures in one order. Who meets whom must change: is it shuffled?"
    return ""


def _each_caption(yours: Yours) -> str:
    used = {int(row) for seed in range(60) for rows in yours(OWNER, 8, seed) for row in rows}
    if len(used) < len(OWNER):
        return f"in 60 epochs only {len(used)} of 200 captions came. Is each picture's one drawn?"
    return ""


def _case_9_is_well(yours: Yours) -> str:
    case = open_case(9)
    case.batches = yours
    last = float(np.mean(case.run(toy_ward()).losses[-20:]))
    if last > 1:
        return f"the case's loss still ends at {last:.2f}. Is it below the floor of 1.54?"
    return ""


PALE = SimpleNamespace(data_config={"mean": (0.5, 0.4, 0.25), "std": (0.5, 0.2, 0.25)})


def prepare(yours: Yours) -> None:
    """Exercise 3: uint8 pixels (B, H, W, 3) and an encoder in, its input (B, 3, H, W) out."""
    check("10.3", yours, [_channels_first, _from_0_to_1, _own_constants, _pixels_stay])


def _plain(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((2, 4, 6, 3), (red, green, blue), np.uint8)  # (B, H, W, 3)


def _channels_first(yours: Yours) -> str:
    found = torch.as_tensor(yours(_plain(255, 102, 0), PALE))
    if found.shape != (2, 3, 4, 6):
        return f"shape {tuple(found.shape)} came back for (2, 4, 6, 3). Do channels stand second?"
    if len(found[0, 0].unique()) > 1:
        return "a plain red came back in stripes. Is it permute, which moves axes, not reshape?"
    return ""


def _from_0_to_1(yours: Yours) -> str:
    found = yours(_plain(255, 102, 0), PALE)[0, :, 0, 0]
    if found.abs().max() > 50:
        return f"a red of 255 became {found[0]:.0f}. Do mean and deviation belong to 0 … 1?"
    return ""


def _own_constants(yours: Yours) -> str:
    found = yours(_plain(255, 102, 0), PALE)[0, :, 0, 0]
    told = ", ".join(f"{value:.2f}" for value in found)
    for wrong, hint in (
        ((2.25, -0.25, -1.8), "Are those ImageNet's usual numbers? Ask the encoder for its own."),
        ((-1.0, 0.0, 3.0), "Is the picture RGB already?"),
        ((0.25, 0.0, -0.0625), "Is the deviation a divisor?"),
        ((1.0, 0.4, 0.0), "Are mean and deviation missing?"),
    ):
        if np.allclose(found, wrong, atol=0.03):
            return f"(255, 102, 0) became ({told}), expected (1, 0, -1). {hint}"
    if not np.allclose(found, (1, 0, -1), atol=1e-3):
        return f"(255, 102, 0) became ({told}), expected (1, 0, -1). Mean first, then deviation?"
    return ""


def _pixels_stay(yours: Yours) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), np.uint8)
    found = torch.as_tensor(yours(pixels, PALE))
    red = (pixels[1, 3, 5, 0] / 255 - 0.5) / 0.5
    if abs(found[1, 0, 3, 5].item() - red) > 1e-3:
        return "the last pixel is not where it was. Did rows and columns change places?"
    return ""


WELL = Chart((4.9, 2.0, 0.5), 128, 0.03, 0.79, 0.52, 0.89, 1000)
CHARTS = {
    "one pair": replace(WELL, losses=(0.0, 0.0), pairs=1, moved=0.0, recall_1=0.001),
    "nothing moves": replace(WELL, losses=(5.1, 5.2), moved=0.0, recall_1=0.001),
    "starts wrong": replace(WELL, losses=(16.5, 5.0, 4.6), recall_1=0.002),
    "stays at a guess": replace(WELL, losses=(4.85, 4.7, 4.66), recall_1=0.001),
    "wrong pairs": replace(WELL, losses=(5.0, 4.0, 2.6), recall_1=0.001, claimed=0.9),
    "counted wrongly": replace(WELL, claimed=0.95),
    "no sign": WELL,
}


def first_look(yours: Yours) -> None:
    """Exercise 4: a chart in, the name of the first sign out."""
    properties = [_sign(name) for name in ("no sign", "one pair", *list(CHARTS)[1:-1])]
    check("10.4", yours, [*properties, _close_to_the_bounds])


HINTS = {
    "no sign": "Does a healthy chart come to the last line?",
    "one pair": "Is the number of pairs looked at before all else?",
    "nothing moves": "Does it come before the loss, which is high for this reason?",
    "starts wrong": "Is the first loss held against 1.5 times log B, before the last one?",
    "stays at a guess": "Is the last loss held against 0.9 times log B?",
    "wrong pairs": "Is recall held against ten times chance, 1/gallery, before any claim?",
    "counted wrongly": "Is the claim held against 1.15 times the recall?",
}


def _sign(name: str) -> Property:
    def holds(yours: Yours) -> str:
        found = yours(CHARTS[name])
        if found != name:
            return f"the chart for {name!r} was called {found!r}. {HINTS[name]}"
        return ""

    return holds


def _close_to_the_bounds(yours: Yours) -> str:
    """Other batches and galleries: the bounds are shares, not the numbers of the examples."""
    for pairs, gallery in ((16, 80), (512, 20_000)):
        log_b = math.log(pairs)
        for losses, recall, claimed in (
            ((1.4 * log_b, 0.85 * log_b), 12 / gallery, 13.2 / gallery),
            ((1.6 * log_b, 0.1), 0.5, 0.5),
            ((log_b, 0.95 * log_b), 0.5, 0.5),
            ((log_b, 0.1), 8 / gallery, math.nan),
            ((log_b, 0.1), 0.5, 0.6),
        ):
            chart = Chart(losses, pairs, 0.01, 0.5, recall, 0.9, gallery, claimed)
            found, right = yours(chart), first_sign(chart)
            if found != right:
                return (
                    f"B = {pairs}, {gallery} pictures, losses {losses[0]:.2f} to {losses[-1]:.2f}, "
                    f"recall {recall:.4f}, claim {claimed:.4f}: {found!r}, expected {right!r}. "
                    "Are all bounds shares of log B, chance or recall?"
                )
    return ""


def operate(ward: Ward, number: int, old: str, new: str) -> None:
    """Runs a case with one piece of its text exchanged and prints whether that mended it.

    It is held against the course's own mend by what the run does, not by how it is written.
    """
    if not old:
        print("[ ] nothing was exchanged yet")
        return
    try:
        case = open_case(number, old, new)
        found = case.run(ward)
    except Exception as error:  # whatever an exchanged line can raise becomes a sentence
        print(f"[!] case {number:02d}: {type(error).__name__}: {str(error).splitlines()[0]}")
        return
    fault = _still_ill(found, open_case(number).run(ward), mended(number).run(ward))
    if number == 1 and not fault:
        fault = _one_sided(case)
    told = f"it still shows: {fault}" if fault else f"well. recall@1 {found.recall_1:.1%}"
    print(f"[{'!' if fault else 'x'}] case {number:02d}: {told}")


def _one_sided(case: ModuleType) -> str:
    images, texts, scale = _unit_rows(0), _unit_rows(1), torch.tensor(10.0)
    change = case.loss_of(images, texts, scale) - case.loss_of(texts, images, scale)
    if abs(change) < 1e-5:
        return ""
    return f"pictures and captions exchanged change the loss by {change:.2f}. Who is not asked yet?"


def _still_ill(found: Chart, ill: Chart, well: Chart) -> str:
    if str(found) == str(ill):
        return "every sign is as it was. Does that piece do what you think?"
    if well.losses and found.losses[0] > 1.2 * well.losses[0]:
        return f"the first loss is {found.losses[0]:.2f}. What is log B here?"
    if found.recall_1 < well.recall_1 - 0.05:
        return f"recall@1 is {found.recall_1:.1%}, and {well.recall_1:.1%} can be had. What else?"
    if found.claimed > well.claimed + 0.05:
        return (
            f"it reports {found.claimed:.1%}, new pictures give {found.recall_1:.1%}. What does "
            "its test know or leave out?"
        )
    return ""
