"""The shape of the house: who may import whom, and who may touch a hook."""

import ast
from pathlib import Path

import pytest

import personascope

SOURCE = Path(personascope.__file__).parent
# From the ground up; a package may import those below it.
FLOORS = [
    {"errors"},
    {"runs"},
    {"directions"},
    {"personas", "corpora", "statistics"},
    {"organisms"},
    {"subject"},
    {"engine"},
    {"judging"},
    {"extraction"},
    {"watching", "comparing", "persistence", "features", "transfer"},
    {"validation"},
    {"report"},
    {"web"},
    {"cli"},
]
FILES = sorted(SOURCE.rglob("*.py"))


def floor(package: str) -> int:
    return next(height for height, packages in enumerate(FLOORS) if package in packages)


def imports(path: Path) -> set[str]:
    """The packages of ours that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("personascope.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_downward(path: Path) -> None:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    if parts == ("__init__",):
        return
    for other in imports(path) - {parts[0]}:
        assert floor(other) < floor(parts[0]), f"{'/'.join(parts)} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_engine_registers_hooks(path: Path) -> None:
    if path.relative_to(SOURCE).parts[0] != "engine":
        assert "register_forward" not in path.read_text(encoding="utf-8")


def test_public_names_exist_and_have_docstrings() -> None:
    for name in personascope.__all__:
        assert (getattr(personascope, name).__doc__ or "").strip(), name
