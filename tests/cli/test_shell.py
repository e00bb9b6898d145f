"""`bpm shell`: a second program in a running container, at a terminal of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bpm import Environment, NotRunning, UnsafePathError, Visitor
from bpm.runtime import visit
from tests.cli.conftest import CommandLine
from tests.cli.test_commands import wait_until
from tests.cli.typist import Typist
from tests.effort import times

pytestmark = pytest.mark.needs_root

SLEEPER = """
processes:
- name: web
  executable: /bin/sleep
  args: [1000]
  env: {COLOUR: blue, TERM: of the config}
  capabilities: [NET_BIND_SERVICE]
  limits: {open_files: 77, memory: 200M, processes: 40}
"""

PROMPT = r"\S+[$#] "


def environment_of(bpm: CommandLine) -> Environment:
    return Environment(str(bpm.root.path), bpm.environment["BPM_USER"])


@pytest.fixture
def web(bpm: CommandLine) -> CommandLine:
    """bpm, with the job ``web`` running."""
    bpm.root.add_job("web", SLEEPER)
    assert 0 == bpm("start", "web").returncode
    return bpm


@contextmanager
def shell(bpm: CommandLine, *words: str, **size: int) -> Iterator[Typist]:
    """A shell in ``web``, with its prompt shown."""
    with Typist(bpm.argv("shell", "web", *words), {**bpm.environment, "TERM": "vt220"}, **size) as typist:
        typist.read_until(PROMPT)
        # Its marks stand at the beginning of lines.
        typist.type("bind 'set enable-bracketed-paste off'\n")
        typist.read_until(PROMPT)
        yield typist


# Everything that is executed is held up for a tenth of a second, just before it is.
SLOWED = ("strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=execve", "-e", "inject=execve:delay_enter=100000")


def script(
    bpm: CommandLine, text: str, job: str = "web", under: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """What a shell whose stdin is a pipe makes of a text; all of it a child of the program ``under``."""
    return subprocess.run(
        [*under, *bpm.argv("shell", job)],
        env=bpm.environment,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def look(bpm: CommandLine, look_at: Callable[[int], object]) -> object:
    """What there is to see of the program of ``web``, by its pid."""
    container = environment_of(bpm).process("web").running()
    try:
        assert container.program is not None
        return look_at(container.program)
    finally:
        container.close()


def status_of(text: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


# What it is


def test_it_has_the_namespaces_and_cgroup_of_the_container(web: CommandLine) -> None:
    """All namespaces of the shell, and its cgroups, are the program's."""
    kinds = ("ipc", "mnt", "net", "pid", "uts", "user", "cgroup")

    def namespaces(pid: int) -> list[str]:
        return [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]

    done = script(web, "".join(f"readlink /proc/self/ns/{kind}\n" for kind in kinds) + "cat /proc/self/cgroup\n")
    lines = done.stdout.splitlines()

    assert look(web, namespaces) == lines[: len(kinds)]
    assert look(web, lambda pid: Path(f"/proc/{pid}/cgroup").read_text().splitlines()) == lines[len(kinds) :]


def test_it_is_no_more_than_the_program(web: CommandLine) -> None:
    """User, group, groups, the five capability sets, no_new_privs, and the filter are the program's."""
    fields = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    fields += ("Seccomp_filters",)

    mine = status_of(script(web, "exec cat /proc/self/status\n").stdout)
    theirs = look(web, lambda pid: status_of(Path(f"/proc/{pid}/status").read_text()))

    assert isinstance(theirs, dict)
    assert {name: theirs[name] for name in fields} == {name: mine[name] for name in fields}
    assert "0000000000000400" == mine["CapEff"]


def test_it_is_filtered(web: CommandLine) -> None:
    """A forbidden system call is refused in the shell, too."""
    done = script(web, "unshare --user true; echo $?\n")

    assert ("1\n", True) == (done.stdout, "Operation not permitted" in done.stderr)


def test_it_has_the_programs_limits_and_environment(web: CommandLine) -> None:
    """Limits, directory and variables are the program's; TERM is the caller's, and nothing else of the caller's."""
    done = script(web, "ulimit -n; pwd; exec env\n")
    lines = done.stdout.splitlines()

    assert ["77", "/var/vcap/jobs/web"] == lines[:2]
    assert "TERM=of the config" in lines
    assert "COLOUR=blue" in lines
    assert not [line for line in lines if line.startswith(("BPM_", "PYTHON"))]


def test_a_privileged_container_has_a_privileged_shell(bpm: CommandLine) -> None:
    """Root, and no filter, where the process is so."""
    bpm.root.add_job(
        "web", "processes: [{name: web, executable: /bin/sleep, args: [1000], unsafe: {privileged: true}}]"
    )
    assert 0 == bpm("start", "web").returncode

    mine = status_of(script(bpm, "exec cat /proc/self/status\n").stdout)

    assert ("0\t0\t0\t0", "0", "0") == (mine["Uid"], mine["Seccomp"], mine["NoNewPrivs"])


@pytest.mark.same_everywhere
def test_it_is_what_was_started(web: CommandLine) -> None:
    """A bpm.yml that was changed since the start, or broken, changes nothing of the shell."""
    (web.root.path / "jobs/web/config/bpm.yml").write_text("{{")

    assert "blue\n" == script(web, "echo $COLOUR\n").stdout


@pytest.mark.parametrize("keys", ["", "unsafe: {host_pid_namespace: true}"])
def test_the_host_pid_namespace_is_shared(bpm: CommandLine, keys: str) -> None:
    """With host_pid_namespace the shell sees the host's processes, without it the container's alone."""
    bpm.root.add_job("web", f"processes:\n- name: web\n  executable: /bin/sleep\n  args: [1000]\n  {keys}\n")
    assert 0 == bpm("start", "web").returncode

    done = script(bpm, "cat /proc/1/comm\n")

    assert ("bpm-init\n" if not keys else Path("/proc/1/comm").read_text()) == done.stdout


# Without a terminal


def test_without_a_terminal_it_reads_its_input(web: CommandLine) -> None:
    """With stdin a pipe, streams are kept apart, nothing said after its end is lost, the status is the shell's."""
    done = script(web, "echo out; echo err >&2; sleep 0.3; tty; seq 100000; exit 9\n")

    assert (9, "err\n") == (done.returncode, done.stderr)
    assert "out\nnot a tty\n" + "".join(f"{i}\n" for i in range(1, 100001)) == done.stdout


@pytest.mark.same_everywhere
def test_much_input_and_much_output_do_not_block_one_another(web: CommandLine) -> None:
    """Megabytes go in and out at once."""
    text = "x" * 99 + "\n"
    done = script(web, "exec cat\n" + text * 50_000)

    assert (0, 50_000) == (done.returncode, done.stdout.count(text))


def test_no_descriptor_of_the_caller_gets_in(web: CommandLine) -> None:
    """A directory of the host as stdin, and a file as stdout, are not what the shell has."""
    with opened("/") as directory:
        done = subprocess.run(
            web.argv("shell", "web"), env=web.environment, stdin=directory, capture_output=True, check=False
        )
    links = script(web, "readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2\n").stdout.splitlines()

    assert b"" == done.stdout
    assert ["pipe"] * 3 == [link.split(":")[0] for link in links]


@contextmanager
def opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.mark.same_everywhere
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it(web: CommandLine, number: int) -> None:
    """A signal to bpm shell ends the shell as well, and bpm ends as one killed by it."""
    with subprocess.Popen(
        web.argv("shell", "web"), env=web.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdin is not None and running.stdout is not None
        running.stdin.write(b"echo here; sleep 1000\n")
        running.stdin.flush()
        assert b"here\n" == running.stdout.readline()
        running.send_signal(number)

        assert 128 + number == running.wait(10)


# At a terminal


def test_it_has_a_terminal_of_its_own(web: CommandLine) -> None:
    """Its terminal is in the container's /dev/pts, the program's user's, its controlling one, and not the caller's."""
    user = pwd.getpwnam(web.environment["BPM_USER"])
    with shell(web) as typist:
        assert typist.ask("echo $TERM.", r"^vt220\.\r")
        assert typist.ask("tty", r"^/dev/pts/0\r")
        assert typist.ask("stat -c owner=%u-%t:%T /dev/pts/0", rf"^owner={user.pw_uid}-88:0\r")
        assert typist.ask("echo x > /dev/tty && echo y > /dev/pts/0; echo z", r"^x\r\ny\r\nz\r")
        typist.type("exit\n")

        assert 0 == typist.wait()


@pytest.mark.same_everywhere
def test_its_window_has_the_callers_size(web: CommandLine) -> None:
    """The size is right from the first moment, and follows the caller's window."""
    with shell(web, rows=33, columns=111) as typist:
        assert typist.ask("stty size", r"^33 111\r")
        typist.type("trap 'echo new size' WINCH\n")
        typist.read_until(PROMPT)
        typist.resize(44, 99)
        wait_until(lambda: typist.ask("stty size", r"^(\d+ \d+)\r")[1] == "44 99", "the size has arrived")


@pytest.mark.same_everywhere
def test_job_control_works(web: CommandLine) -> None:
    """Ctrl-Z stops the foreground, fg resumes it, Ctrl-C ends it, and the shell remains."""
    with shell(web) as typist:
        assert "no job control" not in typist.seen.decode()
        # What is typed before the shell has put its terminal back in order is nobody's.
        typist.ask("echo $((2+2)); cat", r"^4\r\n")
        typist.ask("echoed", r"^echoed\r\nechoed\r")
        typist.type("\x1a")
        typist.read_until(r"Stopped\s+echo.*cat|Stopped\s+cat")
        typist.ask("jobs; echo $((20+3))", r"^23\r")
        typist.ask("fg", r"^cat\r")
        typist.ask("again", r"^again\r\nagain\r")
        typist.type("\x03")
        typist.read_until(PROMPT)
        typist.ask("echo status=$?", r"^status=130\r")


@pytest.mark.same_everywhere
@pytest.mark.parametrize(("ending", "status"), [("exit 7", 7), ("kill -9 $$", 137), ("false\n\x04", 1)])
def test_its_status_is_the_shells(web: CommandLine, ending: str, status: int) -> None:
    """bpm shell ends as the shell does, and says nothing of its own."""
    with shell(web) as typist:
        typist.type(ending + "\n")

        assert status == typist.wait()
        assert "Error" not in typist.seen.decode()


@pytest.mark.same_everywhere
def test_the_callers_terminal_is_given_back(web: CommandLine) -> None:
    """Raw meanwhile, afterwards the caller's terminal has its own modes, also when a signal ended it."""
    with shell(web) as typist:
        raw = termios.tcgetattr(typist.terminal)
        typist.type("exit\n")
        typist.wait()
        after = termios.tcgetattr(typist.terminal)
    with shell(web) as typist:
        typist.process.send_signal(signal.SIGTERM)
        status = typist.wait()
        after_signal = termios.tcgetattr(typist.terminal)

    assert not raw[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
    assert typist.modes == after == after_signal
    assert 128 + signal.SIGTERM == status


@pytest.mark.parametrize("how", ["hang up", "kill"])
def test_what_it_ran_ends_with_the_window(web: CommandLine, how: str) -> None:
    """When the caller's terminal is closed, or bpm killed, the shell and its foreground end."""

    def count() -> int:
        container = environment_of(web).process("web").running()
        try:
            return len(container._group.processes())
        finally:
            container.close()

    before = count()
    with shell(web) as typist:
        typist.type("sleep 1234\n")
        wait_until(lambda: count() == before + 3, "init, shell and sleep are there")
        if how == "kill":
            typist.process.kill()
        else:
            typist.hang_up()
        wait_until(lambda: count() == before, "all three have gone")


def test_the_end_of_the_container_ends_it(web: CommandLine) -> None:
    """stop is not held up by a shell, and the shell is gone with the container."""
    with shell(web) as typist:
        assert 0 == web("stop", "web").returncode

        assert 128 + signal.SIGKILL == typist.wait()


def test_nothing_is_left(web: CommandLine) -> None:
    """After shells, the container has the processes it had, and no file more is in /dev/pts."""
    directory = environment_of(web).records.layout.state
    files = sorted(os.listdir(directory))
    for _ in range(times(3)):
        assert 0 == script(web, "true\n").returncode
        with shell(web) as typist:
            typist.type("exit\n")
            assert 0 == typist.wait()

    assert ["ptmx\n", "2\n"] == script(web, "ls /dev/pts; ls -d /proc/[12] | wc -l\n").stdout.splitlines(keepends=True)
    assert files == sorted(os.listdir(directory))


# Attacks


def test_a_planted_terminal_is_refused(bpm: CommandLine) -> None:
    """A container in whose /dev/pts something else stands for ptmx is given no terminal; nothing there is opened."""
    bpm.root.add_job(
        "web",
        "processes:\n- name: web\n  executable: /bin/bash\n  args: [-c, '"
        "umount /dev/pts && ln -s /dev/console /dev/pts/ptmx; echo ready; exec sleep 1000']\n"
        "  unsafe: {privileged: true}\n",
    )
    assert 0 == bpm("start", "web").returncode
    wait_until(lambda: (bpm.root.path / "sys/log/web/web.stdout.log").read_text(), "it is planted")
    with Typist(bpm.argv("shell", "web"), bpm.environment) as typist:
        assert 1 == typist.wait()

        assert "Error: failed to open a shell: refusing /proc/" in typist.seen.decode()
        assert typist.modes == termios.tcgetattr(typist.terminal)


@pytest.mark.same_everywhere
@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        ("mount -t tmpfs x /dev/pts && mknod /dev/pts/ptmx c 5 2", "on no devpts"),
        ("mount -t tmpfs x /dev/pts && mknod /dev/pts/ptmx c 1 3", "not the pseudoterminal multiplexer"),
        ("mount -t tmpfs x /dev/pts && mkfifo /dev/pts/ptmx", "not the pseudoterminal multiplexer"),
        ("mount -t tmpfs x /dev/pts && ln -s /dev/ptmx /dev/pts/ptmx", "not the pseudoterminal multiplexer"),
        ("mount -t tmpfs x /dev && ln -s / /dev/pts", "Not a directory"),
    ],
)
def test_another_device_is_refused(bpm: CommandLine, plant: str, reason: str) -> None:
    """What is no devpts, no multiplexer, or a link, is not opened."""
    bpm.root.add_job(
        "web",
        f"processes:\n- name: web\n  executable: /bin/bash\n  args: [-c, '{plant}; echo ready; exec sleep 1000']\n"
        "  unsafe: {privileged: true}\n",
    )
    assert 0 == bpm("start", "web").returncode
    wait_until(lambda: (bpm.root.path / "sys/log/web/web.stdout.log").read_text(), "it is planted")
    container = environment_of(bpm).process("web").running()
    try:
        with pytest.raises(UnsafePathError, match=reason):
            container.open_channel(terminal=True)
    finally:
        container.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
def test_nothing_inside_reaches_who_joins(bpm: CommandLine) -> None:
    """While shells join, nobody inside sees a directory of the host in any /proc/PID/fd, or can trace who joins."""
    watcher = (
        "import os, stat\n"
        "print('ready', flush=True)\n"
        "seen = 0\n"
        "while True:\n"
        "    for pid in [n for n in os.listdir('/proc') if n.isdigit() and int(n) > 2]:\n"
        "        try:\n"
        "            with open(f'/proc/{pid}/comm') as file: comm = file.read().strip()\n"
        "            if comm == 'bpm-init':\n"
        "                seen += 1\n"
        "                if seen == 1: print('joiner', flush=True)\n"
        "        except OSError: pass\n"
        "        try:\n"
        "            exe = os.readlink(f'/proc/{pid}/exe')\n"  # as ptrace(2), only of those who may be traced
        "            if 'bash' not in exe: print('open', exe, flush=True)\n"
        "            for fd in os.listdir(f'/proc/{pid}/fd'):\n"
        "                if stat.S_ISDIR(os.stat(f'/proc/{pid}/fd/{fd}').st_mode):\n"
        "                    print('directory', comm, fd, os.readlink(f'/proc/{pid}/fd/{fd}'), flush=True)\n"
        "        except OSError: pass\n"
    )
    job = bpm.root.add_job("web", "processes: [{name: web, executable: /usr/bin/python3, args: [bin/watcher.py]}]\n")
    (job / "bin/watcher.py").write_text(watcher)
    assert 0 == bpm("start", "web").returncode
    log = bpm.root.path / "sys/log/web/web.stdout.log"
    wait_until(lambda: log.read_text(), "it watches")
    for under in (*[()] * times(20), SLOWED):
        assert 0 == script(bpm, "true\n", under=under).returncode

    # It did see one of those who joined, before it had become the shell.
    assert ["joiner"] == log.read_text().splitlines()[1:]


@pytest.mark.same_everywhere
def test_only_what_root_wrote_is_joined(web: CommandLine) -> None:
    """A record that others could have written, or one of another boot or another process, is not followed."""
    environment = environment_of(web)
    records = environment.records
    path = Path(records.state_file("bpm-web"))
    genuine = path.read_text()
    state = records.read("bpm-web")
    assert state is not None
    pid = os.getpid()
    forged = {
        "boot": genuine.replace(state.boot_id, "0" * len(state.boot_id)),
        "pid": genuine.replace(f'"pid":{state.pid}', f'"pid":{pid}'),
        "start": genuine.replace(f'"start_time":{state.start_time}', f'"start_time":{state.start_time + 1}'),
    }
    try:
        for kind, text in forged.items():
            assert text != genuine, kind
            path.write_text(text)
            assert (1, "Error: process is not running or could not be found\n") == (
                (done := script(web, "id\n")).returncode,
                done.stderr,
            ), kind
        path.write_text(genuine)
        os.chown(path, environment.user.uid, -1)
        assert 1 == script(web, "id\n").returncode
        os.chown(path, 0, -1)
        os.chown(path.parent, environment.user.uid, -1)
        assert 1 == script(web, "id\n").returncode
    finally:
        os.chown(path.parent, 0, -1)
        path.write_text(genuine)
        os.chown(path, 0, -1)

    assert 0 == script(web, "id\n").returncode


@pytest.mark.same_everywhere
def test_another_plan_is_not_taken(web: CommandLine) -> None:
    """A kept plan that is not the one the container was made from is refused."""
    path = Path(environment_of(web).records.plan_file("bpm-web"))
    path.write_text(path.read_text().replace('"no_new_privs":true', '"no_new_privs":false'))

    done = script(web, "id\n")

    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.endswith("it is not the plan that the container was made from\n")


# The library


def test_a_visitor_is_a_value(web: CommandLine) -> None:
    """enter() runs any program, wait() says how it ended, and no descriptor is left."""
    process = environment_of(web).process("web")
    before = sorted(os.listdir("/proc/self/fd"))
    container = process.running()
    reader, writer = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    with container.enter(["/bin/sh", "-c", "echo $X; exit 5"], (null, writer, null), {"X": "said"}) as visitor:
        assert isinstance(visitor, Visitor)
        assert 5 == visitor.wait(10).exit_code
        assert not visitor.running
        with pytest.raises(NotRunning):
            visitor.signal(signal.SIGTERM)
    assert b"said\n" == os.read(reader, 100)
    with container.enter(["/bin/sleep", "100"], (null, null, null)) as visitor:
        with pytest.raises(TimeoutError):
            visitor.wait(0.01)
        visitor.signal(signal.SIGTERM)
        assert signal.SIGTERM == visitor.wait(10).signal
    for fd in (reader, writer, null):
        os.close(fd)
    container.close()

    # The memfd of init stays for the next.
    assert len(before) + 1 >= len(os.listdir("/proc/self/fd"))


@pytest.mark.same_everywhere
def test_what_cannot_be_run_is_named(web: CommandLine) -> None:
    """A program that is not there is an error with its path, and nothing is left of it."""
    container = environment_of(web).process("web").running()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        with pytest.raises(OSError, match="cannot enter web: program: /no/such does not exist"):
            container.enter(["/no/such"], (null, null, null))
    finally:
        os.close(null)
        container.close()


def test_a_container_that_ends_meanwhile_is_not_running(web: CommandLine) -> None:
    """Entering what has just ended is NotRunning, whenever in between it ends."""
    for delay in (0.0, 0.001, 0.003, 0.01):
        web("start", "web")
        container = environment_of(web).process("web").running()
        killer = threading.Timer(delay, container.kill)
        killer.start()
        try:
            while True:
                channel = container.open_channel(terminal=True)
                try:
                    container.enter(["/bin/true"], channel.theirs, terminal=True).close()
                finally:
                    channel.close_theirs()
                    channel.close_ours()
        except NotRunning:
            pass
        finally:
            killer.join()
            container.close()


def test_terminals_are_opened_by_descriptor() -> None:
    """The other end of a terminal is asked of the terminal itself (TIOCGPTPEER), never opened by a name."""
    source = Path(visit.__file__).read_text()

    assert "ptsname" not in source and "/dev/pts/{" not in source
