"""What each fault of the clinic costs: writes data/measured/clinic.csv.

    python notebooks/clinic/measure.py

Every case ill and mended, three seeds, on the picture book with the quick checkpoint and on
Flickr8k's photographs with the laptop profile's encoders, where both can be had. Some minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

COURSE = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(COURSE))

from cliplib.checkpoint import load_run, shipped_checkpoint  # noqa: E402
from cliplib.checks.lesson10 import FAULTS, MENDS  # noqa: E402
from cliplib.clinic import Chart, Ward, open_case, open_ward  # noqa: E402
from cliplib.config import LAPTOP  # noqa: E402
from cliplib.data import ensure  # noqa: E402
from cliplib.storage import write_text  # noqa: E402
from cliplib.train import ready_run  # noqa: E402

MEASURED = COURSE / "data" / "measured" / "clinic.csv"
SEEDS = (0, 1, 2)
DRAWN = {*range(1, 10), 14}  # cases in which something is drawn at random: others need one seed


def book_ward() -> Ward:
    return open_ward(load_run(shipped_checkpoint()), ensure("picturebook", progress=False))


def photograph_ward() -> Ward:
    """Raises: OSError or DataError where photographs or encoders cannot be had."""
    folder = ensure("flickr8k", progress=False)
    return open_ward(ready_run(LAPTOP), folder)


def signs(chart: Chart, state: str) -> dict[str, float]:
    losses = chart.losses or (float("nan"),)
    return {
        f"{state}_first_loss": losses[0],
        f"{state}_last_loss": sum(losses[-10:]) / len(losses[-10:]),
        f"{state}_claimed": chart.claimed,
        f"{state}_recall_1": chart.recall_1,
        f"{state}_recall_10": chart.recall_10,
    }


def measure(ward: Ward, data: str, seeds: tuple[int, ...] = SEEDS) -> pd.DataFrame:
    """A row for each case and seed: the vital signs before and after the mend."""
    rows = []
    for number, fault in FAULTS.items():
        for seed in seeds if number in DRAWN else seeds[:1]:
            ill = open_case(number).run(ward, seed)
            well = open_case(number, *MENDS[number]).run(ward, seed)
            row = {"data": data, "case": number, "fault": fault, "seed": seed}
            row |= {"gallery": ill.gallery, "pairs": ill.pairs}
            rows.append(row | signs(ill, "ill") | signs(well, "mended"))
            print(data, number, fault, seed, f"{ill.recall_1:.3f} {well.recall_1:.3f}", flush=True)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    wards = {"picture book": book_ward(), "photographs": photograph_ward()}
    table = pd.concat([measure(ward, data) for data, ward in wards.items()])
    write_text(MEASURED, table.round(4).to_csv(index=False))
    print(f"Written: {MEASURED.relative_to(COURSE)}.")
