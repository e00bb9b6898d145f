"""Creating, chmod-ing, chowning, opening and removing below directories that someone else can write."""

from bpm.safepath.operations import (
    create_file,
    make_directory,
    open_directory,
    open_file,
    open_lock,
    open_log,
    open_source,
    read_file,
    remove_file,
    write_file,
)

__all__ = [
    "create_file",
    "make_directory",
    "open_directory",
    "open_file",
    "open_lock",
    "open_log",
    "open_source",
    "read_file",
    "remove_file",
    "write_file",
]
