"""Creating, chmod-ing, chowning, opening and removing below directories that someone else can write."""

from bpm.safepath.operations import (
    chown_existing,
    make_directory,
    open_directory,
    open_log,
    open_source,
    read_file,
    remove_file,
    write_file,
)

__all__ = [
    "chown_existing",
    "make_directory",
    "open_directory",
    "open_log",
    "open_source",
    "read_file",
    "remove_file",
    "write_file",
]
