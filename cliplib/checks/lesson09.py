"""Checks of lesson 09: a split with twins, pairs that are needed, mixed weights, few shots."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import torch

from cliplib.checks import Yours, check
from cliplib.measured import pairs_needed as needed

# ten files, eight different pictures: a and b are there twice
CONTENTS = ["a", "b", "c", "a", "d", "e", "f", "g", "b", "h"]


def draw_test(yours: Yours) -> None:
    """Exercise 1: contents (N,), a share and a seed in, the rows of the test out."""
    check("09.1", yours, [_rows_of_files, _twins_together, _about_a_share, _seeded, _drawn])


def _rows(yours: Yours, contents: list[str], share: float, seed: int) -> list[int]:
    return sorted(int(row) for row in yours(contents, share, seed))


def _rows_of_files(yours: Yours) -> str:
    found = list(yours(CONTENTS, 0.25, 0))
    if any(isinstance(row, str) for row in found):
        return f"{found[:3]} came back. Wanted are rows, from 0 on: which files hold them?"
    if any(isinstance(row, bool | np.bool_) for row in found):
        return "yes and no came back. Wanted are the rows themselves: where is it yes?"
    if len(set(found)) < len(found) or not all(0 <= row < len(CONTENTS) for row in found):
        return f"rows {found} came back of {len(CONTENTS)} files. Is each row there once at most?"
    return ""


def _twins_together(yours: Yours) -> str:
    for seed in range(20):
        rows = set(_rows(yours, CONTENTS, 0.25, seed))
        for one, twin in ((0, 3), (1, 8)):
            if (one in rows) != (twin in rows):
                return (
                    f"with seed {seed} rows {one} and {twin}, one picture under two names, lie on "
                    "both sides. Do you draw files, or different contents?"
                )
    return ""


def _about_a_share(yours: Yours) -> str:
    contents = [f"picture {n}" for n in range(100)] + ["picture 0"] * 100
    sizes = [len({contents[row] for row in yours(contents, 0.2, seed)}) for seed in range(5)]
    if set(sizes) != {20}:
        return (
            f"a share of 0.2 of 100 different pictures, one of them 101 times, drew {sizes[0]}. "
            "Is it the share of different contents?"
        )
    return ""


def _seeded(yours: Yours) -> str:
    if _rows(yours, CONTENTS, 0.5, 1) != _rows(yours, CONTENTS, 0.5, 1):
        return "one seed gave two splits. Is the random generator made from the seed, inside?"
    if len({tuple(_rows(yours, CONTENTS, 0.5, seed)) for seed in range(8)}) == 1:
        return "eight seeds gave one split. Are the contents shuffled by the seed?"
    return ""


def _drawn(yours: Yours) -> str:
    contents = [f"day {n // 10}, {n}" for n in range(100)]  # in the order in which they were taken
    rows = _rows(yours, contents, 0.3, 0)
    if rows == list(range(rows[0], rows[0] + len(rows))):
        return "the test is one stretch of the album. Is it drawn from all of it?"
    return ""


PICTURES, RECALL = [50, 100, 200, 400], [0.10, 0.20, 0.30, 0.40]


def pairs_needed(yours: Yours) -> None:
    """Exercise 2: numbers and recalls (S,) and a recall in, the pictures that it takes out."""
    check("09.2", yours, [_measured_point, _between_points, _out_of_reach, _from_the_start, _dips])


def _close(found: object, right: float) -> bool:
    return abs(float(found) - right) <= 1e-3 * right


def _measured_point(yours: Yours) -> str:
    found = yours(PICTURES, RECALL, 0.30)
    if _close(found, 2):
        return "a recall of 0.30 gave 2. Is that the place in the list, and not the pictures?"
    return (
        "" if _close(found, 200) else f"a recall of 0.30 gave {found}, expected 200. Which point?"
    )


def _between_points(yours: Yours) -> str:
    found = yours(PICTURES, RECALL, 0.35)
    right = 200 * math.sqrt(2)
    if _close(found, right):
        return ""
    if _close(found, 300):
        return "0.35 gave 300, halfway. Halfway between the logarithms is less: is it exp of that?"
    if _close(found, 400):
        return "0.35 gave 400, the next point. Where on the line between 200 and 400?"
    if _close(found, math.log(right)):
        return f"0.35 gave {float(found):.2f}. Is that still a logarithm?"
    return f"0.35 gave {found}, expected {right:.1f}. Is the line over the logarithm of pictures?"


def _out_of_reach(yours: Yours) -> str:
    found = yours(PICTURES, RECALL, 0.41)
    if float(found) != math.inf:
        return f"a recall that no point reaches gave {found}. Was it measured? Then inf."
    return ""


def _from_the_start(yours: Yours) -> str:
    found = yours(PICTURES, RECALL, 0.05)
    if not _close(found, 50):
        return f"0.05, less than the first point has, gave {found}. Were fewer than 50 measured?"
    return ""


def _dips(yours: Yours) -> str:
    """A curve of real runs may fall: the first crossing counts."""
    pictures, recall = [50, 100, 200, 400], [0.10, 0.30, 0.28, 0.40]
    found, right = yours(pictures, recall, 0.29), needed(pictures, recall, 0.29)
    if not _close(found, right):
        return (
            f"a curve with a dip gave {found}, expected {right:.1f}. Is it the first point above?"
        )
    return ""


def between(yours: Yours) -> None:
    """Exercise 3: two state dicts and a share in, a state dict out."""
    check("09.3", yours, [_a_dictionary, _worked_weight, _left_alone, _ends, _whole_numbers])


def _states() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    before = {"w": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([0.0]), "n": torch.tensor(40)}
    after = {"w": torch.tensor([[3.0, 2.0]]), "b": torch.tensor([-1.0]), "n": torch.tensor(46)}
    return before, after


def _a_dictionary(yours: Yours) -> str:
    before, after = _states()
    found = yours(before, after, 0.25)
    if not isinstance(found, dict):
        return f"a {type(found).__name__} came back. Is each tensor under its name again?"
    if set(found) != set(before):
        return f"the names {sorted(found)} came back, expected {sorted(before)}. Is each there?"
    return ""


def _worked_weight(yours: Yours) -> str:
    before, after = _states()
    found = yours(before, after, 0.25)["w"][0, 0].item()
    if abs(found - 1.5) < 1e-6:
        return ""
    if abs(found - 2.5) < 1e-6:
        return "from 1 to 3 a share of 0.25 gave 2.5. Is share 0 the model before?"
    if abs(found - 2) < 1e-6:
        return "from 1 to 3 a share of 0.25 gave 2, the middle. Does the share count?"
    return (
        f"from 1 to 3 a share of 0.25 gave {found:.3f}, expected 1.5. What do both weights sum to?"
    )


def _ends(yours: Yours) -> str:
    before, after = _states()
    for share, end, name in ((0.0, before, "before"), (1.0, after, "after")):
        found = yours(before, after, share)
        if any(not torch.equal(found[key].float(), end[key].float()) for key in end):
            return f"share {share:.0f} is not the model {name}. Does every tensor move?"
    return ""


def _whole_numbers(yours: Yours) -> str:
    before, after = _states()
    found = yours(before, after, 0.75)["n"]
    if found.is_floating_point():
        return f"a counter, from 40 to 46, became {found.item()}. Whole numbers: of the nearer end?"
    if found.item() != 46 or yours(before, after, 0.25)["n"].item() != 40:
        return f"a counter, from 40 to 46, became {found.item()} at 0.75. Which end is nearer?"
    return ""


def _left_alone(yours: Yours) -> str:
    before, after = _states()
    yours(before, after, 0.5)
    if not torch.equal(before["w"], _states()[0]["w"]):
        return "the model before has changed. Does a line write into its tensors?"
    return ""


LABELS = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2] * 3)  # 15, 9 and 6 pictures of three classes


def shots(yours: Yours) -> None:
    """Exercise 4: labels (N,), a number and a seed in, rows of so many of each class out."""
    check("09.4", yours, [_so_many_of_each, _each_once, _seed_counts, _too_few, _all_alike])


def _so_many_of_each(yours: Yours) -> str:
    rows = np.asarray(yours(LABELS, 2, 0))
    if rows.ndim != 1:
        return f"shape {rows.shape} came back. Are all rows in one list?"
    if rows.dtype == bool:
        return "yes and no came back. Which rows are they?"
    counts = Counter(LABELS[rows].tolist())
    if len(rows) == 2:
        return "2 rows came back. Is it two of each of three classes?"
    if counts != {0: 2, 1: 2, 2: 2}:
        return f"of the three classes came {[counts[c] for c in range(3)]}. Is it two of each?"
    return ""


def _each_once(yours: Yours) -> str:
    for seed in range(10):
        rows = np.asarray(yours(LABELS, 6, seed))
        if len(set(rows.tolist())) < len(rows):
            return "a picture came twice. Is it drawn without putting back?"
    return ""


def _seed_counts(yours: Yours) -> str:
    drawn = [sorted(np.asarray(yours(LABELS, 2, seed)).tolist()) for seed in (0, 0, 1, 2, 3)]
    if drawn[0] != drawn[1]:
        return "one seed drew two sets. Is the generator made from the seed, inside?"
    if all(rows == drawn[0] for rows in drawn):
        return "four seeds drew the same pictures. Are they always the first ones?"
    return ""


def _too_few(yours: Yours) -> str:
    counts = Counter(LABELS[np.asarray(yours(LABELS, 8, 0))].tolist())
    if counts != {0: 8, 1: 8, 2: 6}:
        found = [counts[c] for c in range(3)]
        return f"eight of each gave {found}; a class has only 6. Are those all taken?"
    return ""


def _all_alike(yours: Yours) -> str:
    seen = Counter(row for seed in range(60) for row in np.asarray(yours(LABELS, 1, seed)).tolist())
    if len(seen) < len(LABELS):
        return (
            f"in 60 draws {len(LABELS) - len(seen)} pictures never came. Has each of its class "
            "the same chance?"
        )
    return ""
