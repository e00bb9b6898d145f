"""Paths as text: the one spelling that bpm.yml may use for a path."""

from __future__ import annotations


def clean_path(path: str) -> str:
    """The shortest path that means the same without looking at any file, as Go's ``filepath.Clean`` has it.

    Runs of ``/`` become one, ``.`` goes, ``..`` takes the name before it away (at the root it is the root), and
    a closing ``/`` goes; nothing at all is ``.``. Unlike ``posixpath.normpath``, a leading ``//`` is one ``/`` too.
    """
    rooted = path.startswith("/")
    kept: list[str] = []
    for name in path.split("/"):
        if name == ".." and kept and kept[-1] != "..":
            kept.pop()
        elif name == ".." and rooted:
            continue
        elif name not in ("", "."):
            kept.append(name)
    return ("/" if rooted else "") + "/".join(kept) or "."


def is_below(path: str, directory: str) -> bool:
    """Whether a clean path lies strictly below a clean directory, by their names alone."""
    return path.startswith(directory.rstrip("/") + "/") and path != directory
