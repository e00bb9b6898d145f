"""Who may import whom, what a door is, and which C file may do what: read from the sources."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import bpm

TOP = Path(bpm.__file__).parent
NATIVE = TOP / "_native"

# A room and the rooms it may import, besides itself. "bpm" is the front door.
ALLOWED = {
    "version": set(),
    "errors": set(),
    "layout": set(),
    "doors": set(),
    "config": {"errors", "layout"},
    "plan": {"config", "layout", "errors"},
    "_native": {"errors"},
    "safepath": {"errors"},
    "cgroup": {"plan", "errors"},
    "host": {"plan", "cgroup", "config", "layout", "errors", "_native"},
    "runtime": {"plan", "cgroup", "host", "safepath", "_native", "layout", "errors", "config"},
    "sandbox": {"runtime", "cgroup", "host", "plan", "config", "layout", "errors", "_native"},
    "aio": {"sandbox"},
    "insight": {"runtime", "host", "cgroup", "plan", "config", "layout", "errors"},
    "oci": {"plan", "config", "errors"},
    "cli": {"bpm"},
    "__main__": {"cli", "bpm"},
    "__init__": {"version", "errors", "config", "plan", "host", "runtime", "insight", "oci", "sandbox"},
}

# What a room that only computes has no business with: the machine, time, chance.
IMPURE = {"os", "io", "time", "datetime", "random", "secrets", "socket", "subprocess", "shutil", "glob", "pathlib"}
IMPURE |= {"tempfile", "platform", "pwd", "grp", "resource", "signal", "threading", "fcntl", "ctypes", "sys", "stat"}
IMPURE |= {"logging", "select", "mmap", "uuid", "locale", "getpass", "multiprocessing", "asyncio"}

# Modules that cost more at start than a command takes.
DEAR = {"dataclasses", "asyncio", "typing_extensions", "inspect", "unittest", "concurrent", "multiprocessing"}

WORTH_IT = {("aio", "asyncio")}


def sources() -> list[Path]:
    return sorted(TOP.rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def room_of(path: Path) -> str:
    """The room a file is in: the first name below the package."""
    return path.relative_to(TOP).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Each module that a file imports, at its top, in a function, or for type checking, with its line."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            if node.module == "bpm":
                yield from ((node.lineno, f"bpm.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def rooms() -> set[str]:
    return {path.name for path in TOP.iterdir() if path.is_dir() and (path / "__init__.py").exists()}


def crossings() -> Iterator[tuple[str, str, str, str]]:
    """Each import from one room into another: where it stands, whose it is, the room and the module imported."""
    for path in sources():
        for line, module in imports_of(path):
            if module != "bpm" and not module.startswith("bpm."):
                continue
            here, there = room_of(path), "bpm" if module == "bpm" else module.split(".")[1]
            if here == "cli" and there != "cli":
                there = "bpm"  # public names; held by the test about them
            if here != there and (there != "doors" or path.name != "__init__.py"):
                yield f"{path.relative_to(TOP.parent)}:{line}", here, there, module


def test_every_room_is_known() -> None:
    """A new room is written into ALLOWED, with what it may import."""
    assert set() == {room_of(path) for path in sources()} - set(ALLOWED)


def test_rooms_import_only_whom_they_may() -> None:
    """The arrows of the architecture, and no others."""
    assert [] == [
        f"{where}: {here} imports {module}" for where, here, there, module in crossings() if there not in ALLOWED[here]
    ]


def test_rooms_are_entered_through_their_doors() -> None:
    """From outside a room only its __init__.py is imported, or a module that is known to be a value's home."""
    doors = rooms()

    assert [] == [
        f"{where}: {module}"
        for where, here, there, module in crossings()
        if there in doors and module.count(".") > 1 and (here, module) not in BACK_DOORS and here != "__main__"
    ]


# lower.py makes requests without loading the extension, so that it can be tested where there is none.
BACK_DOORS = {("runtime", "bpm._native.request")}


def test_back_doors_are_used() -> None:
    """No exception outlives its use."""
    used = {(here, module) for _, here, _, module in crossings()}

    assert set() == BACK_DOORS - used


def test_the_command_line_uses_public_names_only() -> None:
    """cli/ imports bpm, its own files, and nothing of the rooms behind the front door."""
    cli = TOP / "cli"
    foreign = [
        f"{path.name}:{line}: {module}"
        for path in cli.rglob("*.py")
        for line, module in imports_of(path)
        if module.split(".")[0] == "bpm"
        and module != "bpm"
        and not module.startswith("bpm.cli")
        and module.removeprefix("bpm.") not in bpm.__all__
    ]
    unknown = {
        f"{path.name}:{node.lineno}: bpm.{node.attr}"
        for path in cli.rglob("*.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "bpm"
        if node.attr not in bpm.__all__
    }

    assert ([], set()) == (foreign, unknown)


@pytest.mark.parametrize("door", sorted(TOP.rglob("__init__.py")), ids=lambda path: str(path.parent.name))
def test_a_door_only_lists(door: Path) -> None:
    """An __init__.py has a docstring, imports and __all__, and perhaps what makes it lazy."""
    tree = tree_of(door)
    first, *rest = tree.body

    assert isinstance(first, ast.Expr)
    assert isinstance(first.value, ast.Constant)
    assert isinstance(first.value.value, str)
    assert [] == [f"line {node.lineno}" for node in rest if not belongs_in_a_door(node, front=door.parent == TOP)]


def belongs_in_a_door(node: ast.stmt, *, front: bool) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.Assign):
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        return names <= {"__all__", "TYPE_CHECKING", "__getattr__"} or (front and names == {"_DOORS"})
    if isinstance(node, ast.If):  # if TYPE_CHECKING: imports, or if not: what makes it lazy
        return all(belongs_in_a_door(inner, front=front) for inner in node.body) and not node.orelse
    return front and isinstance(node, ast.FunctionDef) and node.name in ("__getattr__", "__dir__")


@pytest.mark.parametrize("door", sorted(TOP.rglob("__init__.py")), ids=lambda path: str(path.parent.name))
def test_a_door_lists_what_it_imports(door: Path) -> None:
    """Whatever a door imports from its room is in its __all__, and the other way round."""
    tree = tree_of(door)
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bpm") and node.module != "bpm.doors"
        for alias in node.names
    }
    (listed,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"
    ] or [[]]

    assert imported == set(listed)
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("room", sorted(rooms()))
def test_what_a_door_lists_can_be_taken(room: str) -> None:
    """Every name is there, and none is also that of a module, which Python would set in its place."""
    door = import_module(f"bpm.{room}")
    modules = {path.stem for path in (TOP / room).glob("*.py")}

    assert [] == [name for name in door.__all__ if not hasattr(door, name)]
    assert set() == {name for name in door.__all__ if not inspect.ismodule(getattr(door, name))} & modules
    with pytest.raises(AttributeError, match=f"module 'bpm.{room}' has no attribute 'nothing'"):
        door.nothing


@pytest.mark.parametrize("room", ["plan", "config"])
def test_rooms_that_compute_do_not_look(room: str) -> None:
    """config and plan import nothing that reads the machine or the clock."""
    found = [
        f"{path.name}:{line}: {module}"
        for path in (TOP / room).rglob("*.py")
        for line, module in imports_of(path)
        if module.split(".")[0] in IMPURE
    ]

    assert [] == found


@pytest.mark.parametrize("room", ["plan", "config"])
def test_rooms_that_compute_do_not_open(room: str) -> None:
    """Nor do they call open(), print(), input() or exec()."""
    calls = [
        f"{path.name}:{node.lineno}: {node.func.id}()"
        for path in (TOP / room).rglob("*.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in ("open", "print", "input", "exec", "eval", "__import__", "breakpoint")
    ]

    assert [] == calls


def test_nothing_dear_is_imported() -> None:
    """No module whose import costs more than what it would save."""
    found = [
        f"{path.relative_to(TOP)}:{line}: {module}"
        for path in sources()
        for line, module in imports_of(path)
        if module.split(".")[0] in DEAR and (room_of(path), module) not in WORTH_IT
    ]

    assert [] == found


RUNS_A_TOOL = r"system|popen|spawn[lv]p?e?|exec[lv]p?e?|fork|forkpty|run|Popen|call|check_\w+|get\w*output"


def test_nothing_on_the_way_runs_another_tool() -> None:
    """No file calls subprocess, of which the sandbox has the errors and constants, or os.system() and its like."""
    imports = [
        str(path.relative_to(TOP))
        for path in sources()
        for _, module in imports_of(path)
        if module == "subprocess" and room_of(path) != "sandbox"
    ]
    calls = [
        f"{path.relative_to(TOP)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in ("os", "subprocess")
        if re.fullmatch(RUNS_A_TOOL, node.attr)
    ]

    assert ([], []) == (imports, calls)


# C


def code_of(name: str) -> str:
    """A C file without its comments and string literals."""
    text = (NATIVE / name).read_text()
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = re.sub(r"__attribute__\(\(.*?\)\)", " ", text)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


def c_files() -> list[str]:
    return sorted(path.name for path in NATIVE.glob("*.c"))


def test_only_two_files_clone() -> None:
    """A child that shares memory is made in spawn.c and init.c, and nowhere else."""
    assert ["init.c", "spawn.c"] == [name for name in c_files() if "clone_onto_stack" in code_of(name)]


def test_nothing_forks_behind_the_clone() -> None:
    """No C file calls fork, vfork, clone, system or posix_spawn of libc."""
    called = {
        name: re.findall(r"\b(v?fork|clone|system|popen|posix_spawnp?|exec[lv]\w*)\s*\(", code_of(name))
        for name in c_files()
    }

    assert {name: [] for name in c_files()} == called


@pytest.mark.parametrize("name", ["child.c", "rootfs.c", "init.c", "kernel.h"])
def test_what_runs_in_the_child_includes_no_libc(name: str) -> None:
    """Only headers of the kernel and of the compiler, and our own."""
    headers = re.findall(r'^#\s*include\s+([<"][^>"]+[>"])', (NATIVE / name).read_text(), re.MULTILINE)
    compilers = {"<stddef.h>", "<stdint.h>"}
    foreign = [h for h in headers if not re.match(r'<(linux|asm|asm-generic)/|"', h) and h not in compilers]

    assert [] == foreign


@pytest.mark.parametrize("name", ["child.c", "rootfs.c"])
def test_what_shares_memory_never_changes_identity(name: str) -> None:
    """The child calls nothing that changes user or group, and allocates nothing."""
    calls = set(re.findall(r"\bkernel\(\s*(\w+)", code_of(name)))
    identity = {
        "setuid",
        "setgid",
        "setreuid",
        "setregid",
        "setresuid",
        "setresgid",
        "setgroups",
        "setfsuid",
        "setfsgid",
    }

    assert set() == calls & (identity | {"mmap", "brk", "munmap", "mremap", "seccomp"})
    assert [] == re.findall(r"\b(malloc|calloc|realloc|free|printf|snprintf|memcpy|memset|strlen)\s*\(", code_of(name))


def stages_of_table(name: str) -> list[str]:
    (table,) = re.findall(r"\bstages\[\]\s*=\s*\{(.*?)\n\};", code_of(name), re.DOTALL)
    return re.findall(r"\{\s*(BPM_STAGE_\w+)\s*,", table)


def stage_order() -> list[str]:
    (body,) = re.findall(r"enum bpm_stage \{(.*?)\}", code_of("abi.h"), re.DOTALL)
    return re.findall(r"(BPM_STAGE_\w+)\s*=", body)


@pytest.mark.parametrize("name", ["child.c", "init.c"])
def test_stage_tables_are_in_the_order_of_the_enum(name: str) -> None:
    """Numbers rise in the order in which stages are carried out."""
    table = stages_of_table(name)

    assert table == sorted(table, key=stage_order().index)
    assert len(table) > 2


def test_every_stage_is_carried_out_somewhere() -> None:
    """Each stage of the enum is in the child's table, or named by spawn.c or init.c."""
    named = set(stages_of_table("child.c"))
    named |= set(re.findall(r"BPM_STAGE_\w+", code_of("spawn.c") + code_of("init.c")))

    assert set(stage_order()) == named


def test_each_c_file_declares_what_others_use() -> None:
    """A function that is not static is declared in native.h or abi.h."""
    declared = set(re.findall(r"\b(bpm_\w+)\(", code_of("native.h") + code_of("abi.h")))
    defined = {
        function
        for name in c_files()
        for function in re.findall(r"^(?!static|\s|extern|__asm__).*?\b(\w+)\([^;]*\)\n\{", code_of(name), re.MULTILINE)
    }

    assert defined - {"memset", "memcpy", "bpm_init_main"} <= declared
