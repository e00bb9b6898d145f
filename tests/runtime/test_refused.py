"""In a container that refuses system calls, as Docker's default profile does: the error names the call.

The filters are real. They are loaded in a fork of this process, which then starts, looks after or stops a container.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from collections.abc import Callable

import pytest

from bpm import BpmError, HostError, JobProcess, Sandbox
from bpm._native import binding
from bpm.host.kernel import CALLS
from tests.native.callers import MS_BIND, in_child, mount, refuse_call, with_own_mounts

pytestmark = pytest.mark.needs_root

MS_RDONLY, MS_REMOUNT = 1, 32

Make = Callable[..., JobProcess]

# A start has no use for the first two, since its pidfd comes with the clone; the others are for visitors and templates.
LATER = {"pidfd_open", "pidfd_send_signal"}
ELSEWHERE = {"setns", "unshare"}

REFUSALS = pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS], ids=lambda number: errno.errorcode[number])


@pytest.fixture
def refused() -> Callable[[str, int, Callable[[], object]], str]:
    """What an action says that fails where a call is answered with an errno."""

    def attempt(name: str, number: int, action: Callable[[], object]) -> str:
        def act() -> str:
            binding._init = None  # as in a process that never spawned
            refuse_call(name, number)
            try:
                action()
            except BpmError as error:
                return str(error)
            return ""

        return in_child(act)

    return attempt


@REFUSALS
@pytest.mark.parametrize("name", sorted({call.name for call in CALLS} - LATER - ELSEWHERE))
def test_a_start_names_the_call(web: Make, refused: Callable, name: str, number: int) -> None:
    """A start that is refused a call names it, with the answer, and leaves nothing."""
    process = web("exit 0")
    said = refused(name, number, process.start)

    assert f"{name}(2) is refused here ({errno.errorcode[number]})" in said
    assert "stopped" == process.status().state


@REFUSALS
@pytest.mark.parametrize("name", sorted(LATER))
def test_a_stop_names_the_call(web: Make, refused: Callable, name: str, number: int) -> None:
    """A stop that is refused a call names it, and what runs goes on."""
    process = web("sleep 100")
    process.start().close()
    said = refused(name, number, process.stop)

    assert f"{name}(2) is refused here ({errno.errorcode[number]})" in said
    assert "running" == process.status().state
    process.stop()


@REFUSALS
def test_an_entry_names_the_call(web: Make, refused: Callable, number: int) -> None:
    """Who cannot enter a container's namespaces is told by which call."""
    process = web("sleep 100")
    with process.start() as container:
        said = refused("setns", number, lambda: container.enter(["/bin/true"], (0, 1, 2)))

    assert f"setns(2) is refused here ({errno.errorcode[number]})" in said


@REFUSALS
def test_a_signal_to_a_visitor_names_the_call(web: Make, refused: Callable, number: int) -> None:
    """Who cannot tell a visitor to end is told why; the visitor goes on."""
    process = web("sleep 100")
    null = os.open(os.devnull, os.O_RDWR)
    try:
        with process.start() as container, container.enter(["/bin/sleep", "100"], (null, null, null)) as visitor:
            said = refused("pidfd_send_signal", number, lambda: visitor.signal(signal.SIGTERM))
            running = visitor.running
            visitor.signal(signal.SIGTERM)
            visitor.wait(10)
    finally:
        os.close(null)

    assert f"pidfd_send_signal(2) is refused here ({errno.errorcode[number]})" in said
    assert running


@REFUSALS
def test_a_signal_to_a_sandbox_names_the_call(refused: Callable, number: int) -> None:
    """So is who cannot end a sandboxed program, which ends with its caller."""
    said = refused("pidfd_send_signal", number, lambda: Sandbox.system().popen(["sleep", "100"]).kill())

    assert f"pidfd_send_signal(2) is refused here ({errno.errorcode[number]})" in said


@REFUSALS
def test_the_timeout_of_a_sandbox_names_the_call(number: int) -> None:
    """Where time is up and nothing can be done, that is the error, and the pipes are closed."""

    def act() -> tuple[str, list[str]]:
        sandbox = Sandbox.system()
        sandbox.run(["true"])
        refuse_call("pidfd_send_signal", number)
        before = open_files()
        with pytest.raises(HostError) as raised:
            sandbox.run(["sleep", "100"], capture_output=True, timeout=0.2)
        return str(raised.value), sorted(open_files() - before)

    said, left = in_child(act)

    assert f"pidfd_send_signal(2) is refused here ({errno.errorcode[number]})" in said
    assert [name for name in left if "pidfd" not in name] == []


def open_files() -> Counter[str]:
    """What our descriptors lead to."""
    names = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return Counter(os.readlink(name) for name in names if os.path.lexists(name))


@REFUSALS
def test_a_template_names_the_call(refused: Callable, number: int) -> None:
    """A prepared sandbox, which starts from a template, is no different."""
    said = refused("unshare", number, lambda: Sandbox.system().prepare().run(["true"]))

    assert f"unshare(2) is refused here ({errno.errorcode[number]})" in said


def test_a_masked_proc_does_no_harm(web: Make) -> None:
    """In a container that hides and write-protects parts of /proc, as Docker does, root starts and stops as ever."""
    process = web("cat /proc/self/status; sleep 100")

    def live() -> tuple[bool, bool]:
        with_own_mounts()
        for path in filter(os.path.exists, ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/kallsyms")):
            mount(b"/dev/null", path, flags=MS_BIND)
        mount(b"/proc/sys", "/proc/sys", flags=MS_BIND)
        mount(b"none", "/proc/sys", flags=MS_REMOUNT | MS_BIND | MS_RDONLY)
        mount(b"tmpfs", "/proc/irq", b"tmpfs", MS_RDONLY)
        with process.start() as container:
            return container.running, process.report().usage is not None

    assert (True, True) == in_child(live)
