"""What every test shares: no network, no display, and a picture of its own for what is made."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before any import that reads it
