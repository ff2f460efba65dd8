"""docs/derivation.md: its code runs, its references lead somewhere, and no equation of the paper is left out."""

import importlib
import re
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "derivation.md"
TEXT = PAGE.read_text(encoding="utf-8")


class Block(NamedTuple):
    """A fenced block: its language, the number of its first line in the page, and its text."""

    language: str
    line: int
    text: str


class Section(NamedTuple):
    """A heading, its prose, and its blocks."""

    title: str
    prose: str
    blocks: list[Block]

    def code(self) -> list[Block]:
        return [block for block in self.blocks if block.language == "python"]

    def equations(self) -> list[int]:
        """The numbers at the ends of the lines of its formulas."""
        return [
            int(number)
            for block in self.blocks
            if block.language == "text"
            for number in re.findall(r"\((\d+)\)$", block.text, re.M)
        ]


def read_sections() -> list[Section]:
    """The page, cut at its headings; a # within a fenced block is none."""
    sections = [Section("", "", [])]
    language, start, inside = None, 0, []
    for number, line in enumerate(TEXT.splitlines(), start=1):
        fence = re.fullmatch(r"```(\w*)", line)
        if fence and language is None:
            language, start, inside = fence[1], number + 1, []
        elif fence:
            sections[-1].blocks.append(Block(language, start, "\n".join(inside) + "\n"))
            language = None
        elif language is not None:
            inside.append(line)
        elif heading := re.match(r"#+ (.+)", line):
            sections.append(Section(heading[1], "", []))
        else:
            sections[-1] = sections[-1]._replace(prose=sections[-1].prose + line + "\n")
    assert language is None, f"the block that begins at line {start} does not end"
    return sections


SECTIONS = read_sections()
WITH_CODE = [section for section in SECTIONS if section.code()]
WITH_EQUATIONS = [section for section in SECTIONS if section.equations()]
PROSE = "".join(section.prose for section in SECTIONS)
REFERENCES = sorted(set(re.findall(r"`([\w/]+\.py)::([\w.]+)`", TEXT)))
TESTS = [reference for reference in REFERENCES if reference[0].startswith("tests/")]
FUNCTIONS = [reference for reference in REFERENCES if not reference[0].startswith("tests/")]

namespace: dict = {}
outcomes: dict[str, Exception | None] = {}


def run(section: Section) -> Exception | None:
    """Execute the section's blocks, padded so that tracebacks show the lines of the page; return what went wrong."""
    try:
        for block in section.code():
            exec(compile("\n" * (block.line - 1) + block.text, str(PAGE), "exec"), namespace)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("title", [section.title for section in WITH_CODE])
def test_the_code_runs(title):
    """In one namespace, in the order of the page. A section is run once, after those before it, and judged alone."""
    for section in WITH_CODE:
        if section.title not in outcomes:
            outcomes[section.title] = run(section)
        if section.title == title:
            break
    if outcomes[title] is not None:
        raise outcomes[title]


def test_titles_are_unique():
    """They name the tests, and they are the anchors of links."""
    titles = [section.title for section in SECTIONS]
    assert len(set(titles)) == len(titles)


def test_every_equation_of_the_paper_is_there_once_and_in_order():
    assert [number for section in SECTIONS for number in section.equations()] == list(range(1, 19))


@pytest.mark.parametrize("section", WITH_EQUATIONS, ids=lambda section: section.title)
def test_equations_say_what_computes_them_and_what_checks_them(section):
    assert re.search(r"Computed by\s+`xbackprop/[\w/]+\.py::", section.prose)
    assert re.search(r"Checked by\s+`tests/[\w/]+\.py::", section.prose)
    assert section.code()


@pytest.mark.parametrize(("path", "name"), FUNCTIONS, ids=["::".join(reference) for reference in FUNCTIONS])
def test_functions_that_are_named_exist(path, name):
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    assert callable(reduce(getattr, name.split("."), module))


@pytest.mark.parametrize(("path", "name"), TESTS, ids=["::".join(reference) for reference in TESTS])
def test_tests_that_are_named_exist(path, name):
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/.]+\.(?:py|md))`", TEXT))))
def test_files_that_are_named_exist(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", PROSE))))
def test_links_lead_somewhere(link):
    """An anchor is a title in lower case, spaces as hyphens, without punctuation."""
    anchors = {re.sub(r"[^\w\- ]", "", section.title.lower()).replace(" ", "-") for section in SECTIONS}
    assert link.removeprefix("#") in anchors if link.startswith("#") else link.startswith("https://")


def test_blocks_are_short_enough_to_take_in_at_a_glance():
    for section in WITH_CODE:
        for block in section.code():
            assert len(block.text.splitlines()) <= 12, f"line {block.line}"
    assert max(map(len, TEXT.splitlines())) <= 120
