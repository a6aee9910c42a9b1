"""Captions for a folder of pictures: from a table, or from the names of the folders in it."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cliplib.pictures import DataError
from cliplib.zeroshot import prompts

TEXTS, SPREADSHEETS = (".csv", ".tsv"), (".xlsx", ".xlsm")
IMAGE_COLUMNS = ("image", "picture", "file", "filename", "file name")
CAPTION_COLUMNS = ("caption", "text", "description")
TEMPLATES = ("a photo of {}", "a picture of {}", "this is {}")
NO_OPENPYXL = (
    "{} is a spreadsheet, which pandas reads with openpyxl, and that is not installed. Give the "
    'command python -m pip install openpyxl, or save the table as "CSV UTF-8".'
)


@dataclass(frozen=True)
class Row:
    """A caption as a table has it, and where."""

    line: int  # as a text editor or a spreadsheet counts them
    image: str
    caption: str


def find_table(folder: Path) -> Path | None:
    """The table of captions in a folder, if it has one.

    Raises: DataError when there are several and none is captions.txt.
    """
    if (folder / "captions.txt").is_file():
        return folder / "captions.txt"
    tables = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in (*TEXTS, *SPREADSHEETS, ".xls", ".ods")
        and not path.name.startswith((".", "~$"))  # ~$ is what Excel has open
    ]
    if len(tables) > 1:
        named = ", ".join(path.name for path in tables)
        raise DataError(f"{folder} has several tables: {named}. Name the one with the captions.")
    return tables[0] if tables else None


def read_table(path: Path) -> tuple[list[Row], list[str]]:
    """A table's captions, and a sentence for each row that cannot be read.

    Its header names a column `image` and one or more whose names begin with `caption`; other
    columns are left alone.
    Raises: DataError for another kind of file, no such header, text that is not UTF-8, and a
    spreadsheet where openpyxl is missing.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise DataError(f"There is no table {path}. Is the path right?")
    if suffix in SPREADSHEETS:
        return _rows(path, *_spreadsheet(path))
    if suffix not in (*TEXTS, ".txt"):
        raise DataError(
            f'{path} cannot be read: save the table as .xlsx or as "CSV UTF-8", with the columns '
            "image and caption."
        )
    return _rows(path, *_text(path))


def _spreadsheet(path: Path) -> tuple[list[int], list[list[str]], list[str]]:
    """The first sheet; a formula counts as what it last showed."""
    try:
        sheet = pd.read_excel(path, header=None, dtype=str, keep_default_na=False)
    except ImportError:
        raise DataError(NO_OPENPYXL.format(path)) from None
    except Exception as error:  # openpyxl raises whatever its parsing meets
        raise DataError(f"{path} cannot be read ({error}). Is it a spreadsheet?") from None
    cells = [[" ".join(cell.split()) for cell in row] for row in sheet.to_numpy().tolist()]
    return list(range(1, len(cells) + 1)), cells, []


def _text(path: Path) -> tuple[list[int], list[list[str]], list[str]]:
    """Separated by what stands in the header: commas, semicolons or tabs."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(
            f'{path}, line {line}: is not UTF-8. Save the file as UTF-8 (Excel: "CSV UTF-8").'
        ) from None
    header = text.splitlines()[0] if text.strip() else ""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    lines, cells, faults, line = [], [], [], 1
    try:
        for row in reader:
            lines.append(line)
            cells.append([cell.strip() for cell in row])
            line = reader.line_num + 1
    except csv.Error as error:
        faults.append(f"{path.name}, line {reader.line_num}: cannot be read further ({error}).")
    return lines, cells, faults


def _rows(
    path: Path, lines: Sequence[int], cells: Sequence[Sequence[str]], faults: list[str]
) -> tuple[list[Row], list[str]]:
    header = [cell.lower() for cell in cells[0]] if cells else []
    images = [at for at, name in enumerate(header) if name in IMAGE_COLUMNS]
    captions = [at for at, name in enumerate(header) if name.startswith(CAPTION_COLUMNS)]
    if len(images) != 1 or not captions:
        raise DataError(
            f"{path}, line 1: expected a header with one column image and one or more that begin "
            f"with caption; got {', '.join(header)[:80]!r}."
        )
    rows = []
    for line, row in zip(lines[1:], cells[1:], strict=True):
        fault = _fault(row, len(header), images[0], captions)
        if fault:
            faults.append(f"{path.name}, line {line}: {fault}")
        elif any(row):
            rows += [Row(line, row[images[0]], row[at]) for at in captions if row[at]]
    return rows, faults


def _fault(row: Sequence[str], width: int, image: int, captions: Sequence[int]) -> str:
    """What is wrong with a row; empty when nothing is, or when the row is empty."""
    if not any(row):
        return ""
    if any("\n" in cell or "\r" in cell for cell in row):
        return "a cell runs over several lines. Is a quotation mark left open?"
    if len(row) != width:
        told = f"expected {width} fields, got {len(row)}."
        return f"{told} Put a caption with commas in quotation marks."
    if not row[image]:
        return "no picture is named."
    if not any(row[at] for at in captions):
        return f"the caption of {row[image]} is empty."
    return ""


def match(
    rows: Sequence[Row], names: Sequence[str], table: str
) -> tuple[dict[str, list[str]], list[str]]:
    """Each picture's captions, and a sentence for each row whose picture is not clear.

    A row may name a picture by its path or its file name alone, with or without its ending;
    capitals, \\ for / and the two ways to write an umlaut make no difference.
    """
    found: dict[str, list[str]] = {}
    keys = _keys(names)
    faults = []
    for row in rows:
        wanted = _plain(row.image)
        candidates = keys.get(wanted) or keys.get(wanted.rpartition("/")[2]) or []
        if len(candidates) == 1:
            found.setdefault(candidates[0], []).append(row.caption)
        elif candidates:
            shown = ", ".join(candidates[:3])
            faults.append(
                f"{table}, line {row.line}: {row.image} could be {shown}. Name its folder."
            )
        else:
            faults.append(f"{table}, line {row.line}: there is no picture {row.image}.")
    return {name: found[name] for name in names if name in found}, faults


def _keys(names: Sequence[str]) -> dict[str, list[str]]:
    """All ways to name each picture; a fuller way goes before a shorter one of another picture."""
    keys: dict[str, list[str]] = {}
    for way in (str, _without_folder, _without_ending, _bare):
        fresh = defaultdict(list)
        for name in names:
            fresh[_plain(way(name))].append(name)
        keys = {**fresh, **keys}
    return keys


def _without_folder(name: str) -> str:
    return name.rpartition("/")[2]


def _without_ending(name: str) -> str:
    return name.rpartition(".")[0]


def _bare(name: str) -> str:
    return _without_ending(_without_folder(name))


def _plain(name: str) -> str:
    named = unicodedata.normalize("NFC", name.strip().replace("\\", "/"))
    return named.casefold().removeprefix("./")


def class_names(names: Sequence[str]) -> dict[str, str]:
    """The class of each picture that lies in a folder of the folder: the name of that one."""
    return {name: name.partition("/")[0] for name in names if "/" in name}


def class_captions(
    classes: Mapping[str, str], templates: Sequence[str] = TEMPLATES,
    phrases: Mapping[str, str] | None = None,
) -> dict[str, list[str]]:  # fmt: skip
    """Every picture gets every template with its class in it, in words (`phrase`).

    phrases: your own words for a class, by the name of its folder: {"cats": "a cat"}.
    Raises: ValueError for a template without a place {}, a class that is not there, and two
    classes with the same words.
    """
    own = phrases or {}
    kinds = sorted(set(classes.values()))
    if strangers := sorted(set(own) - set(kinds)):
        raise ValueError(f"phrases has words for {strangers[0]!r}; the classes are {kinds}.")
    sentences = prompts([own.get(kind, phrase(kind)) for kind in kinds], templates)
    each = len(templates)
    said = {kind: sentences[at * each : (at + 1) * each] for at, kind in enumerate(kinds)}
    return {name: said[kind] for name, kind in classes.items()}


def phrase(folder: str) -> str:
    """A class in words: "tabby_cat" becomes "a tabby cat", and "cats", a plural, stays "cats"."""
    words = " ".join(folder.replace("_", " ").replace("-", " ").split()) or folder
    plural = words.lower().endswith("s") and not words.lower().endswith(("ss", "us", "is"))
    if plural or words.lower().startswith(("a ", "an ", "the ", "some ")):
        return words
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"
