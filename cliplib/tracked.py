"""The course's own files, as git keeps them: what may be given to others, and nothing else."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from pathlib import Path, PurePosixPath

from cliplib.config import COURSE
from cliplib.stick import BundleError

# Never in a bundle, should somebody have given them to git.
SECRET = re.compile(r"kaggle\.json|\.env(\..+)?|access_token(\.txt)?|progress\.json|.*\.pem|id_\w+")
PRIVATE = ("data/runs/", "data/features/", "data/flickr8k/", "data/index/", "data/film/")


def course_files(course: Path = COURSE) -> dict[str, bytes]:
    """The course as it was last committed, by name: nothing else that lies in its folder.

    Raises: BundleError without git or a repository, and for what never belongs in a bundle.
    """
    try:
        answer = subprocess.run(
            ["git", "archive", "--format=tar", "HEAD"], cwd=course, capture_output=True
        )
    except FileNotFoundError:
        raise BundleError(
            "git is not installed, and it knows which files are the course."
        ) from None
    if answer.returncode:
        told = answer.stderr.decode(errors="replace").strip()
        raise BundleError(f"{course} is no git repository with a commit: clone it. Git: {told}")
    files = {}
    with tarfile.open(fileobj=io.BytesIO(answer.stdout)) as archive:
        for member in archive:
            if member.issym() or member.islnk():
                raise BundleError(f"{member.name} is a link, and a stick has none: commit a file.")
            if member.isfile():
                files[member.name] = archive.extractfile(member).read()
    secret = [name for name in files if is_private(name)]
    if secret:
        raise BundleError(f"git holds {', '.join(secret)}: remove it from the repository first.")
    return files


def is_private(name: str) -> bool:
    """Whether a file is a secret or somebody's own work, by its name."""
    return bool(SECRET.fullmatch(PurePosixPath(name).name)) or name.startswith(PRIVATE)


def uncommitted(course: Path) -> list[str]:
    """The course's files that differ from what was last committed."""
    answer = subprocess.run(
        ["git", "diff", "--name-only", "HEAD"], cwd=course, capture_output=True, text=True
    )
    return answer.stdout.splitlines()
