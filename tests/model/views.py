"""A mount table as mountinfo has it, of the model and of the kernel, in words that can be compared."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from attrs import frozen

from tests.inside import MountLine
from tests.model.linux import FLAGS
from tests.model.mounts import Mount, Namespace

Chain = tuple[str, ...]
"""Where a mount is: the mount points from the root to it. Of two at one path, one is below or upon the other."""


@frozen
class Line:
    """One mount.

    Args:
        root: What of its file system it shows.
        system, group, master: Who they are: by number, until they are compared.
    """

    root: str
    flags: frozenset[str]
    kind: str
    system: Hashable
    group: Hashable
    master: Hashable


Table = Mapping[Chain, Line]


def of_model(namespace: Namespace) -> Table:
    """All mounts of a namespace of the model."""
    table: dict[Chain, Line] = {}

    def tell(mount: Mount, target: str, above: Chain) -> None:
        chain = (*above, target)
        ids = (id(one) if one is not None else None for one in (mount.system, mount.group, mount.master))
        table[chain] = Line(mount.root.path, mount.flags, mount.system.kind, *ids)
        for child in mount.children:
            assert child.point is not None
            below = child.point.path[len(mount.root.path.rstrip("/")) :].strip("/")
            tell(child, posixpath.join(target, below) if below else target, chain)

    tell(namespace.root, "/", ())
    return table


def of_kernel(lines: Iterable[MountLine], top: str = "/") -> Table:
    """All mounts at and below a mount point of the kernel's."""
    known = {line.number: line for line in lines}
    chains: dict[int, Chain] = {}

    def chain(line: MountLine) -> Chain:
        """Nothing for what is mounted elsewhere."""
        if line.number not in chains:
            above = known.get(line.parent, line)
            outer = () if above is line else chain(above)
            if outer or line.target == top:
                chains[line.number] = (*outer, line.target[len(top.rstrip("/")) :] or "/")
            else:
                chains[line.number] = ()
        return chains[line.number]

    return {chain(line): _line(line) for line in known.values() if chain(line)}


def _line(line: MountLine) -> Line:
    numbers = dict(word.split(":") for word in line.propagation)
    flags = frozenset(line.options) & FLAGS.keys()
    return Line(line.root, flags, line.kind, line.device, numbers.get("shared"), numbers.get("master"))


def comparable(tables: Sequence[Table]) -> list[dict[Chain, Line]]:
    """The same tables, in which who is who is told by the first place where it appears, and no longer by number."""
    places = [(i, chain) for i, table in enumerate(tables) for chain in sorted(table)]

    def names(*tells: Callable[[Line], Hashable]) -> dict[Hashable, str]:
        found: dict[Hashable, str] = {None: ""}
        for number, tell in enumerate(tells):
            for i, chain in places:
                found.setdefault(tell(tables[i][chain]), f"{'of' if number == 0 else 'above'} {i} {' '.join(chain)}")
        return found

    systems = names(lambda line: line.system)
    groups = names(lambda line: line.group, lambda line: line.master)
    return [
        {
            chain: Line(line.root, line.flags, line.kind, systems[line.system], groups[line.group], groups[line.master])
            for chain, line in table.items()
        }
        for table in tables
    ]
