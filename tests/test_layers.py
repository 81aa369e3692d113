"""The package keeps its shape: imports go down, libraries stay where they belong, files and functions stay short.

Everything is read from the syntax trees of the files on disk, so nothing heavy is imported here.
"""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ptychopinn"

# Low to high. A file may import from its own line and from the lines above it.
# Names are paths inside ptychopinn/ without .py.
LAYERS = (
    "errors text json_reader",
    "physics/*",
    "config",
    "scan/*",
    "reconstruction",
    "files/*",
    "model/*",
    "engines/*",
    "training/*",
    "inference/*",
    "evaluation/*",
    "figures/*",
    "commands/*",
    "api study/* integrations/*",
    "__init__",
    "cli/* __main__",
)

# Library -> the only files that may import it.
CONFINED = {
    "typer": "cli/*",
    "click": "cli/*",
    "rich": "cli/*",
    "lightning": "training/*",
    "pytorch_lightning": "training/*",
    "torchmetrics": "evaluation/metrics",
    "ptychi": "engines/ptychi",
    "h5py": "files/*",
    "hdf5plugin": "files/*",
    "matplotlib": "figures/*",
}

MOST_IN_FOLDER, MOST_AT_ROOT = 18, 8
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MUTABLE_CALLS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "OrderedDict", "Counter"}
MUTABLE_NODES = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def short(path: Path) -> str:
    """``ptychopinn/files/npz.py`` -> ``files/npz``."""
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def matches(name: str, patterns: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns.split())


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = {short(path) for path in MODULES}
SOURCES = MODULES + sorted(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))

every_module = pytest.mark.parametrize("path", MODULES, ids=short)
every_module_outside_cli = pytest.mark.parametrize(
    "path", [path for path in MODULES if not short(path).startswith("cli/")], ids=short
)
every_physics_module = pytest.mark.parametrize(
    "path", [path for path in MODULES if short(path).startswith("physics/")], ids=short
)
every_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())


def imports(path: Path) -> Iterator[tuple[ast.stmt, str]]:
    """Yield every import of a file, at any depth, as (statement, absolute dotted name)."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from ((node, f"{module}.{alias.name}") for alias in node.names)


def internal(dotted: str) -> str | None:
    """``ptychopinn.physics.probe.probe_width`` -> ``physics/probe``; None for other packages."""
    top, *rest = dotted.split(".")
    if top != PACKAGE.name:
        return None
    for end in range(len(rest), -1, -1):
        stem = "/".join(rest[:end])
        for candidate in (stem, f"{stem}/__init__".lstrip("/")):
            if candidate in NAMES:
                return candidate
    return rest[0] if rest and layer(rest[0]) is not None else "__init__"


def layer(name: str) -> int | None:
    return next((level for level, patterns in enumerate(LAYERS) if matches(name, patterns)), None)


def functions(path: Path) -> Iterator[Function]:
    yield from (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def calls(path: Path) -> Iterator[ast.Call]:
    yield from (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call))


def module_level(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run on import, also those inside if, try, for and with; not class bodies."""
    for node in statements:
        yield node
        if isinstance(node, Function | ast.ClassDef):
            continue
        for block in ("body", "orelse", "finalbody"):
            yield from module_level(getattr(node, block, []))
        for handler in getattr(node, "handlers", []):
            yield from module_level(handler.body)


def is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return getattr(value.func, "id", getattr(value.func, "attr", None)) in MUTABLE_CALLS
    return isinstance(value, MUTABLE_NODES)


def is_constant(node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> bool:
    """``__all__``, or a name in capitals that is annotated Final."""
    if isinstance(node, ast.Assign):
        return all(getattr(target, "id", None) == "__all__" for target in node.targets)
    name = getattr(node.target, "id", "")
    if name == "__all__":
        return True
    final = isinstance(node, ast.AnnAssign) and re.match(r"(typing\.)?Final\b", ast.unparse(node.annotation))
    return bool(final and re.fullmatch(r"_*[A-Z][A-Z0-9_]*", name))


@every_module
def test_module_has_a_layer(path: Path) -> None:
    assert layer(short(path)) is not None, f"{short(path)} is in no line of LAYERS in tests/test_layers.py: add it"


@every_module
def test_imports_go_down(path: Path) -> None:
    own = layer(short(path))
    for node, dotted in imports(path):
        target = internal(dotted)
        if target is None or own is None:
            continue
        level = layer(target)
        assert level is None or level <= own, (
            f"{where(path, node)}: {short(path)} ({LAYERS[own]}) imports {target} from the higher layer {LAYERS[level]}"
        )


def test_imports_have_no_cycle() -> None:
    graph = {
        short(path): {name for _, dotted in imports(path) if (name := internal(dotted))} - {short(path)}
        for path in MODULES
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"import cycle: {' <- '.join(error.args[1])}")


def test_folders_are_small() -> None:
    for folder in {path.parent for path in MODULES}:
        count, most = len(list(folder.glob("*.py"))), MOST_AT_ROOT if folder == PACKAGE else MOST_IN_FOLDER
        assert count <= most, f"{folder.relative_to(ROOT)} has {count} files, at most {most}: make a folder"


@every_module
def test_libraries_stay_where_they_belong(path: Path) -> None:
    for node, dotted in imports(path):
        library = dotted.split(".")[0]
        allowed = CONFINED.get(library, "*")
        assert matches(short(path), allowed), f"{where(path, node)}: {library} belongs in {allowed}"


@every_physics_module
def test_physics_sees_torch_only(path: Path) -> None:
    for node, dotted in imports(path):
        library = dotted.split(".")[0]
        inside = (internal(dotted) or "").startswith("physics/")
        assert inside or library == "torch" or library in sys.stdlib_module_names, (
            f"{where(path, node)}: physics/ may import torch, the standard library and itself, not {dotted}"
        )


@every_source
def test_file_is_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE_LINES, f"{path.relative_to(ROOT)} has {lines} lines, at most {MAX_FILE_LINES}: split it"


@every_source
def test_functions_are_short(path: Path) -> None:
    for function in functions(path):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        assert lines <= MAX_FUNCTION_LINES, (
            f"{where(path, function)}: {function.name} has {lines} lines, at most {MAX_FUNCTION_LINES}: split it"
        )


@every_module
def test_no_module_level_mutable_state(path: Path) -> None:
    for node in module_level(tree(path).body):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and is_mutable(node.value):
            assert is_constant(node), (
                f"{where(path, node)}: mutable state on module level; use a tuple, MappingProxyType or CAPITALS: Final"
            )
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.Global), f"{where(path, node)}: no 'global'; pass the value"


@every_module_outside_cli
def test_print_only_in_cli(path: Path) -> None:
    for call in calls(path):
        assert getattr(call.func, "id", None) != "print", f"{where(path, call)}: print outside cli/; return or log it"


@every_source
def test_nobody_sets_thread_counts(path: Path) -> None:
    for call in calls(path):
        name = getattr(call.func, "attr", getattr(call.func, "id", None))
        assert name not in {"set_num_threads", "set_num_interop_threads"}, (
            f"{where(path, call)}: threads are the user's choice (OMP_NUM_THREADS)"
        )


@pytest.mark.skipif("cli/app" not in NAMES, reason="ptychopinn/cli/app.py does not exist yet")
def test_help_does_not_import_torch() -> None:
    code = """
import sys
from ptychopinn.cli.app import main
sys.argv = ["ptychopinn", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = {"torch", "lightning", "torchmetrics", "matplotlib", "scipy", "skimage", "h5py"} & set(sys.modules)
print("imported:", *sorted(heavy))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout
    assert result.stdout.splitlines()[-1].strip() == "imported:"
