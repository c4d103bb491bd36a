"""The one direction of imports, read from the source: scenes < fields < render < tools."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ("scenes", "fields", "render", "tools")
# Slow to import, or only there with an extra: inside the function that uses them.
HEAVY = {"PIL", "imageio", "imageio_ffmpeg", "kornia", "mitsuba", "open3d", "pycolmap", "rich", "skimage",
         "transformers", "trimesh", "tyro", "viser", "websockets", "xatlas"}  # fmt: skip
MODULES = sorted(path for package in ORDER for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


KNOWN = {name_of(path) for path in MODULES}


def imported(tree: ast.AST, *, everywhere: bool) -> Iterator[str]:
    """Names of the modules that a source file imports; only those that run at import, unless `everywhere`."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            # `from render import checkpoint` imports the module render.checkpoint, where that is one
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in KNOWN else str(node.module) for name in names)
        elif not everywhere and (_is_function(node) or _is_type_checking(node)):
            continue
        nodes.extend(ast.iter_child_nodes(node))


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_of(path: Path, *, everywhere: bool) -> set[str]:
    return set(imported(ast.parse(path.read_text()), everywhere=everywhere))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_folder_imports_only_what_stands_to_its_left(path):
    rank = ORDER.index(path.relative_to(ROOT).parts[0])
    for name in imports_of(path, everywhere=True):
        package = name.partition(".")[0]
        assert package != "tests", f"{path}: imports {name}"
        assert package not in ORDER or ORDER.index(package) <= rank, f"{path}: imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nobody_imports_the_command_line(path):
    assert not any(name.startswith("render.cli") for name in imports_of(path, everywhere=True))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_importing_a_module_imports_nothing_heavy(path):
    names = {name.partition(".")[0] for name in imports_of(path, everywhere=False)}
    assert not names & HEAVY


def test_modules_import_each_other_in_no_circle():
    """Depth-first through what runs at import; a module that is met while still open closes a circle."""
    graph = {
        name_of(path): {name for name in imports_of(path, everywhere=False) if name in KNOWN}
        for path in MODULES
    }
    done: set[str] = set()

    def visit(name: str, open_modules: tuple[str, ...]) -> None:
        assert name not in open_modules, " -> ".join((*open_modules, name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*open_modules, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_importing_render_loads_no_torch():
    code = "import sys, render; assert 'torch' not in sys.modules; render.load; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_checker_sees_what_it_must():
    source = "import a.b\nfrom render import run\ndef f():\n    import c\nif TYPE_CHECKING:\n    import d\n"
    tree = ast.parse(source)
    assert set(imported(tree, everywhere=False)) == {"a.b", "render.run"}
    assert set(imported(tree, everywhere=True)) == {"a.b", "render.run", "c", "d"}
