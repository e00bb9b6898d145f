"""What is remarkable about the mounts of a plan: those that are not made, that hide others, that change nothing."""

from __future__ import annotations

from collections.abc import Iterator

from bpm.config import ProcessConfig, clean_path, codes, is_below
from bpm.errors import Problem
from bpm.plan import MOUNTED_ALREADY, HostFacts, Mount, ProcessPlan

# More mounts than these from one pattern are seldom meant, and slow every start.
MANY_MATCHES = 100


def lint_mounts(plan: ProcessPlan) -> Iterator[Problem]:
    """Each Problem has its key and its code, and no place."""
    yield from find_dropped(plan)
    asked = [mount for mount in plan.mounts if is_volume(mount)]
    for mount in asked:
        yield from find_hidden(plan, mount)
        yield from find_redundant(plan, mount)


def is_volume(mount: Mount) -> bool:
    """Whether an entry of a list of volumes asked for it."""
    return "volumes[" in mount.because


def find_dropped(plan: ProcessPlan) -> Iterator[Problem]:
    """Volumes that were asked for and are not mounted."""
    for dropped in plan.dropped:
        mount = dropped.mount
        if not is_volume(mount):
            continue
        if dropped.reason == MOUNTED_ALREADY:
            first = next(made for made in plan.mounts if _clean(made) == _clean(mount))
            reason = f"{mount.target} is mounted already (because {first.because}), and this entry changes nothing"
            if first.options != mount.options:
                reason += f": it stays {_access(first)}"
            yield Problem(reason, mount.because, code=codes.DUPLICATE_VOLUME)
        else:
            reason = f"{mount.target} is not mounted: it lies {dropped.reason}"
            yield Problem(reason, mount.because, code=codes.DROPPED_VOLUME)


def find_hidden(plan: ProcessPlan, volume: Mount) -> Iterator[Problem]:
    """Mounts of others in whose place a volume stands, or below which it shows something else than they would."""
    place = _clean(volume)
    for other in plan.mounts:
        if other is volume:
            continue
        if _clean(other) == place and other.kind != "bind":
            reason = f"it hides the container's own {place}, and everything that bpm makes there"
            yield Problem(reason, volume.because, code=codes.HIDING_VOLUME)
        elif is_below(place, _clean(other)) and other.kind == "bind" and _shows(other, place) != volume.source:
            there = _shows(other, place)
            reason = f"it hides what {_clean(other)} (because {other.because}) shows there: {there}"
            yield Problem(reason, volume.because, code=codes.HIDING_VOLUME)


def find_redundant(plan: ProcessPlan, volume: Mount) -> Iterator[Problem]:
    """A volume that shows what a mount above it shows there anyway, in the same way."""
    place = _clean(volume)
    above = [mount for mount in plan.mounts if is_below(place, _clean(mount))]
    nearest = max(above, key=lambda mount: len(_clean(mount)), default=None)
    if nearest is None or nearest.kind != "bind" or _shows(nearest, place) != volume.source:
        return
    if nearest.options == volume.options:
        reason = f"{place} is {_access(nearest)} already, as a part of {_clean(nearest)} (because {nearest.because})"
        yield Problem(reason, volume.because, code=codes.REDUNDANT_VOLUME)


def lint_globs(process: ProcessConfig, key: str, facts: HostFacts) -> Iterator[Problem]:
    """Patterns that match nothing, or more than anyone meant."""
    for index, volume in enumerate(process.unsafe.unrestricted_volumes):
        path, entry = volume.path, f"{key}.unsafe.unrestricted_volumes[{index}]"
        count = len(facts.matches(path))
        if not count:
            what = "no path matches" if set(path) & set("*?[") else "there is nothing at"
            yield Problem(f"{what} {path}, so nothing is mounted", entry, code=codes.EMPTY_GLOB)
        elif count > MANY_MATCHES:
            yield Problem(f"{count} paths match {path}, and each is a mount", entry, code=codes.WIDE_GLOB)


def _shows(mount: Mount, place: str) -> str:
    """What a bind shows at a place below its own."""
    return clean_path(f"{mount.source}/{place[len(_clean(mount)) :]}")


def _clean(mount: Mount) -> str:
    return clean_path("/" + mount.target)


def _access(mount: Mount) -> str:
    words = ["writable" if "rw" in mount.options else "read-only"]
    words.append("executable" if "exec" in mount.options else "not executable")
    return " and ".join(words)
