"""The plan of the house, held: no ungoverned call, no long file, no long function."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*folders: str) -> list[Path]:
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if ".work" not in path.parts)


def calls(path: Path) -> Iterator[ast.Call]:
    tree = ast.parse(path.read_text())
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def users_of(name: str) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in sources("gateway", "agents")
        if any(name_of(call.func) == name for call in calls(path))
    }


def test_only_the_ledger_makes_permits() -> None:
    assert users_of("Permit") == {"gateway/store/ledger.py"}


def test_a_permit_cannot_be_copied_into_another() -> None:
    """Each file is read once: in a tree that somebody edits, the second look may see another one."""
    for path in sources("gateway", "agents"):
        used = set(words_of(ast.parse(path.read_text())))
        copies = used & {"dataclasses.replace", "copy.replace", "dataclasses", "copy.copy"}
        assert not (copies and "Permit" in used), path


def words_of(tree: ast.AST) -> Iterator[str]:
    """Names as they are used, and where those come from: text that is replaced is no permit."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Name):
            yield node.id


def test_only_the_pipeline_invokes_an_upstream() -> None:
    assert users_of("invoke") == {"gateway/pipeline.py"}


def test_the_four_lines_stand_in_their_order() -> None:
    text = (ROOT / "gateway" / "pipeline.py").read_text()
    places = [
        text.index(step) for step in ("async def govern", "_ledger.admit", "_invoked(", "_settled(")
    ]
    assert places == sorted(places)


def long_ones(path: Path) -> Iterator[str]:
    text = path.read_text()
    if text.count("\n") > MAX_FILE_LINES:
        yield f"{path}: {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{path}:{node.lineno} {node.name}: {lines} lines"


def test_files_and_functions_fit_in_one_look() -> None:
    assert [
        said for path in sources("gateway", "agents", "tests") for said in long_ones(path)
    ] == []


def test_no_tracked_file_names_a_registry_or_a_machine() -> None:
    words = ("pypi" + ".org", "python" + "hosted", "npm" + "js.org", "deb" + "ian.org")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split():
        text = (ROOT / name).read_text(errors="replace") if (ROOT / name).exists() else ""
        assert not [word for word in words if word in text], name
