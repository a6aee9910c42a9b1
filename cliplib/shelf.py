"""What the model hub's cache keeps here and may be given on: with a licence that allows it."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import RepoCard, constants

from cliplib.stick import BundleError

# As model cards write them: whoever names the authors may pass these on.
MAY_BE_GIVEN_ON = {"apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause",
                   "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0"}  # fmt: skip


def files_of(names: tuple[str, ...]) -> dict[str, Path]:
    """The files of models ("NAME") and data ("datasets/NAME"), by their place in the cache.

    Links are followed, since a stick has none; only the newest kept revision is taken.
    Raises: BundleError when one is not kept here, or its licence does not allow it.
    """
    files = {}
    for name in names:
        folder = snapshot(name)
        require_licence(name, folder)
        kept = folder.parent.parent
        files[f"{kept.name}/refs/main"] = kept / "refs" / "main"
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                files[path.relative_to(kept.parent).as_posix()] = path
    return files


def snapshot(name: str) -> Path:
    """The cache's folder of what `main` names. Raises: BundleError."""
    kind, repository = ("datasets", name[9:]) if name.startswith("datasets/") else ("models", name)
    kept = Path(constants.HF_HUB_CACHE) / f"{kind}--{repository.replace('/', '--')}"
    try:
        folder = kept / "snapshots" / (kept / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        folder = kept
    if folder == kept or not folder.is_dir():
        raise BundleError(f"{name} is not in the model hub's cache ({kept.parent}): use it once.")
    return folder


def require_licence(name: str, folder: Path) -> None:
    """Raises: BundleError unless the card beside the files names a licence that allows it."""
    licences = licences_of(folder / "README.md")
    allowed = ", ".join(sorted(MAY_BE_GIVEN_ON))
    of_data = name.startswith("datasets/")
    asked = f"{name[9:]} README.md --repo-type dataset" if of_data else f"{name} README.md"
    if not licences:
        raise BundleError(
            f"{name}: no licence was found, for its card (README.md) is not in the cache or names "
            f"none. Fetch it with `hf download {asked}`. Allowed are {allowed}."
        )
    if not set(licences) <= MAY_BE_GIVEN_ON:
        raise BundleError(
            f"{name} has the licence {', '.join(licences)}, and only these may be given on: "
            f"{allowed}."
        )


def licences_of(card: Path) -> list[str]:
    """The licences that a model card names at its head; none without a card."""
    if not card.is_file():
        return []
    named = RepoCard.load(card, ignore_metadata_errors=True).data.to_dict().get("license") or []
    return [str(one).lower() for one in ([named] if isinstance(named, str) else named)]
