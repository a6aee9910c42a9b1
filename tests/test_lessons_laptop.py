"""All lessons but 00 in the laptop profile, on real photographs: every cell runs.

Each runs on its own, as a learner may open it; what one has made in the data folder the next finds.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode

from cliplib.config import COURSE, LAPTOP, data_folder
from cliplib.data import ensure

NOTEBOOKS = COURSE / "notebooks"
# not 04b: both large encoders would learn in it, for many minutes on a CPU
LESSONS = [
    path
    for path in sorted(NOTEBOOKS.glob("[01][0-9]_*.ipynb"))
    if path.name > "01" and "on_a_gpu" not in path.name
]
# who skips lesson 04 has trained nothing when 05 begins: so it runs before 04 too, with the next
IN_TURN = [
    *(path for path in LESSONS if path.name < "04"),
    *(path for path in LESSONS if "05" < path.name < "07"),
    *(path for path in LESSONS if path.name > "04"),
]
CELL_SECONDS = 900  # the first pass of the image encoder over all photographs takes minutes

HAS_PHOTOGRAPHS = (data_folder("flickr8k") / "captions.txt").exists()
HUB = Path(os.environ.get("HF_HOME", "")) / "hub"
TOWERS = (f"timm/{LAPTOP.image_encoder}", LAPTOP.text_encoder)
HAS_ENCODERS = all((HUB / f"models--{name.replace('/', '--')}").exists() for name in TOWERS)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The laptop profile and an empty data folder, but for the picture book."""
    folder = tmp_path_factory.mktemp("data")
    link_picture_book(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPLIB_DATA", str(folder))
        patch.setenv("CLIPLIB_PROFILE", "laptop")
        yield


def link_picture_book(folder: Path) -> None:
    with contextlib.suppress(OSError):  # Windows allows links to few people: it is drawn there
        (folder / "picturebook").symlink_to(ensure("picturebook").resolve(), True)


def run_copy(notebook: NotebookNode, out: Path) -> None:
    """Runs all cells in a kernel that starts where the lessons lie; what came out lands in `out`.

    Raises: CellExecutionError naming the cell that failed, DeadKernelError when its kernel died.
    """
    client = NotebookClient(
        notebook, timeout=CELL_SECONDS, kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )  # fmt: skip
    try:
        client.execute()
    finally:
        nbformat.write(notebook, out)


@pytest.mark.skipif(not HAS_PHOTOGRAPHS, reason="CLIPLIB_FLICKR8K does not name the photographs")
@pytest.mark.skipif(not HAS_ENCODERS, reason="HF_HOME has no cache with the laptop encoders")
@pytest.mark.parametrize("lesson", IN_TURN, ids=lambda path: path.stem)
def test_every_cell_runs_on_photographs(lesson: Path, laptop: None, tmp_path: Path) -> None:
    notebook = nbformat.read(lesson, as_version=4)
    run_copy(notebook, tmp_path / lesson.name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    printed = "".join(output.get("text", "") for cell in code for output in cell.outputs)
    assert f"profile laptop, {LAPTOP.data}" in printed


def test_a_kernel_that_dies_is_told_at_once(tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell("import os\nos._exit(1)")
    with pytest.raises(DeadKernelError):
        run_copy(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "dead.ipynb")
