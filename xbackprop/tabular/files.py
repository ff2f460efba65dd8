"""Read the files that people keep tables in: CSV in its many forms, Parquet, Feather, Excel.

All cells of a text file are read as text first; what a column holds is decided by its different values.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xbackprop.tabular.columns import LARGEST_WHOLE, Column, Table, empty, factorise, same_length, with_dates
from xbackprop.tabular.reading import read_table

#: Words for a missing value; those of pandas, and a question mark.
MISSING = frozenset([
    "", "?", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
])  # fmt: skip
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf", re.I)
COMMA_NUMBER = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")
#: Whole numbers with leading zeros are codes: 007 is not 7.
CODE = re.compile(r"[+-]?0\d+")
DELIMITERS = "\t;,|"
#: A text file beyond this many bytes is read by pyarrow, which needs less memory.
LARGE = 100_000_000
PROBE = 20  # lines that are looked at to find the delimiter


class TextTable(NamedTuple):
    """The cells of a text file.

    columns : texts below each name. delimiter : what separates cells.
    """

    columns: dict[str, Sequence[str]]
    delimiter: str


def read_table_file(
    path: str, header: bool = True, as_text: Sequence[str] = (), as_numbers: Sequence[str] = ()
) -> Table:
    """Read a table from a file; its ending tells the kind, and everything unknown is text.

    Parameters
    ----------
    path : .csv, .tsv, .txt, also with .gz; .parquet, .feather, .arrow (with pyarrow); .xlsx (with pandas and openpyxl).
    header : whether the first line of a text file has the names of the columns; else they are called 1, 2, ….
    as_text, as_numbers : names of columns whose cells are text, or numbers, whatever they look like.

    Raises
    ------
    ValueError : for a file that is no table; it says where. FileNotFoundError, IsADirectoryError : as their names say.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path}: this is a folder, and no table")
    suffix = Path(path).suffix.lower()
    if suffix in READERS:
        return read_table(path, _whole(path, READERS[suffix]))
    texts = _large(path, header) if _is_large(path) else read_cells(path, header)
    columns = {}
    for name in list(texts.columns):
        cells = texts.columns.pop(name)  # type: ignore[attr-defined]
        column = _texts(cells)
        if name in as_text:
            columns[name] = column._replace(is_text=False)
        else:
            columns[name] = typed(path, name, column, texts.delimiter != ",", name in as_numbers)
    return same_length(path, columns)


def read_cells(path: str, header: bool = True) -> TextTable:
    """Read all cells of a text file as text; empty lines are skipped, a byte order mark too.

    A file that is not in UTF-8 is read as Latin-1, in which every byte is a character.
    """
    content = Path(path).read_bytes()
    content = gzip.decompress(content) if str(path).endswith(".gz") else content
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\0" in text:
        raise ValueError(f"{path}: this is no text: it holds NUL bytes")
    lines = text.splitlines(keepends=True)
    delimiter = find_delimiter(lines)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    rows, ends = [], []
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                rows.append(row)
                ends.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: this is no CSV: {error}") from error
    if not rows:
        raise ValueError(f"{path}: the file is empty")
    width = len(rows[0])
    for row, end in zip(rows, ends, strict=True):
        if len(row) != width:
            raise ValueError(f"{path}, line {end}: expected {width} cells, as in the first line, got {len(row)}")
    names = _names(path, rows[0]) if header else [str(j + 1) for j in range(width)]
    body = rows[1:] if header else rows
    if not body:
        raise ValueError(f"{path}: there is a header and nothing below it")
    return TextTable(dict(zip(names, zip(*body, strict=True), strict=True)), delimiter)


def find_delimiter(lines: Sequence[str]) -> str:
    """Return the character that separates as many cells in each of the first lines; a comma if there is none."""
    probe = [line for line in lines[:PROBE] if line.strip()]
    for delimiter in DELIMITERS:
        widths = {len(row) for row in csv.reader(probe, delimiter=delimiter) if row}
        if len(widths) == 1 and widths != {1}:
            return delimiter
    first = probe[0] if probe else ""
    return max(",;\t", key=first.count)


def typed(path: str, name: str, column: Column, decimal_comma: bool = False, as_numbers: bool = False) -> Column:
    """Return a column of text as what all its different values are: numbers, dates, or text as it is.

    decimal_comma : whether 1,5 may be a number.
    """
    levels = column.levels
    if not levels:
        return column
    comma = decimal_comma and any("," in level for level in levels) and all(map(COMMA_NUMBER.fullmatch, levels))
    numbers = comma or all(map(NUMBER.fullmatch, levels))
    if as_numbers and not numbers:
        bad = next(level for level in levels if not NUMBER.fullmatch(level))
        raise ValueError(f"{path}: column {name!r} must have numbers, got {bad!r}")
    if not numbers:
        return with_dates(column)
    if not as_numbers and any(map(CODE.fullmatch, levels)):
        return column
    values = [float(level.replace(",", ".") if comma else level) for level in levels]
    whole = (int(level) for level in levels if level.lstrip("+-").isdigit())
    if not as_numbers and any(abs(number) > LARGEST_WHOLE for number in whole):  # float64 would merge some of them
        return column
    return Column("number", np.array([*values, np.nan])[column.values])


def _texts(cells: Any) -> Column:
    """Return cells as a column of text, without the blanks around them; words for missing values are missing."""
    if hasattr(cells, "combine_chunks"):  # pyarrow's
        whole = cells.combine_chunks().dictionary_encode()
        raw, levels = whole.indices.to_numpy(), whole.dictionary.to_pylist()
    else:
        found = factorise(cells, len(cells))
        raw, levels = found.values, list(found.levels)
    stripped = [level.strip() for level in levels]
    known = dict.fromkeys(level for level in stripped if level not in MISSING)
    if not known:
        return empty(len(raw))
    place = {level: i for i, level in enumerate(known)}
    codes = np.array([*(place.get(level, -1) for level in stripped), -1])[raw]
    return Column("category", codes, tuple(known), is_text=True)


def _names(path: str, first: Sequence[str]) -> list[str]:
    """Check the names in the first line."""
    names = [name.strip() for name in first]
    if "" in names:
        raise ValueError(f"{path}, line 1: column {names.index('') + 1} has no name")
    if all(NUMBER.fullmatch(name) for name in names):
        shown = ", ".join(names[:5])
        raise ValueError(
            f"{path}, line 1: expected the names of the columns, got the numbers {shown}; --no-header if there are none"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        hint = "; --no-header if the first line has values" if len(twice) > 2 else ""
        raise ValueError(f"{path}, line 1: two columns are called {twice[0]!r}{hint}")
    return names


def _is_large(path: str) -> bool:
    if Path(path).stat().st_size < LARGE:
        return False
    try:
        import pyarrow.csv  # noqa: F401
    except ImportError:
        return False
    return True


def _large(path: str, header: bool) -> TextTable:
    """Read a text file by pyarrow."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    opened: Any = gzip.open if str(path).endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        lines = [line for _, line in zip(range(PROBE), file, strict=False)]
    delimiter = find_delimiter(lines)
    first = next(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    names = _names(path, first) if header else [str(j + 1) for j in range(len(first))]
    try:
        table = arrow.read_csv(
            path,
            read_options=arrow.ReadOptions(column_names=names, skip_rows=1 if header else 0),
            parse_options=arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=arrow.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: {error}") from error
    return TextTable({name: table.column(name) for name in names}, delimiter)


def _whole(path: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(path)
    except ImportError as error:
        raise ImportError(f"{path}: {error}; this kind of file needs another package") from error
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise ValueError(f"{path}: the file cannot be read: {error}") from error


def _parquet(path: str) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path)


def _feather(path: str) -> Any:
    import pyarrow.feather

    return pyarrow.feather.read_table(path)


def _excel(path: str) -> Any:
    import pandas

    return pandas.read_excel(path)


READERS: dict[str, Callable[[str], Any]] = {
    ".parquet": _parquet, ".feather": _feather, ".arrow": _feather, ".xlsx": _excel,
}  # fmt: skip
