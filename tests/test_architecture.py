"""The house holds: floors, sizes, and the public surface."""

import ast
from pathlib import Path

import pytest

import coincide

PACKAGE = Path(coincide.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

FLOORS = [
    *("errors", "options", "ops", "grid", "image", "points", "preprocess", "features", "similarity"),
    *("transforms", "regularity", "pair", "optimise", "networks", "methods", "measures", "registration"),
    *(
        "io",
        "checksum",
        "api",
        "data",
        "training",
        "evaluation",
        "cohort",
        "report",
        "results",
        "viewer",
        "cli",
    ),
]
FILE_LINES, FUNCTION_LINES = 400, 60


def floor_of(path: Path) -> str:
    """The floor a file stands on: its folder or name just below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_floors(tree: ast.Module) -> set[str]:
    """The floors a file imports from while it runs; what is for the type checker alone does not count."""
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    names = []
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("coincide.")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_from_floors_below(path):
    floor = floor_of(path)
    if floor in ("__init__", "__main__"):
        return
    assert floor in FLOORS, f"{path} stands on no floor; give it one in FLOORS, CONTRIBUTING.md and here"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # The package itself holds only lazy names and the version.
    found = imported_floors(tree) - {floor, "__version__"}
    above = {name for name in found if FLOORS.index(name) >= FLOORS.index(floor)}
    assert not above, f"{path} is on the floor {floor!r} and imports from above it: {sorted(above)}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_stay_small(path):
    text = path.read_text(encoding="utf-8")
    # A file of kernels holds one 2-D and one 3-D kernel per operation, both held to one reference.
    kernels = path.stem.startswith("_")
    assert kernels or len(text.splitlines()) <= FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and not kernels and not _is_kernel(node):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring_lines(node)
            assert lines <= FUNCTION_LINES, f"{path}: {node.name} has {lines} lines"


def test_nothing_below_io_prints_or_opens_files():
    for path in FILES:
        floor = floor_of(path)
        if floor not in FLOORS or FLOORS.index(floor) >= FLOORS.index("io"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "open", "input"), f"{path}: calls {node.func.id}"


def test_public_surface_is_one_sorted_list():
    assert sorted(coincide.__all__) == coincide.__all__
    assert set(coincide._HOME) == set(coincide.__all__)
    for name in coincide.__all__:
        assert getattr(coincide, name).__doc__, f"coincide.{name} says nothing of itself"
    assert set(coincide.__all__) <= set(dir(coincide))


def test_register_is_the_function():
    import coincide.registration

    assert callable(coincide.register)
    assert coincide.register is not coincide.registration.register


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'regster'"):
        coincide.regster


def test_contributing_names_the_floors_in_order():
    text = " ".join((PACKAGE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    assert " · ".join(FLOORS) in text


def _is_kernel(node: ast.FunctionDef) -> bool:
    return any("jit" in ast.dump(decorator) for decorator in node.decorator_list)


def _docstring_lines(node: ast.FunctionDef) -> int:
    return len((ast.get_docstring(node, clean=False) or "").splitlines())
