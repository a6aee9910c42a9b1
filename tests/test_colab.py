"""On Colab: it has all that is imported, and the set-up cell leaves what is there as it is."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from test_notebooks import COURSE, LESSONS, of_type, rebuild

from cliplib import colab
from cliplib.config import ORIGINAL, QUICK
from cliplib.doctor import NOT_FOR_RUNNING, numbers, requirements

EXTRAS = {"webdataset"}  # imported where it is asked for, with a sentence where it is missing
COLABS_OWN = {"google"}  # google.colab is no package of the list: it is Colab


def colab_packages() -> dict[str, str]:
    """Versions by name: Colab's own list of 2026-08-19, as it publishes it.

    Source: github.com/googlecolab/backend-info, pip-freeze.
    """
    text = (COURSE / "tests" / "colab_packages.txt").read_text(encoding="utf-8")
    return {same(name): v for name, v in re.findall(r"^(\S+)==(\S+)$", text, re.MULTILINE)}


def same(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(source: str) -> set[str]:
    """The first parts of all module names that a source imports, at its top or inside."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def sources() -> dict[str, str]:
    """Code by the name of its file: every lesson's cells and all of cliplib."""
    code = {
        name: "\n".join(cell.source for cell in of_type(lesson, "code"))
        for name, lesson in LESSONS.items()
    }
    modules = (COURSE / "cliplib").rglob("*.py")
    return code | {str(path): path.read_text(encoding="utf-8") for path in modules}


def test_colab_has_all_that_lessons_and_cliplib_import() -> None:
    has, distributions, met = colab_packages(), packages_distributions(), set()
    for file, source in sources().items():
        for module in (
            imported(source) - sys.stdlib_module_names - {"cliplib"} - COLABS_OWN - EXTRAS
        ):
            packages = {same(name) for name in distributions.get(module, [module])}
            assert packages & set(has), f"{file} imports {module}, which Colab does not have"
            met |= packages
    assert {"torch", "timm", "transformers", "pillow", "pandas", "matplotlib"} <= met


def test_floors_are_met_by_what_colab_has() -> None:
    has, floors = colab_packages(), requirements()
    assert set(floors) - set(has) == set(NOT_FOR_RUNNING)
    for name in set(floors) & set(has):
        told = f"{name}: the floor {floors[name]} is above Colab's {has[name]}"
        assert numbers(has[name]) >= numbers(floors[name]), told


def test_a_version_of_colabs_list_can_be_held() -> None:
    unreadable = [v for v in colab_packages().values() if not colab.READABLE.fullmatch(v)]
    assert not unreadable
    assert not colab.READABLE.fullmatch("1.0-5-gabcdef")


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hosted service; and whoever starts a program fails."""
    for variable in colab.HOSTED:
        monkeypatch.delenv(variable, raising=False)

    def refuse(*command: object, **options: object) -> None:
        raise AssertionError(f"started {command}")

    monkeypatch.setattr(colab.subprocess, "run", refuse)


@pytest.fixture
def without_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colab, "requirements", lambda: {"torch": "2.6", "never-made": "1.2"})


@pytest.mark.parametrize("variable", ["", *colab.HOSTED])
def test_where_all_is_there_nothing_is_installed(
    at_home: None, variable: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if variable:
        monkeypatch.setenv(variable, "1")
    assert colab.prepare("quick", cloned=False) == QUICK
    assert re.fullmatch(
        r"Found the course: profile quick, picturebook, \w+\.\n", capsys.readouterr().out
    )


def test_on_your_own_computer_you_read_what_to_type(at_home: None, without_a_package: None) -> None:
    with pytest.raises(RuntimeError, match=r"^never-made>=1\.2 cannot be found") as caught:
        colab.prepare("quick", cloned=False)
    assert str(caught.value).endswith(f"in {COURSE}: {colab.README_COMMANDS[os.name]}")


@pytest.mark.parametrize("system", colab.README_COMMANDS)
def test_what_to_type_is_what_the_readme_says(system: str) -> None:
    readme = (COURSE / "README.md").read_text(encoding="utf-8").splitlines()
    assert f"    {colab.README_COMMANDS[system]}" in readme


@pytest.mark.parametrize(("variable", "cloned"), [("", True), *((v, False) for v in colab.HOSTED)])
def test_elsewhere_what_is_missing_is_installed(
    at_home: None, without_a_package: None, variable: str, cloned: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if variable:
        monkeypatch.setenv(variable, "1")
    with pytest.raises(AssertionError, match=r"started .*'pip', 'install'.*'never-made>=1\.2'"):
        colab.prepare("quick", cloned=cloned)


@pytest.mark.parametrize("variable", ["", *colab.HOSTED])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_missing_gpu_is_told_where_one_can_be_chosen(
    at_home: None, variable: str, device: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if variable:
        monkeypatch.setenv(variable, "1")
    monkeypatch.setattr("torch.cuda.is_available", lambda: device == "cuda")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert colab.prepare("original", cloned=True) == ORIGINAL
    told = capsys.readouterr().out
    assert told.startswith(f"Fetched the course: profile original, flickr8k, {device}.")
    menu = f" No GPU is here, and this profile needs one: choose it in {colab.HOSTED.get(variable)}"
    assert (menu in told) == ("No GPU" in told) == (device == "cpu" and variable != "")


def test_what_is_too_old_is_kept_and_named(
    at_home: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(colab, "requirements", lambda: {"torch": "99.0", "timm": "1.0"})
    colab.prepare("quick", cloned=True)
    assert re.search(r"older than lessons expect: torch \S+ \(below 99\.0\)\.$",
                     capsys.readouterr().out)  # fmt: skip


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (
            1,
            "No module named pip\n",
            r"what was here is as it was\. pip said: No module named pip$",
        ),
        (0, "", r"was installed but cannot be found yet: restart the kernel"),
    ],
)
def test_an_installation_that_came_to_nothing_is_told(
    without_a_package: None, status: int, said: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = subprocess.CompletedProcess([], status, stdout="", stderr=said)
    monkeypatch.setattr(colab.subprocess, "run", lambda *command, **options: pip)
    with pytest.raises(RuntimeError, match=told):
        colab.prepare("quick", cloned=True)


def make_wheel(folder: Path, name: str, version: str, requires: str = "") -> Path:
    """The least that pip installs: a module `name` that holds its version, and its records."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        wheel.writestr(
            f"{info}/METADATA", metadata + (f"Requires-Dist: {requires}\n" if requires else "")
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a repository with this course, which needs one package more at each tag."""
    course = tmp_path_factory.mktemp("served")
    shutil.copytree(COURSE / "cliplib", course / "cliplib", ignore=lambda *_: {"__pycache__"})
    floors = (COURSE / "requirements.txt").read_text(encoding="utf-8")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x", "-c", "init.defaultBranch=main"]
    subprocess.run([*git, "init", "-q"], cwd=course, check=True)
    for tag, package in (("modest", "modest"), ("greedy", "greedy")):
        (course / "requirements.txt").write_text(f"{floors}{package}>=1.0\n", encoding="utf-8")
        for command in (["add", "-A"], ["commit", "-q", "-m", tag], ["tag", tag]):
            subprocess.run([*git, *command], cwd=course, check=True)
    return course.as_uri()


TORCH = "torch-2.99.0+other.dist-info"  # another one than any that can be installed


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with another torch, a stand-in, to save time and a big download.

    Its packages are those of the Python that tests, read through a .pth file, and the other torch
    is no more than the record of a version that stands before the real one: that is what pip goes
    by, while the code that runs is the real torch's.
    """
    folder = tmp_path_factory.mktemp("other") / "env"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    packages = packages_of(folder)
    (packages / "tested.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    wheel = make_wheel(folder, "torch", "2.99.0+other")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(packages, [name for name in opened.namelist() if TORCH in name])
    wheel.unlink()
    return folder


def python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def packages_of(environment: Path) -> Path:
    ask = [python_of(environment), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())


def files_of(environment: Path) -> dict[str, bytes]:
    """What lies in an environment, without what Python compiles."""
    packages = packages_of(environment)
    return {
        str(path.relative_to(packages)): path.read_bytes()
        for path in packages.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def run_cell(
    environment: Path, folder: Path, address: str, tag: str, monkeypatch: pytest.MonkeyPatch
) -> subprocess.CompletedProcess[str]:
    """The set-up cell as someone on no known service runs it, with local wheels for pip."""
    monkeypatch.setattr(rebuild, "course_address", lambda: (address, tag))
    for variable in (*colab.HOSTED, "PYTHONPATH", "PIP_CONSTRAINT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder / "wheels"))
    (folder / "opened").mkdir(exist_ok=True)
    command = [python_of(environment), "-c", rebuild.setup_cell()]
    return subprocess.run(command, cwd=folder / "opened", capture_output=True, text=True)


def make_wheels(folder: Path) -> None:
    """`modest` has an older version that goes with any torch; `greedy` wants a new one."""
    (folder / "wheels").mkdir()
    make_wheel(folder / "wheels", "torch", "3.0.0")
    make_wheel(folder / "wheels", "modest", "1.0", "torch>=2.0")
    make_wheel(folder / "wheels", "modest", "2.0", "torch>=3.0")
    make_wheel(folder / "wheels", "greedy", "1.0", "torch>=3.0")


def test_pip_refuses_rather_than_exchanges_torch(
    environment: Path, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that a second run takes the clone that is there, and then leaves installing to you."""
    make_wheels(tmp_path)
    before = files_of(environment)
    result = run_cell(environment, tmp_path, served, "greedy", monkeypatch)
    assert result.returncode == 1 and result.stdout == "Installing greedy>=1.0 ...\n"
    told = "RuntimeError: greedy>=1.0 could not be installed beside what is here"
    assert told in result.stderr and "depends on torch>=3.0" in result.stderr
    assert "The user requested (constraint) torch==2.99.0+other" in result.stderr
    assert files_of(environment) == before and f"{TORCH}/METADATA" in before

    again = run_cell(environment, tmp_path, (tmp_path / "gone").as_uri(), "greedy", monkeypatch)
    assert again.returncode == 1 and again.stdout == ""
    assert "RuntimeError: greedy>=1.0 cannot be found by this kernel's Python" in again.stderr


def test_the_set_up_cell_adds_what_is_missing_and_leaves_another_torch_as_it_is(
    environment: Path, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheels(tmp_path)
    before = files_of(environment)
    result = run_cell(environment, tmp_path, served, "modest", monkeypatch)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Installing modest>=1.0 ...\nInstalled, and nothing")
    assert "\nFetched the course: profile quick, picturebook, " in result.stdout
    after = files_of(environment)
    assert before.items() <= after.items() and f"{TORCH}/METADATA" in before
    added = {name.partition("/")[0] for name in set(after) - set(before)}
    assert added == {"modest.py", "modest-1.0.dist-info"}
    assert [path.name for path in (tmp_path / "opened").iterdir()] == ["course"]
