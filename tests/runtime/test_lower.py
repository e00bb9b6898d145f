"""From words to numbers: no root, no files."""

from __future__ import annotations

import os

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings

from bpm._native import Step, StepKind
from bpm.config import JobConfig
from bpm.errors import PlanError
from bpm.plan import Capability, HostFacts, Mount, ProcessPlan, Rlimit, SharedVolume, Variable, Workdir, make_plan
from bpm.runtime.lower import NO_LIMIT, Descriptors, Source, candidates, capability_mask, lower, steps
from tests.runtime.conftest import plan_of
from tests.strategies import host_facts, job_configs

pytestmark = pytest.mark.same_everywhere

PLAIN = "processes: [{name: web, executable: /bin/true}]"
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8

DIRECTORY, FILE, NODE, LINK, FILESYSTEM, BIND = (StepKind(number) for number in range(1, 7))


def sources_of(plan: ProcessPlan, files: tuple[str, ...] = ()) -> tuple[Source | None, ...]:
    """What would be opened: the descriptor 100 + N for mount N."""
    return tuple(
        Source(100 + i, is_directory=mount.target not in files) if mount.kind == "bind" else None
        for i, mount in enumerate(plan.mounts)
    )


def lower_plan(plan: ProcessPlan) -> list[Step]:
    return list(steps(plan, sources_of(plan)))


def request_of(plan: ProcessPlan):
    return lower(plan, Descriptors((3, 4, 5), sources_of(plan), 6, (7, 8), 9), b"12345678", die_with_parent=True)


def step_at(plan: ProcessPlan, path: str, kind: StepKind) -> Step:
    (step,) = [s for s in lower_plan(plan) if s.path == path.lstrip("/").encode() and s.kind is kind]
    return step


# The root and what is in it


def test_the_root_comes_first():
    """The first step makes an empty root that only root may write to, for no mount of the plan."""
    root = Step(FILESYSTEM, -1, b"", source=b"tmpfs", options=((b"mode", b"0755"),))
    assert root == lower_plan(plan_of(PLAIN))[0]


def test_a_mount_at_the_root_is_the_root():
    """A volume mounted at / becomes the root itself, and nothing is ever created in it."""
    plan = plan_of("processes: [{name: web, executable: /x, unsafe: {unrestricted_volumes: [{path: /}]}}]")
    made = lower_plan(plan)
    item = next(i for i, mount in enumerate(plan.mounts) if mount.target == "/")
    assert (BIND, item, b"") == (made[0].kind, made[0].item, made[0].path)
    assert {b"dev"} == {s.path.split(b"/")[0] for s in made if s.kind in (DIRECTORY, FILE, NODE, LINK)}


def test_nodes_and_links_follow_their_mount():
    """The nodes and links of /dev are made right after /dev itself is mounted."""
    plan = plan_of(PLAIN)
    made = [(s.kind, s.path) for s in lower_plan(plan)]
    start = made.index((FILESYSTEM, b"dev")) + 1
    expected = [(NODE, n.path[1:].encode()) for n in plan.nodes] + [(LINK, k.path[1:].encode()) for k in plan.links]
    assert expected == made[start : start + len(expected)]


def test_a_node_has_its_device_number():
    """A node's number is what makedev(3) makes of major and minor."""
    step = step_at(plan_of(PLAIN), "/dev/null", NODE)
    assert (os.makedev(1, 3), 0o666) == (step.device, step.mode)


def test_parents_are_made_once():
    """Missing parents are made in the container's own root, each once, before what needs them."""
    made = [s.path for s in lower_plan(plan_of(PLAIN)) if s.kind is DIRECTORY]
    assert len(made) == len(set(made))
    assert (
        made.index(b"var") < made.index(b"var/vcap") < made.index(b"var/vcap/jobs") < made.index(b"var/vcap/jobs/web")
    )


def test_nothing_is_made_below_a_bind():
    """What a mount needs below a bind lies on the host, and is never made."""
    plan = plan_of("processes: [{name: web, executable: /x, unsafe: {unrestricted_volumes: [{path: /usr/a/b}]}}]")
    below = [s.kind for s in lower_plan(plan) if s.path.startswith(b"usr/a")]
    assert [BIND] == below


def test_a_target_is_cleaned():
    """A volume whose path has empty components and dots is mounted where they lead."""
    plan = plan_of("processes: [{name: web, executable: /x, unsafe: {unrestricted_volumes: [{path: //a/./b/}]}}]")
    assert [(DIRECTORY, b"a"), (DIRECTORY, b"a/b"), (BIND, b"a/b")] == [
        (s.kind, s.path) for s in lower_plan(plan) if s.path.startswith(b"a")
    ]


def test_a_file_is_mounted_on_a_file():
    """A file's mount point is an empty file."""
    plan = plan_of("processes: [{name: web, executable: /x, unsafe: {unrestricted_volumes: [{path: /run/s}]}}]")
    kinds = [s.kind for s in steps(plan, sources_of(plan, files=("/run/s",))) if s.path == b"run/s"]
    assert [FILE, BIND] == kinds


def test_a_missing_workdir_is_made_in_the_own_root():
    """A workdir that lies in the container's own root is made last, for no mount."""
    plan = evolve(plan_of(PLAIN), workdir=Workdir("/a/b", "processes[0].workdir"))
    assert [Step(DIRECTORY, -1, b"a", mode=0o755), Step(DIRECTORY, -1, b"a/b", mode=0o755)] == lower_plan(plan)[-2:]


def test_a_workdir_on_the_host_is_not_made():
    """A workdir below a bind is not made."""
    plan = evolve(plan_of(PLAIN), workdir=Workdir("/usr/none", "processes[0].workdir"))
    assert not [s for s in lower_plan(plan) if s.path == b"usr/none"]


# Options


def test_strict_options_are_set():
    """ro, noexec, nosuid and nodev are set, for everything below the mount."""
    step = step_at(plan_of(PLAIN), "/etc", BIND)
    assert (RDONLY | NOSUID | NODEV, NOEXEC) == (step.set_attributes, step.clear_attributes)


def test_loose_options_are_cleared():
    """rw and exec clear what the host's mount may have."""
    plan = plan_of(
        "processes: [{name: web, executable: /x, additional_volumes: "
        "[{path: /var/vcap/data/a, writable: true, allow_executions: true}]}]"
    )
    step = step_at(plan, "/var/vcap/data/a", BIND)
    assert (NOSUID | NODEV, RDONLY | NOEXEC, True) == (step.set_attributes, step.clear_attributes, step.recursive)


def test_a_plain_bind_leaves_what_is_below():
    """bind brings only the mount itself, rbind what is mounted below it too."""
    made = plan_of(PLAIN)
    assert (False, True) == (step_at(made, "/usr", BIND).recursive, step_at(made, "/tmp", BIND).recursive)


def test_other_words_go_to_the_file_system():
    """What is no option of mounts is given to the file system, as a pair or as a flag; first its name in mountinfo."""
    step = step_at(plan_of(PLAIN), "/dev/pts", FILESYSTEM)
    modes = ((b"ptmxmode", b"0666"), (b"mode", b"0620"), (b"gid", b"5"))
    options = ((b"source", b"devpts"), (b"newinstance", None), *modes)
    assert (b"devpts", options, NOSUID | NOEXEC) == (step.source, step.options, step.set_attributes)


def test_an_unknown_option_is_refused():
    """A word that bpm does not know is refused for a bind, with its key."""
    plan = evolve(plan_of(PLAIN), mounts=(Mount("/x", "/x", "bind", ("bind", "sync"), "the key"),))
    with pytest.raises(PlanError) as caught:
        lower_plan(plan)
    assert ("the key", "unknown mount option: sync") == (caught.value.key, caught.value.reason)


# The rest of the request


def test_descriptors_are_handed_on():
    """What was opened for the spawn is in the request."""
    request = request_of(plan_of(PLAIN))
    assert ((3, 4, 5), 6, (7, 8), 9) == (request.stdio, request.cgroup_fd, request.cgroup_tasks, request.exit_fd)
    assert (b"12345678", True) == (request.filter, request.die_with_parent)


def test_namespaces_are_flags():
    """Mount, ipc, uts and pid namespaces are CLONE_NEW* flags; the host's pid namespace leaves one out."""
    shared = "processes: [{name: web, executable: /x, unsafe: {host_pid_namespace: true}}]"
    assert 0x2C020000 == request_of(plan_of(PLAIN)).namespaces
    assert 0x0C020000 == request_of(plan_of(shared)).namespaces


def test_capabilities_are_bits():
    """A capability is the bit of its number in all five sets."""
    plan = plan_of("processes: [{name: web, executable: /x, capabilities: [NET_BIND_SERVICE, SYS_TIME]}]")
    request = request_of(plan)
    mask = 1 << 10 | 1 << 25
    assert (mask,) * 4 == (request.bounding, request.permitted, request.inheritable, request.ambient)


def test_an_unknown_capability_is_refused():
    """A capability without a number is refused with its key."""
    plan = evolve(plan_of(PLAIN), capabilities=(Capability("FLY", "processes[0].capabilities[0]"),))
    with pytest.raises(PlanError, match="unknown capability: FLY"):
        capability_mask(plan)


def test_limits_have_numbers():
    """Resource limits go by their number, and -1 is no limit."""
    plan = evolve(plan_of(PLAIN), rlimits=(Rlimit("RLIMIT_NOFILE", 10, 20, "a"), Rlimit("RLIMIT_CORE", -1, -1, "b")))
    assert ((7, 10, 20), (4, NO_LIMIT, NO_LIMIT)) == request_of(plan).rlimits


def test_covers_are_numbered_through():
    """Masked paths come first, read-only ones after them, numbered through."""
    plan = plan_of(PLAIN)
    covers = request_of(plan).covers
    assert list(range(len(plan.masked) + len(plan.read_only))) == [cover.item for cover in covers]
    assert [False] * len(plan.masked) + [True] * len(plan.read_only) == [cover.read_only for cover in covers]


@pytest.mark.parametrize("place", ["argv", "env", "workdir", "hostname"])
def test_a_nul_byte_is_refused(place: str):
    """A NUL byte, at which the kernel would stop reading, is refused wherever it is."""
    changes = {
        "argv": ("/x", "a\0b"),
        "env": (Variable("A", "b\0c", "env.A"),),
        "workdir": Workdir("/a\0", "workdir"),
        "hostname": "a\0b",
    }
    with pytest.raises(PlanError, match="NUL"):
        request_of(evolve(plan_of(PLAIN), **{place: changes[place]}))


def test_bytes_that_are_no_text_survive():
    """A file name that is no UTF-8 reaches the kernel as it is."""
    plan = evolve(plan_of(PLAIN), argv=("/x", os.fsdecode(b"\xff\xfe")))
    assert (b"/x", b"\xff\xfe") == request_of(plan).argv


# The program


def candidates_for(program: str, path: str | None) -> tuple[bytes, ...]:
    env = () if path is None else (Variable("PATH", path, "env.PATH"),)
    return candidates(evolve(plan_of(PLAIN), argv=(program,), env=env))


@pytest.mark.parametrize(
    ("program", "path", "expected"),
    [
        ("/bin/x", "/a:/b", (b"/bin/x",)),
        ("bin/x", "/a:/b", (b"bin/x",)),
        ("x", "/a:/b/", (b"/a/x", b"/b/x")),
        ("x", "/a::.", (b"/a/x", b"x", b"./x")),
        ("x", "", (b"x",)),
        ("x", None, (b"/bin/x", b"/usr/bin/x")),
    ],
)
def test_candidates_are_those_of_execvp(program: str, path: str | None, expected: tuple[bytes, ...]):
    """A program without a slash is looked for in PATH; an empty entry is the working directory."""
    assert expected == candidates_for(program, path)


# Any plan


def plan_or_none(config: JobConfig, host: HostFacts, index: int = 0) -> ProcessPlan | None:
    try:
        return make_plan(config, config.processes[index], host)
    except (PlanError, IndexError):
        return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(job_configs(), host_facts())
def test_any_plan_can_be_lowered(config: JobConfig, host: HostFacts):
    """Every plan becomes a request: nothing is made on the host, and every parent is there before its child."""
    plan = plan_or_none(config, host)
    if plan is None:
        return
    request = request_of(plan)
    own = {b""} if "/" not in {mount.target for mount in plan.mounts} else set()
    names = {b""}
    targets = set()
    for step in request.steps:
        parent = step.path.rpartition(b"/")[0]
        if step.kind in (FILESYSTEM, BIND):
            targets.add(step.path)
            own.discard(step.path)
            if step.source == b"tmpfs":
                own.add(step.path)
            continue
        home = max((t for t in targets if t == b"" or (parent + b"/").startswith(t + b"/")), key=len)
        assert home in own
        assert parent in names or parent in targets
        names.add(step.path)
    assert len(plan.mounts) == len([s for s in request.steps if s.item >= 0 and s.kind in (FILESYSTEM, BIND)])


def test_a_shared_volume_is_a_bind_like_any_other():
    """Whether a volume is shared is prepared on the host, and changes nothing in the request."""
    plan = plan_of("processes: [{name: web, executable: /x, additional_volumes: [{path: /var/vcap/data/a}]}]")
    shared = evolve(plan, preparation=evolve(plan.preparation, shared_volumes=(SharedVolume("/var/vcap/data/a", "k"),)))
    assert lower_plan(plan) == lower_plan(shared)


@pytest.mark.parametrize("target", ["/a/../b//c/", "//b/./c", "b/c", "/../b/c"])
def test_a_target_means_what_it_means_inside(target: str):
    """However a target is written, it starts at the container's root, and its parents are made there."""
    plan = plan_of(PLAIN)
    plan = evolve(plan, mounts=(*plan.mounts, Mount(target, "/usr", "bind", ("bind",), "the key")))
    made = [step.path for step in lower_plan(plan) if step.path.startswith((b"b", b"a", b"."))]
    assert [b"b", b"b/c", b"b/c"] == [path for path in made if path != b"bin"]
