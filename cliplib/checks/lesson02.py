"""Checks of lesson 02: pixels, padded batches, pooling over real tokens, nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from cliplib.checks import Yours, check

MEAN, STD = [0.5, 0.4, 0.3], [0.5, 0.25, 0.2]  # other for each colour, so that a mix-up shows


def _pixels(*shape: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _is_tensor(result: object, shape: tuple[int, ...], question: str) -> str:
    """What is wrong with the form of a result that should be a tensor of that shape."""
    if not isinstance(result, Tensor):
        return f"a {type(result).__name__} came back. Should it be a tensor?"
    if result.shape != shape:
        return f"the shape is {tuple(result.shape)}, expected {shape}. {question}"
    return ""


def normalise_pixels(yours: Yours) -> None:
    """Exercise 1: (B, H, W, 3) whole numbers from 0 to 255 in, (B, 3, H, W) floats out."""
    check(
        "02.1",
        yours,
        [_pixels_form, _white_is_one, _each_colour_its_own, _pixels_stay_in_place, _input_is_kept],
    )


def _pixels_form(yours: Yours) -> str:
    found = yours(_pixels(2, 4, 5, 3), MEAN, STD)
    fault = _is_tensor(found, (2, 3, 4, 5), "Which axis holds the colours, and where should it be?")
    if not fault and not found.is_floating_point():
        return f"the numbers are {found.dtype}. Can whole numbers hold a share of 255?"
    return fault


def _white_is_one(yours: Yours) -> str:
    white = torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)
    found = float(yours(white, [0.5] * 3, [0.5] * 3).flatten()[0])
    if abs(found - 1) > 1e-4:
        return (
            f"255 with mean 0.5 and deviation 0.5 became {found:.2f}. Did you divide by 255 first, "
            "then take the mean away, then divide by the deviation?"
        )
    return ""


def _each_colour_its_own(yours: Yours) -> str:
    found = yours(torch.zeros(1, 1, 1, 3, dtype=torch.uint8), MEAN, STD).flatten().tolist()
    wanted = [-mean / std for mean, std in zip(MEAN, STD, strict=True)]
    if any(abs(f - w) > 1e-4 for f, w in zip(found, wanted, strict=True)):
        told, right = ([f"{x:.2f}" for x in row] for row in (found, wanted))
        return (
            f"black became {', '.join(told)}, expected {', '.join(right)}. Does each colour get "
            "its own mean and deviation, against the axis of the colours?"
        )
    return ""


def _pixels_stay_in_place(yours: Yours) -> str:
    pixels = _pixels(2, 4, 5, 3)
    wanted = (pixels / 255 - torch.tensor(MEAN)) / torch.tensor(STD)  # (B, H, W, 3)
    moved = (yours(pixels, MEAN, STD).permute(0, 2, 3, 1) - wanted).abs() > 1e-4
    if moved.any():
        return (
            f"{moved.float().mean():.0%} of the numbers stand elsewhere. Did you move the axes "
            "with permute, in the order B, colours, H, W, or only call them otherwise with reshape?"
        )
    return ""


def _input_is_kept(yours: Yours) -> str:
    pixels = _pixels(1, 2, 2, 3)
    before = pixels.clone()
    yours(pixels, MEAN, STD)
    return "" if torch.equal(pixels, before) else "the input changed. Is something done in place?"


ROWS = [[2, 8, 3], [2, 8, 9, 7, 6, 3], [2, 3]]


def fit_batch(yours: Yours) -> None:
    """Exercise 2: rows of ids, the pad id and the most tokens in, ids and mask (B, L) out."""
    check(
        "02.2",
        yours,
        [_two_tensors, _as_long_as_needed, _mask_counts, _padded_with_pad, _cut_ends, _own_end],
    )


def _two_tensors(yours: Yours) -> str:
    found = yours(ROWS, 0, 10)
    if not isinstance(found, tuple) or len(found) != 2:
        return f"a {type(found).__name__} came back. Does it give back two: ids, mask?"
    ids, mask = found
    return _is_tensor(ids, (3, 6), "Is L the longest row of the batch?") or _is_tensor(
        mask, (3, 6), "Is the mask as large as the ids?"
    )


def _as_long_as_needed(yours: Yours) -> str:
    length = yours(ROWS, 0, 4)[0].shape[1]
    if length != 4:
        return f"with at most 4 tokens L is {length}. Do you cut before you look for the longest?"
    return ""


def _mask_counts(yours: Yours) -> str:
    found = yours([[2, 0, 5, 3], [2, 3]], 0, 10)[1].sum(1).tolist()
    if found == [3, 2]:
        return (
            "a real token with the pad's own id was masked out. Does the mask come from lengths, "
            "or from comparing ids?"
        )
    if found != [4, 2]:
        return f"rows of 4 and 2 tokens have {found} ones in the mask. Is a token 1, padding 0?"
    return ""


def _padded_with_pad(yours: Yours) -> str:
    ids, mask = yours(ROWS, 99, 10)
    if ids[2, 2:].tolist() != [99] * 4 or ids[2, :2].tolist() != [2, 3]:
        return (
            f"the row 2, 3 became {ids[2].tolist()} with pad id 99. Does the padding stand behind "
            "the tokens, and is it the id that was given?"
        )
    if mask[2].tolist() != [1, 1, 0, 0, 0, 0]:
        return f"its mask is {mask[2].tolist()}. Do the ones stand where the tokens stand?"
    return ""


def _cut_ends(yours: Yours) -> str:
    row = yours([[2, 8, 9, 7, 3]], 0, 4)[0][0].tolist()
    if row != [2, 8, 9, 3]:
        return (
            f"2, 8, 9, 7, 3 cut to 4 became {row}. Does a cut row keep its first tokens and still "
            "end in its own last id?"
        )
    return ""


def _own_end(yours: Yours) -> str:
    row = yours([[101, 8, 9, 7, 102]], 0, 3)[0][0].tolist()
    if row != [101, 8, 102]:
        return f"101, 8, 9, 7, 102 cut to 3 became {row}. Is [SEP] always 3, in any vocabulary?"
    return ""


def masked_max(yours: Yours) -> None:
    """Exercise 3: hidden states (B, L, D) and mask (B, L) in, the maximum (B, D) out."""
    check("02.3", yours, [_max_form, _padding_never_wins, _below_zero, _worked_max, _max_kept])


def _max_form(yours: Yours) -> str:
    found = yours(_random(3, 5, 4, seed=1), torch.ones(3, 5, dtype=torch.long))
    if isinstance(found, tuple):
        return "values and places came back. Do you want only the values of max?"
    return _is_tensor(found, (3, 4), "Along which axis do the tokens stand?")


def _padding_never_wins(yours: Yours) -> str:
    hidden, mask = _random(2, 4, 3, seed=2), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    loud = hidden.clone()
    loud[1, 2:] += 50
    change = float((yours(loud, mask) - yours(hidden, mask)).abs().max())
    if change > 1e-5:
        return f"other padding changed the result by {change:.2f}. Where do you use the mask?"
    return ""


def _below_zero(yours: Yours) -> str:
    hidden = -1 - _random(2, 4, 3, seed=3).abs()
    found = yours(hidden, torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]))
    largest = float(found[1].max())
    if largest >= 0:
        return (
            f"all tokens lie below −1, and {largest:.2f} won. Is padding set to 0, and is 0 not "
            "larger than they are?"
        )
    return ""


def _worked_max(yours: Yours) -> str:
    hidden = torch.tensor([[[-1.0, 4.0], [-3.0, 0.0], [8.0, 8.0]]])
    found = yours(hidden, torch.tensor([[1, 1, 0]]))[0].tolist()
    if found != [-1.0, 4.0]:
        told = ", ".join(f"{x:.2f}" for x in found)
        return f"the worked example gave {told}. Is it the maximum of each feature by itself?"
    return ""


def _max_kept(yours: Yours) -> str:
    hidden, mask = _random(2, 4, 3, seed=4), torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    before = hidden.clone()
    yours(hidden, mask)
    return "" if torch.equal(hidden, before) else "the states changed. Is something done in place?"


PLANE = [[1.0, 0.0], [5.0, 1.0], [0.0, 2.0], [1.0, 9.0]]


def neighbour_share(yours: Yours) -> None:
    """Exercise 4: vectors (N, D) of any length and N labels in, a share out."""
    check(
        "02.4",
        yours,
        [_never_its_own, _length_is_nothing, _worked_share, _half, _share_of_rows],
    )


def _never_its_own(yours: Yours) -> str:
    found = float(yours(_random(6, 3, seed=5), list("abcdef")))
    if found != 0:
        return (
            f"six different labels gave {found:.2f}, and nobody can share one. Is a vector its own "
            "nearest neighbour?"
        )
    return ""


def _length_is_nothing(yours: Yours) -> str:
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [90.0, 80.0]])
    labels = list("aabbc")
    found = float(yours(vectors, labels))
    if abs(found - 0.8) > 1e-6:
        return (
            f"two close pairs and one very long vector between them gave {found:.2f}, expected "
            "0.80. Did you normalise, so that being long wins nothing?"
        )
    return ""


def _worked_share(yours: Yours) -> str:
    found = float(yours(torch.tensor(PLANE), list("aabb")))
    if abs(found - 1) > 1e-6:
        return (
            f"the worked example gave {found:.2f}. Is the nearest the one with the LARGEST cosine?"
        )
    return ""


def _half(yours: Yours) -> str:
    found = float(yours(torch.tensor(PLANE), list("aabc")))
    if abs(found - 0.5) > 1e-6:
        return (
            f"labels a, a, b, c gave {found:.2f}, expected 0.50. Is it a share of all N rows, not "
            "a count?"
        )
    return ""


def _share_of_rows(yours: Yours) -> str:
    vectors = torch.tensor([[-1.0, 0.0], [-1.0, 0.1], [1.0, 0.0], [1.0, -0.1], [0.9, 0.1]])
    found = float(yours(vectors, list("aabbb")))
    if abs(found - 1) > 1e-6:
        return f"two clear clusters gave {found:.2f}. May components be below 0 in your version?"
    return ""
