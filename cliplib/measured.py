"""What was measured beforehand and comes with the course, in data/measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cliplib.config import COURSE

MEASURED = COURSE / "data" / "measured"


def table(name: str, folder: Path = MEASURED) -> pd.DataFrame:
    """The rows of a file there: "learning_curve", "batch_size", … (data/README.md).

    Raises: FileNotFoundError when there is no such file.
    """
    path = folder / f"{name}.csv"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in folder.glob("*.csv"))) or "nothing"
        raise FileNotFoundError(f"There is no {path.name} in {folder}; it holds {there}.")
    return pd.read_csv(path)


def pairs_needed(pictures: Sequence[float], recall: Sequence[float], wanted: float) -> float:
    """From how many training pictures on a learning curve reaches a recall; inf where it does not.

    Between two measured points the curve is a straight line over the logarithm of the pictures.
    Where the first point has as much already, its number is the answer: fewer were not measured.
    Shapes: pictures (S,) in rising order, recall (S,).
    Raises: ValueError when the two differ in number or pictures do not rise.
    """
    sizes, found = np.asarray(pictures, float), np.asarray(recall, float)
    if sizes.shape != found.shape or sizes.ndim != 1 or (np.diff(sizes) <= 0).any():
        raise ValueError("pictures and recall are two lists of one length; pictures rise.")
    enough = np.flatnonzero(found >= wanted)
    if not len(enough):
        return math.inf
    after = enough[0]
    if after == 0:
        return float(sizes[0])
    low, high = np.log(sizes[after - 1]), np.log(sizes[after])
    share = (wanted - found[after - 1]) / (found[after] - found[after - 1])
    return float(np.exp(low + share * (high - low)))
