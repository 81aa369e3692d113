"""The package keeps its shape: imports go down, libraries stay where they belong, files and functions stay short.

Everything is read from the syntax trees of the files on disk, so nothing heavy is imported here. Every rule lists
the lines that break it.
"""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ptychopinn"

# Folders, and files beside them, low to high. A file may import from its own line and from the lines above it.
LAYERS = (
    "errors text json_reader memory",
    "physics",
    "config",
    "scan",
    "reconstruction",
    "files",
    "model",
    "engines",
    "training",
    "inference",
    "evaluation",
    "figures",
    "commands",
    "api study integrations",
    "__init__",
    "cli __main__",
)
LEVELS = {room: level for level, rooms in enumerate(LAYERS) for room in rooms.split()}

# Library -> the only folder or file that may import it.
CONFINED = {
    "typer": "cli",
    "click": "cli",
    "rich": "cli",
    "lightning": "training",
    "pytorch_lightning": "training",
    "torchmetrics": "evaluation/metrics",
    "ptychi": "engines/ptychi",
    "h5py": "files",
    "hdf5plugin": "files",
    "matplotlib": "figures",
    "bokeh": "figures",
    "jinja2": "figures/page/templates",
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


def room(name: str) -> str:
    """The folder of ``files/npz``, or the file itself where it lies at the root."""
    return name.partition("/")[0]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = {short(path) for path in MODULES}
SOURCES = MODULES + sorted(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


@cache
def imports(path: Path) -> list[tuple[ast.stmt, str]]:
    """Every import of a file, at any depth, as (statement, absolute dotted name)."""
    found: list[tuple[ast.stmt, str]] = []
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            found += ((node, f"{module}.{alias.name}") for alias in node.names)
    return found


def internal(dotted: str) -> str | None:
    """``ptychopinn.physics.probe.probe_width`` -> ``physics/probe``; None for other packages."""
    top, *rest = dotted.split(".")
    if top != PACKAGE.name:
        return None
    stems = ["/".join(rest[:end]) for end in range(len(rest), 0, -1)]
    candidates = [name for stem in stems for name in (stem, f"{stem}/__init__")]
    return next((name for name in candidates if name in NAMES), "__init__")


def calls(path: Path) -> Iterator[tuple[ast.Call, str | None]]:
    """Every call, with the name of what is called."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield node, getattr(node.func, "id", getattr(node.func, "attr", None))


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


def test_every_module_has_a_layer() -> None:
    rooms = {room(short(path)) for path in MODULES}
    assert rooms == set(LEVELS), "LAYERS in tests/test_layers.py names every folder and file of ptychopinn/, no other"


def test_imports_go_down() -> None:
    assert not [
        f"{where(path, node)}: {short(path)} imports {target} from the higher layer '{LAYERS[LEVELS[room(target)]]}'"
        for path in MODULES
        for node, dotted in imports(path)
        if (target := internal(dotted)) and LEVELS[room(target)] > LEVELS[room(short(path))]
    ]


def test_imports_have_no_cycle() -> None:
    graph = {
        short(path): {name for _, dotted in imports(path) if (name := internal(dotted))} - {short(path)}
        for path in MODULES
    }
    graphlib.TopologicalSorter(graph).prepare()


def test_folders_are_small() -> None:
    for folder in {path.parent for path in MODULES}:
        count, most = len(list(folder.glob("*.py"))), MOST_AT_ROOT if folder == PACKAGE else MOST_IN_FOLDER
        assert count <= most, f"{folder.relative_to(ROOT)} has {count} files, at most {most}: make a folder"


def test_libraries_stay_where_they_belong() -> None:
    assert not [
        f"{where(path, node)}: {library} belongs in {place}"
        for path in MODULES
        for node, dotted in imports(path)
        if (place := CONFINED.get(library := dotted.split(".")[0])) and place not in (room(short(path)), short(path))
    ]


def test_physics_imports_torch_only() -> None:
    assert not [
        f"{where(path, node)}: physics/ may import torch, the standard library and itself, not {dotted}"
        for path in (PACKAGE / "physics").rglob("*.py")
        for node, dotted in imports(path)
        if dotted.split(".")[0] not in {"torch", *sys.stdlib_module_names} and room(internal(dotted) or "") != "physics"
    ]


def test_files_are_short() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert not {name: count for name, count in lines.items() if count > MAX_FILE_LINES}, "split these files"


def test_functions_are_short() -> None:
    lines = {
        f"{where(path, node)}: {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, Function)
    }
    assert not {name: count for name, count in lines.items() if count > MAX_FUNCTION_LINES}, "split these functions"


def test_no_module_level_mutable_state() -> None:
    """Use a tuple, MappingProxyType or CAPITALS: Final."""
    assert not [
        where(path, node)
        for path in MODULES
        for node in module_level(tree(path).body)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
        and is_mutable(node.value)
        and not is_constant(node)
    ]


def test_no_global_statement() -> None:
    """Pass the value."""
    assert not [where(path, node) for path in MODULES for node in ast.walk(tree(path)) if isinstance(node, ast.Global)]


def test_print_only_in_cli() -> None:
    outside = [path for path in MODULES if room(short(path)) != "cli"]
    assert not [where(path, node) for path in outside for node, name in calls(path) if name == "print"]


def test_nobody_sets_thread_counts() -> None:
    """Threads are the user's choice (OMP_NUM_THREADS)."""
    setters = {"set_num_threads", "set_num_interop_threads"}
    assert not [where(path, node) for path in SOURCES for node, name in calls(path) if name in setters]


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
