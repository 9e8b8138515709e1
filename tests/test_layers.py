"""Who may import whom, and what must work without torch (docs/design/README.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ghostfit

SOURCE = Path(ghostfit.__file__).parent

# Rooms from the ground up; a room may import itself and those named. A file directly in the package is its own room.
VALUES = {"arch", "config", "counting", "event", "extras", "presets", "rooms", "run", "space"}
TORCH_FREE = {"vision", "runtime", "report", *VALUES}
MAY_IMPORT = {
    **dict.fromkeys(VALUES, VALUES),
    "vision": VALUES,
    "runtime": {"vision", *VALUES},
    "report": {"vision", *VALUES},
    "nn": {"runtime", "vision", *VALUES},
    "data": {"runtime", "vision", *VALUES},
    "train": {"nn", "data", "runtime", "vision", *VALUES},
    "export": {"nn", "data", "runtime", "vision", *VALUES},
    "search": {"train", "export", "nn", "data", "runtime", "vision", *VALUES},
    "verbs": {"search", "train", "export", "nn", "data", "runtime", "report", "vision", *VALUES},
    "api": {"verbs", "search", "train", "export", "nn", "data", "runtime", "report", "vision", *VALUES},
    "progress": VALUES,
    "cli": {"api", "progress", *VALUES},
    "__main__": {"cli"},
    "__init__": {"extras"},  # the lazy names are found by text
}
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "optuna",
    "onnx",
    "onnxscript",
    "safetensors",
    "sklearn",
    "scipy",
    "accelerate",
}
NEEDS_TORCH_IN_DATA = {"augment.py", "dense_augment.py", "dense_loader.py", "loader.py"}
MODULES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path, *, is_type_checking: bool = False) -> Iterator[str]:
    """Every module that a file imports anywhere, but for type checkers unless asked."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not is_type_checking:
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "ghostfit")
        waiting += ast.iter_child_nodes(node)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    room = room_of(path)
    assert room in MAY_IMPORT, f"{room} has no place in the layers: give it a row here and in docs/design/README.md"
    # __init__ names public types for type checkers; everything else is held to the layers there too.
    found = {name.split(".")[1] for name in imports(path, is_type_checking=room != "__init__") if "ghostfit." in name}
    known = {name for name in found if (SOURCE / name).is_dir() or (SOURCE / f"{name}.py").is_file()}
    assert known - {room} <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_rooms_for_the_device_never_import_training_packages(path: Path) -> None:
    room = room_of(path)
    if room in TORCH_FREE:
        assert not {name.split(".")[0] for name in imports(path)} & HEAVY
    if room == "data" and path.name not in NEEDS_TORCH_IN_DATA:
        assert not {name.split(".")[0] for name in imports(path)} & (HEAVY - {"sklearn"})


WITHOUT_TORCH = """
import importlib, pathlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

BLOCKED = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Blocked())
for name in sys.argv[2].split(","):
    importlib.import_module(name)
assert not BLOCKED & set(sys.modules)

import ghostfit as gf
assert gf.preset("ghostnet_100", num_classes=3).num_classes == 3
assert gf.count(gf.preset("ghostnet_100")).params > 5e6
try:
    gf.build
except ImportError as error:
    assert "pip install 'ghostfit[train]'" in str(error), error
else:
    raise AssertionError("gf.build without torch")
print("well")
"""


def test_the_device_side_works_without_torch() -> None:
    names = [
        ".".join(("ghostfit", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        for path in MODULES
        if room_of(path) in TORCH_FREE | {"cli", "api", "progress"}
        or (room_of(path) == "data" and path.name not in NEEDS_TORCH_IN_DATA)
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, ",".join(sorted(HEAVY)), ",".join(names)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "well\n", done.stderr


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import ghostfit, sys; print(*sorted({'numpy', 'torch', 'onnxruntime', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""


def test_importing_the_command_loads_no_torch() -> None:
    code = "import ghostfit.cli, sys; print(*sorted({'torch', 'onnxruntime', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", [name for name in ghostfit.__all__ if name not in ("__version__", "api")])
def test_every_public_name_is_there(name: str) -> None:
    assert callable(getattr(ghostfit, name))
    assert name in dir(ghostfit)


@pytest.mark.parametrize("room", ghostfit.CALLABLE_ROOMS)
def test_a_room_named_like_a_verb_answers_to_both(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("ghostfit.api")
    monkeypatch.setattr(api, room, lambda *args, **kwargs: (args, kwargs))
    package = __import__(f"ghostfit.{room}", fromlist=["*"])
    assert getattr(ghostfit, room) is package
    assert package(1, run=2) == ((1,), {"run": 2})


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        ghostfit.fitt  # noqa: B018
