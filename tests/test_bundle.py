"""The course on a stick: what goes in, what never does, broken copies, installing for real."""

from __future__ import annotations

import ast
import ensurepip
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import offline
import pytest
from huggingface_hub import constants
from packaging.requirements import Requirement
from packaging.version import Version

from cliplib import bundle, shelf, stick, tracked, wheels
from cliplib.bundle import Content
from cliplib.config import COURSE
from cliplib.stick import BundleError
from cliplib.wheels import PYTHON, Target

DOCTOR = """
import socket, sys, tiny, deep
from pathlib import Path
print("ready", tiny.VERSION, Path("data/picturebook/Images/a.jpg").read_text(), sys.prefix)
"""
WEBSITE = """
import sys
from pathlib import Path
Path(sys.argv[1]).mkdir()
Path(sys.argv[1], "index.html").write_text("pages")
"""
COURSE_FILES = {
    "README.md": "Lies: see there",
    "requirements.txt": "tiny>=1.0   # all that is needed\n",
    "cliplib/__init__.py": "",
    "cliplib/doctor.py": DOCTOR,
    "notebooks/website.py": WEBSITE,
    "notebooks/00_start_here.ipynb": "{}",
    ".gitignore": "kaggle.json\n",
}
OWN = ("kaggle.json", ".env", "data/runs/quick/model.safetensors", "data/progress.json", "mine.txt")
LINUX = Target("linux", PYTHON)


class Index:
    """An index of tiny packages that stands in for pip's: {name: {version: (needs, …)}}."""

    def __init__(self, packages: dict[str, dict[str, tuple[str, ...]]]) -> None:
        self.packages = packages
        self.asked: list[list[str]] = []

    def __call__(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        asked = list(arguments)
        place = asked.index("--dest") + 2
        self.asked.append(asked)
        for line in asked[place:]:
            need = Requirement(line)
            known = [v for v in self.packages.get(need.name, {}) if need.specifier.contains(v)]
            if not known:
                return subprocess.CompletedProcess([], 1, "", f"No matching {line}\nGiving up.")
            newest = max(known, key=Version)
            lay_wheel(Path(asked[place - 1]), need.name, newest, self.packages[need.name][newest])
        return subprocess.CompletedProcess([], 0, "", "")


def lay_wheel(folder: Path, name: str, version: str, needs: Sequence[str]) -> None:
    """A package of one line that pip can install; pip itself is the one that Python ships."""
    if name == "pip":
        shutil.copy(own_pip(), folder)
        return
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    about += "".join(f"Requires-Dist: {need}\n" for need in needs)
    info = f"{name}-{version}.dist-info"
    texts = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": about,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    texts[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in texts) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for inside, text in texts.items():
            archive.writestr(inside, text)


def own_pip() -> Path:
    places = (Path(ensurepip.__file__).parent / "_bundled", Path("/usr/share/python-wheels"))
    found = [wheel for place in places for wheel in place.glob("pip-*.whl")]
    if not found:
        pytest.skip("This Python brings no wheel of pip; on Debian: apt-get install python3-venv")
    return found[0]


def tiny_index() -> Index:
    pip = own_pip().name.split("-")[1]
    return Index({"pip": {pip: ()}, "tiny": {"1.0": (), "1.5": ("deep",)}, "deep": {"2": ()}})


def git(course: Path, *arguments: str) -> None:
    who = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=course, check=True, capture_output=True)


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A repository of few files, with secrets and somebody's own work lying beside them."""
    folder = tmp_path / "course"
    for name, text in COURSE_FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "The course")
    for name in OWN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a secret", encoding="utf-8")
    return folder


@pytest.fixture
def book(tmp_path: Path) -> Path:
    (tmp_path / "book" / "Images").mkdir(parents=True)
    (tmp_path / "book" / "Images" / "a.jpg").write_text("a picture")
    (tmp_path / "book" / "captions.txt").write_text("image,caption\n")
    return tmp_path / "book"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "the stick").mkdir()
    return tmp_path / "the stick" / "clip course"


@pytest.fixture
def made(out: Path, course: Path, book: Path) -> Path:
    bundle.build(out, Content((LINUX,)), course, book, tiny_index())
    return out


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# What goes in


def test_a_bundle_holds_the_committed_files_and_nobodys_own(made: Path) -> None:
    inside = names(made)
    assert {name[7:] for name in inside if name.startswith("course/")} == set(COURSE_FILES)
    rest = {name for name in inside if not name.startswith("course/")}
    assert rest == {
        "MANIFEST.json", "README.txt", "install.py", "install.sh", "install.bat", "picturebook.zip",
        "lessons/index.html", f"wheels/{own_pip().name}",
        "wheels/tiny-1.5-py3-none-any.whl", "wheels/deep-2-py3-none-any.whl",
    }  # fmt: skip
    assert all(b"a secret" not in (made / name).read_bytes() for name in inside)
    assert list(made.parent.iterdir()) == [made], "something was left beside it"
    assert stick.check(made) == []


def test_a_file_goes_in_as_it_was_committed(
    out: Path, course: Path, book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (course / "README.md").write_text("my token is 123")
    bundle.build(out, Content(()), course, book)
    assert (out / "course" / "README.md").read_text() == COURSE_FILES["README.md"]
    assert "going in as committed: README.md." in capsys.readouterr().out


@pytest.mark.parametrize("name", ["kaggle.json", "notebooks/.env", "data/runs/quick/metrics.json"])
def test_a_secret_that_git_was_given_stops_it(course: Path, name: str) -> None:
    (course / name).parent.mkdir(parents=True, exist_ok=True)
    (course / name).write_text("a secret")
    git(course, "add", "-f", name)
    git(course, "commit", "-qm", "A mistake")
    with pytest.raises(BundleError, match=f"git holds {re.escape(name)}: remove it"):
        tracked.course_files(course)


def test_the_true_course_can_go_in() -> None:
    if not (COURSE / ".git").exists():
        pytest.skip("The course is no git repository here.")
    files = tracked.course_files()
    assert {"README.md", "requirements.txt", "notebooks/website.py", "cliplib/stick.py"} <= {*files}
    assert "data/checkpoints/quick/model.safetensors" in files
    bundle.require_safe([f"course/{name}" for name in files])


def test_without_git_or_a_repository_a_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(BundleError, match="is no git repository with a commit: clone it"):
        tracked.course_files(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BundleError, match="git is not installed"):
        tracked.course_files(tmp_path)


def test_a_link_stops_it(course: Path) -> None:
    (course / "linked.md").symlink_to("README.md")
    git(course, "add", "linked.md")
    git(course, "commit", "-qm", "A link")
    with pytest.raises(BundleError, match=r"linked\.md is a link"):
        tracked.course_files(course)


@pytest.mark.parametrize(
    "name",
    ["a:b", "what?", "a*", 'say "a"', "a<b", "a|b", "back\\slash", "dot./x", "space /x", "a\n",
     "nul", "x/Com1.txt", "a" * 200],
)  # fmt: skip
def test_names_that_a_stick_cannot_hold_are_told(name: str) -> None:
    with pytest.raises(BundleError) as told:
        bundle.require_safe(["good name.txt", name, ".gitignore"])
    assert name in str(told.value) and "good" not in str(told.value)


def test_names_that_differ_only_in_capitals_are_told() -> None:
    bundle.require_safe(["a/readme.md", "b/README.md", "com/nuls.txt", "x+cpu-1.0~1.whl"])
    with pytest.raises(BundleError, match=r"README\.md beside readme\.md"):
        bundle.require_safe(["readme.md", "README.md"])
    with pytest.raises(BundleError, match="A beside a"):
        bundle.require_safe(["a/one.md", "A/two.md"])


def test_an_unsafe_name_in_the_course_stops_it_before_anything_is_written(
    out: Path, course: Path, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "fill", lambda *_: pytest.fail("it was written"))
    (course / "what?.md").write_text("")
    git(course, "add", "-A", "*.md")
    git(course, "commit", "-qm", "A question")
    with pytest.raises(BundleError, match=r"course/what\?\.md"):
        bundle.build(out, Content(()), course, book)
    assert list(out.parent.iterdir()) == []


# Broken bundles


def test_a_changed_byte_is_named(made: Path) -> None:
    path = made / "course" / "cliplib" / "doctor.py"
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)
    assert stick.check(made) == ["course/cliplib/doctor.py was changed."]


def test_missing_short_and_added_files_are_named(made: Path) -> None:
    (made / "picturebook.zip").write_bytes((made / "picturebook.zip").read_bytes()[:100])
    (made / "lessons" / "index.html").unlink()
    (made / "wheels" / "evil-1-py3-none-any.whl").write_bytes(b"")
    (made / "wheels" / "._tiny.whl").write_bytes(b"")  # as macOS leaves them
    (made / "course" / "notes of mine.txt").write_text("")
    wrong = stick.check(made)
    assert wrong[:2] == [
        "wheels/evil-1-py3-none-any.whl does not belong to it.",
        "lessons/index.html is missing.",
    ]
    assert wrong[2].startswith("picturebook.zip has 100 bytes instead of ") and len(wrong) == 3


@pytest.mark.parametrize("cut", ["absent", "half"])
def test_a_bundle_cut_short_is_named_broken_and_never_used(
    made: Path, tmp_path: Path, cut: str
) -> None:
    manifest = made / "MANIFEST.json"
    half = manifest.read_text()[:200]
    manifest.unlink()
    if cut == "half":
        manifest.write_text(half)
    ran = run_install(made, tmp_path / "mine")
    assert ran.returncode == 1 and "cut short" in ran.stderr
    assert f"{made} is broken and is not used" in ran.stderr
    assert not (tmp_path / "mine").exists()


def test_the_command_checks_too(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bundle.main(["--check", str(made)]) == 0
    assert capsys.readouterr().out == f"{made} is whole.\n"
    (made / "install.sh").unlink()
    assert bundle.main(["--check", str(made)]) == 1
    assert "install.sh is missing." in capsys.readouterr().err
    assert bundle.main(["--check", str(made / "nowhere")]) == 1
    assert "There is no" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["", ".zip"])
@pytest.mark.parametrize("at", ["MANIFEST.json", "a.jpg", "README.md"])
def test_a_full_disk_leaves_nothing(
    out: Path, course: Path, book: Path, monkeypatch: pytest.MonkeyPatch, at: str, suffix: str
) -> None:
    """As the disk would say it while the file `at` is written."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_bytes = Path.write_bytes
    if at == "MANIFEST.json":
        monkeypatch.setattr(bundle, "write_json", full)
    if at == "a.jpg":
        monkeypatch.setattr(zipfile.ZipFile, "write", full)
    if at == "README.md":
        monkeypatch.setattr(
            Path,
            "write_bytes",
            lambda self, data: full() if self.name == at else write_bytes(self, data),
        )
    out = out.with_name(out.name + suffix)
    with pytest.raises(BundleError, match=r"is full. Make room and ask again"):
        bundle.build(out, Content(()), course, book)
    assert list(out.parent.iterdir()) == []


def test_a_build_that_was_killed_leaves_a_broken_one_and_the_next_goes_through(
    out: Path, course: Path, book: Path
) -> None:
    killed = "import os; from cliplib import bundle; bundle.write_json = lambda *_: os._exit(9)\n"
    killed += "from pathlib import Path; out, course, book = map(Path, {paths})\n"
    killed += "bundle.build(out, bundle.Content(()), course, book)"
    script = killed.format(paths=[str(out), str(course), str(book)])
    environment = {**os.environ, "PYTHONPATH": str(COURSE)}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == 9
    left = out.with_name(out.name + ".aside")
    assert list(out.parent.iterdir()) == [left]
    assert "MANIFEST.json is missing" in stick.check(left)[0]
    bundle.build(out, Content(()), course, book)
    assert list(out.parent.iterdir()) == [out] and stick.check(out) == []


def test_free_disk_is_asked_first(
    out: Path, course: Path, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(out.parent)._replace(free=200_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    bundle.build(out, Content(()), course, book)
    shutil.rmtree(out)
    with pytest.raises(BundleError, match=r"at least 0\.3 GB, and 0\.2 GB are free"):
        bundle.build(out, Content((LINUX,)), course, book, tiny_index())
    assert list(out.parent.iterdir()) == []


def test_what_is_there_stays(made: Path, course: Path, book: Path) -> None:
    with pytest.raises(BundleError, match="is there already"):
        bundle.build(made, Content(()), course, book)
    assert stick.check(made) == []


def test_a_zip_holds_the_same_and_a_cut_one_is_broken(made: Path, course: Path, book: Path) -> None:
    packed = made.with_name("packed.zip")
    bundle.build(packed, Content((LINUX,)), course, book, tiny_index())
    assert stick.check(packed) == []
    with zipfile.ZipFile(packed) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {"packed"}
        assert {name.partition("/")[2] for name in archive.namelist()} == names(made)
    content = packed.read_bytes()
    packed.write_bytes(content[: len(content) // 2])
    assert "It was cut short or changed" in stick.check(packed)[0]
    place = content.index(b"a picture")
    packed.write_bytes(content[:place] + b"A" + content[place + 1 :])
    assert [line.partition(" ")[0] for line in stick.check(packed)] == ["picturebook.zip"]


# Packages for other computers


def get(tmp_path: Path, index: Index, roots: Sequence[str], target: Target = LINUX) -> set[str]:
    wheels.download(tmp_path / "wheels", roots, target, index)
    return {"-".join(path.name.split("-")[:2]) for path in (tmp_path / "wheels").iterdir()}


CONDITIONS = Index({
    "root": {"1": ("win; sys_platform == 'win32'", "unix; os_name == 'posix'",
                   "mac; platform_system == 'Darwin'", "old; python_version < '3.11'",
                   "arm; platform_machine == 'aarch64'", "more; extra == 'all'")},
    **{name: {"1": ()} for name in ("win", "unix", "mac", "old", "arm", "more")},
})  # fmt: skip


@pytest.mark.parametrize(
    ("target", "root", "wanted"),
    [
        (Target("windows", "3.12"), "root", {"win"}),
        (Target("windows", "3.10"), "root", {"win", "old"}),
        (Target("linux", "3.12"), "root[all]", {"unix", "more"}),
        (Target("linux-arm", "3.12"), "root", {"unix", "arm"}),
        (Target("macos", "3.12"), "root", {"unix", "mac"}),
    ],
)
def test_conditions_are_answered_for_the_other_computer(
    tmp_path: Path, target: Target, root: str, wanted: set[str]
) -> None:
    got = get(tmp_path, CONDITIONS, [root], target)
    assert got == {"root-1", *(f"{name}-1" for name in wanted)}


def test_needs_that_limit_each_other_are_brought_together(tmp_path: Path) -> None:
    """`shared` comes as 3 first; what `b` needs, found a round later, makes it 2."""
    index = Index({
        "a": {"1": ("shared>=1", "b")}, "b": {"1": ("c",)}, "c": {"1": ("shared<3",)},
        "shared": {"1": (), "2": (), "3": ("later",)}, "later": {"1": ()},
    })  # fmt: skip
    assert {"a-1", "b-1", "c-1", "shared-2"} <= get(tmp_path, index, ["a"])
    assert "shared-3" not in {path.name[:8] for path in (tmp_path / "wheels").iterdir()}
    assert wheels.missing(tmp_path / "wheels", ["a"], LINUX) == []


def test_no_agreement_and_no_wheel_are_told(tmp_path: Path) -> None:
    apart = Index({"a": {"1": ("b<2", "b>=2")}, "b": {"1": (), "2": ()}})
    with pytest.raises(
        BundleError, match=r"no wheels for linux, Python 3.*\n.*No matching b<2,>=2"
    ):
        get(tmp_path, apart, ["a"])
    with pytest.raises(BundleError, match="Giving up"):
        get(tmp_path, apart, ["c"])
    assert list((tmp_path / "wheels").iterdir()) == []


def test_pip_is_asked_for_the_other_computer_and_two_share_what_they_can(tmp_path: Path) -> None:
    index = Index({"a": {"1": ()}})
    for target in (Target("windows", "3.12"), Target("linux", "3.13")):
        assert get(tmp_path, index, ["a"], target) == {"a-1"}
    windows, linux = (" ".join(asked) for asked in index.asked)
    for part in ("--only-binary=:all:", "--no-deps", "--python-version 3.12", "win_amd64"):
        assert part in windows
    assert (
        "--platform manylinux_2_28_x86_64" in linux and "--platform manylinux2014_x86_64" in linux
    )
    assert "win_amd64" not in linux


@pytest.mark.parametrize(
    ("platform", "python", "said"),
    [("dos", "3.12", "platform must be one of linux"), ("linux", "3", "python must be such as")],
)
def test_a_target_that_cannot_be_is_told(platform: str, python: str, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        Target(platform, python)


def test_the_courses_own_needs_are_read() -> None:
    roots = wheels.roots_of((COURSE / "requirements.txt").read_text(encoding="utf-8"))
    assert {"torch>=2.6", "jupyterlab>=4.2", "pip"} <= {*roots}
    assert all("#" not in root for root in roots)


# Encoders and data of the hub


def lay_model(cache: Path, card: str | None, name: str = "models--maker--tower") -> None:
    """A cached model as the hub's client keeps it: links into blobs."""
    kept = cache / name
    (kept / "refs").mkdir(parents=True)
    (kept / "blobs").mkdir()
    (kept / "snapshots" / "abc").mkdir(parents=True)
    (kept / "refs" / "main").write_text("abc")
    for file, text in {"model.safetensors": "weights", "README.md": card}.items():
        if text is not None:
            (kept / "blobs" / file).write_text(text)
            (kept / "snapshots" / "abc" / file).symlink_to(kept / "blobs" / file)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("licence", ["apache-2.0", "MIT", "bsd-3-clause", "cc-by-4.0"])
def test_what_may_be_given_on_goes_in_without_links(
    cache: Path, out: Path, course: Path, book: Path, licence: str
) -> None:
    lay_model(cache, f"---\ntags: [a]\nlicense: {licence}\n---\nA tower.")
    bundle.build(out, Content((), ("maker/tower",)), course, book)
    inside = {name for name in names(out) if name.startswith("hub/")}
    own = "hub/models--maker--tower"
    assert inside == {f"{own}/refs/main", f"{own}/snapshots/abc/model.safetensors",
                      f"{own}/snapshots/abc/README.md"}  # fmt: skip
    assert not any((out / name).is_symlink() for name in inside)
    assert (out / own / "snapshots" / "abc" / "model.safetensors").read_text() == "weights"


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (None, "no licence was found, for its card .*`hf download maker/tower README.md`"),
        ("No head at all.", "no licence was found"),
        ("---\ntags: [a]\n---\n", "no licence was found"),
        ("---\nlicense: cc-by-nc-4.0\n---\n", "has the licence cc-by-nc-4.0, and only these"),
        ("---\nlicense: [mit, other]\n---\n", "has the licence mit, other"),
    ],
)
def test_what_may_not_be_given_on_is_refused(
    cache: Path, out: Path, course: Path, book: Path, card: str | None, said: str
) -> None:
    lay_model(cache, card)
    with pytest.raises(BundleError, match=said):
        bundle.build(out, Content((), ("maker/tower",)), course, book)
    assert list(out.parent.iterdir()) == []


def test_data_go_by_their_own_name_and_what_is_not_kept_is_told(cache: Path) -> None:
    lay_model(cache, "---\nlicense: mit\n---\n", "datasets--maker--pairs")
    assert len(shelf.files_of(("datasets/maker/pairs",))) == 3
    with pytest.raises(BundleError, match="maker/pairs is not in the model hub's cache"):
        shelf.files_of(("maker/pairs",))


# Installing


def run_install(made: Path, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """install.sh with this Python first, no network where that can be had, no settings of pip."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(made.parent / "home"), **more}
    command = [*offline.prefix(), "sh", str(made / "install.sh"), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_network_is_off_where_it_can_be() -> None:
    if not offline.prefix():
        pytest.skip("The network cannot be switched off here: unshare is missing or not allowed.")
    interfaces = "import socket; print([name for _, name in socket.if_nameindex()])"
    told = subprocess.run(
        [*offline.prefix(), sys.executable, "-c", interfaces], capture_output=True, text=True
    )
    assert told.stdout == "['lo']\n"


@pytest.mark.skipif(os.name == "nt", reason="install.sh is for Linux and macOS")
def test_the_script_installs_and_asks_the_doctor(made: Path, tmp_path: Path) -> None:
    (made / "wheels" / "._tiny-1.9-py3-none-any.whl").write_bytes(b"")  # as macOS lays them
    before = {name: (made / name).stat().st_mtime_ns for name in names(made)}
    mine = tmp_path / "my own" / "clip"
    (tmp_path / "theirs.txt").write_text("tiny==1.0")  # settings of pip that would spoil it
    ran = run_install(made, mine, PIP_CONSTRAINT=str(tmp_path / "theirs.txt"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"ready 1.5 a picture {mine / '.venv'}" in ran.stdout
    assert "Retrying" not in ran.stderr, "an index was asked"
    assert set(COURSE_FILES) <= names(mine)
    assert not {*mine.glob("wheels"), *mine.rglob("*.partial"), *mine.glob(".installing")}
    pip = subprocess.run([mine / ".venv/bin/python", "-m", "pip", "--version"], capture_output=True)
    assert pip.returncode == 0
    assert before == {name: (made / name).stat().st_mtime_ns for name in names(made)}
    again = run_install(made, mine)
    assert again.returncode == 1 and "is there already. Name a new folder." in again.stderr


def test_an_install_broken_off_is_made_again(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment fails once, as when the learner's disk is full."""
    answers = [1, 0, 0, 0]
    monkeypatch.setattr(subprocess, "call", lambda *_, **__: answers.pop(0))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with pytest.raises(BundleError, match=r"could not be made.*has packages for linux"):
        stick.install(made, tmp_path / "mine")
    assert (tmp_path / "mine" / ".installing").exists()
    assert stick.install(made, tmp_path / "mine") == 0
    assert not (tmp_path / "mine" / ".installing").exists() and answers == []


def test_encoders_go_to_the_hubs_cache_and_nothing_there_is_overwritten(
    cache: Path, out: Path, course: Path, book: Path, tmp_path: Path
) -> None:
    lay_model(cache, "---\nlicense: mit\n---\n")
    bundle.build(out, Content((LINUX,), ("maker/tower",)), course, book, tiny_index())
    theirs = tmp_path / "hf" / "hub" / "models--maker--tower" / "refs" / "main"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("of their own")
    ran = run_install(out, tmp_path / "mine", HF_HOME=str(tmp_path / "hf"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    laid = theirs.parent.parent / "snapshots" / "abc" / "model.safetensors"
    assert laid.read_text() == "weights" and theirs.read_text() == "of their own"
    assert f"2 files of encoders and data went to {tmp_path / 'hf' / 'hub'}." in ran.stdout


def test_another_python_no_packages_no_room_and_the_stick_itself_are_told(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    with pytest.raises(BundleError, match="is in the bundle"):
        stick.install(made, made / "mine")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version_info", (3, 8, 1))
        with pytest.raises(BundleError, match=rf"Python 3\.8, and the bundle has .* {PYTHON}"):
            stick.install(made, mine)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(BundleError, match=r"At least .* are needed"):
            stick.install(made, mine)
    assert not mine.exists()


def test_a_bundle_to_read_only_says_so(out: Path, course: Path, book: Path, tmp_path: Path) -> None:
    bundle.build(out, Content(()), course, book)
    with pytest.raises(BundleError, match=r"has no packages. Read the lessons"):
        stick.install(out, tmp_path / "mine")


def test_what_lies_on_the_stick_needs_python_alone(made: Path) -> None:
    text = (made / "install.py").read_text(encoding="utf-8")
    imported = set(re.findall(r"^ *(?:from|import) (\w+)", text, re.MULTILINE))
    assert imported <= {*sys.stdlib_module_names, "__future__"}
    ast.parse(text, feature_version=(3, 8))  # so that an old Python says that it is too old
    alone = [sys.executable, "-I", "-S", str(made / "install.py"), "--check"]
    ran = subprocess.run(alone, capture_output=True, text=True)
    assert ran.stdout == f"{made} is whole.\n", ran.stderr


def test_the_scripts_are_in_each_systems_own_form(out: Path, course: Path, book: Path) -> None:
    targets = (Target("linux", "3.9"), Target("windows", "3.10"), Target("windows", "3.12"))
    bundle.build(out, Content(targets), course, book, tiny_index())
    unix, windows = (out / "install.sh").read_bytes(), (out / "install.bat").read_bytes()
    assert (
        b"\r" not in unix and b"for python in python3.12 python3.10 python3.9 python3; do" in unix
    )
    assert windows.count(b"\r\n") == windows.count(b"\n") and b"in (3.12 3.10 3.9) do" in windows
    read_me = (out / "README.txt").read_bytes()
    assert b"not run on Windows" in read_me and b"Python 3.12 or 3.10 or 3.9 must" in read_me
    manifest = json.loads((out / "MANIFEST.json").read_text())
    assert manifest["pythons"] == ["3.9", "3.10", "3.12"]
    assert manifest["platforms"] == ["linux", "windows"]


# The command


def test_the_command_builds_for_every_named_computer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built = []
    monkeypatch.setattr(bundle, "build", lambda *asked: built.append(asked))
    command = (
        "STICK/x.zip --platform windows --platform macos --python 3.10 --python 3.12 --hub a/b"
    )
    assert bundle.main(command.split()) == 0
    pairs = [("windows", "3.10"), ("windows", "3.12"), ("macos", "3.10"), ("macos", "3.12")]
    targets = tuple(Target(*pair) for pair in pairs)
    assert built == [(Path("STICK/x.zip"), Content(targets, ("a/b",)))]
    assert "STICK/x.zip is whole. Eject the stick" in capsys.readouterr().out
    assert bundle.main(["x"]) == 0
    assert built[1] == (Path("x"), Content((Target(wheels.here(), PYTHON),)))


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (BundleError("No room."), 1, "No room."),
        (PermissionError("not yours"), 1, "not yours"),
        (KeyboardInterrupt(), 130, "Interrupted. Nothing half-made is left."),
    ],
)
def test_the_command_ends_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    said: str,
) -> None:
    def stopped(*_: object) -> None:
        raise error

    monkeypatch.setattr(bundle, "build", stopped)
    assert bundle.main(["x", "--platform", "linux"]) == status
    told = capsys.readouterr()
    assert told.err.strip() == said and told.out == ""


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [("linux", "x86_64", "linux"), ("linux", "aarch64", "linux-arm"), ("darwin", "arm64", "macos"),
     ("win32", "AMD64", "windows"), ("darwin", "x86_64", None)],
)  # fmt: skip
def test_this_computers_platform(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, name: str | None
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(wheels.platform, "machine", lambda: machine)
    if name:
        assert wheels.here() == name
    else:
        with pytest.raises(BundleError, match=r"This computer .* name one with --platform"):
            wheels.here()


@pytest.mark.slow
def test_the_true_course_installs_without_a_network_and_passes_lessons_00_to_05(
    tmp_path: Path,
) -> None:
    """Real packages, a fresh environment, the doctor, and the tests of six lessons."""
    if not os.environ.get("CLIPLIB_WHOLE_BUNDLE"):
        pytest.skip(
            "It loads and installs gigabytes of packages: set CLIPLIB_WHOLE_BUNDLE=1 to run it."
        )
    if not (COURSE / ".git").exists():
        pytest.skip("The course is no git repository here.")
    if not offline.prefix():
        pytest.skip("The network cannot be switched off here: unshare is missing or not allowed.")
    probe = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest"]
    probe += [str(tmp_path / "probe"), "nbval>=0.11"]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("Wheels cannot be had: pip reaches no index.")
    shutil.rmtree(tmp_path / "probe")
    made, mine = tmp_path / "stick", tmp_path / "mine"
    bundle.build(made, Content((Target(wheels.here(), PYTHON),)))
    ran = run_install(made, mine)
    assert ran.returncode == 0 and "\nready\n" in ran.stdout, ran.stdout + ran.stderr
    lessons = sorted((mine / "notebooks").glob("0[0-5]_*.ipynb"))
    tests = sorted((mine / "tests").glob("test_checks_0[0-5]*.py"))
    assert len(lessons) == 7 and len(tests) == 7
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    tested = subprocess.run(
        [*offline.prefix(), str(mine / ".venv/bin/python"), "-m", "pytest", *lessons, *tests],
        cwd=mine, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout[-4000:] + tested.stderr[-1000:]
