"""README and guides: their code runs, their links lead somewhere, their commands exist."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from personascope.cli.main import _COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def blocks(page: Path) -> list[str]:
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_the_code_of_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for block in blocks(page):
            exec(compile(block, str(page), "exec"), names)
    for expected in re.findall(r"print\(.*\)    # (persona file .*)", page.read_text(encoding="utf-8")):
        assert expected in said.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_named_exist(page: Path) -> None:
    for command in re.findall(r"`personascope (\w+)", page.read_text(encoding="utf-8")):
        assert command in _COMMANDS, command


def test_the_readme_fits_on_one_screen_and_claims_nothing_for_real_models() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert "None is claimed for a real model yet" in text
