"""Runner: run() and popen(), which mean what subprocess means by them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bpm.sandbox.command import Argument, Arguments, EnvMapping, Stream, make_command, streams_of
from bpm.sandbox.process import Process
from bpm.sandbox.result import Completed, ProcessTimeout
from bpm.sandbox.streams import Text

if TYPE_CHECKING:
    from bpm.sandbox.spawner import Spawner


class Runner:
    """What can run programs."""

    __slots__ = ()

    @abstractmethod
    def spawner(self) -> Spawner:
        """What runs them, as a context manager; for bpm itself."""

    def run(
        self,
        args: Arguments,
        *,
        stdin: Stream = None,
        input: str | bytes | None = None,
        stdout: Stream = None,
        stderr: Stream = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        env: EnvMapping | None = None,
        cwd: Argument | None = None,
        executable: Argument | None = None,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        universal_newlines: bool | None = None,
        shell: bool = False,
        pass_fds: Iterable[int] = (),
    ) -> Completed:
        """Run a program to its end, as ``subprocess.run`` does.

        Args:
            args: The program and its arguments; it is looked for inside, in the PATH of its environment.
            stdin, stdout, stderr: As in subprocess: None is our own.
            input: What it reads.
            capture_output: Whether its output is in the result.
            timeout: Seconds after which it is killed, and TimeoutExpired raised. ``Limits(wall_time=)`` kills too, and
                is no error.
            check: Whether anything but an exit status of 0 raises CalledProcessError.
            env: Its environment, in place of the sandbox's.
            cwd: Where it starts, inside, in place of the sandbox's workdir; an absolute path.
            executable: The program, where the first of args is only what it is called.
            text, encoding, errors, universal_newlines: As in subprocess: str in place of bytes.
            shell: Whether args is a script for the sandbox's /bin/sh.
            pass_fds: Descriptors that it inherits at their own numbers.

        Returns:
            What subprocess returns, and why the program ended, what it used, and which limits it met.

        Raises:
            ProgramNotFound, ProgramNotPermitted: They are FileNotFoundError and PermissionError, too.
            SpawnError: The sandbox was not built; it is an OSError, too.
            ProcessTimeout: It is subprocess.TimeoutExpired, too.
            ProcessFailed: It is subprocess.CalledProcessError, too; its text says why the program died.
            PlanError, PrepareError, CgroupError, HostError: It cannot be had here.
            ValueError: An argument holds a NUL, or arguments exclude each other.
            TypeError: An argument is of another type than subprocess takes.
        """
        streams = streams_of(stdin, input, stdout, stderr, capture_output)
        as_text = Text.asked(text, encoding, errors, universal_newlines)
        command = make_command(args, streams, env=env, cwd=cwd, shell=shell, pass_fds=pass_fds, executable=executable)
        with self.spawner() as spawner:
            running = spawner.running()
            try:
                spawner.start(running, command)
                process = Process(args, running, as_text)
                out, err = process.communicate(input, timeout)
            except ProcessTimeout as error:
                process.kill()
                process.wait()
                error.ending = process.ending
                raise
            finally:
                running.abandon()
        assert process.ending is not None
        completed = Completed(args, process.ending, out, err)
        if check:
            completed.check_returncode()
        return completed

    def popen(
        self,
        args: Arguments,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        bufsize: int | None = -1,
        env: EnvMapping | None = None,
        cwd: Argument | None = None,
        executable: Argument | None = None,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        universal_newlines: bool | None = None,
        shell: bool = False,
        pass_fds: Iterable[int] = (),
    ) -> Process:
        """Start a program, as ``subprocess.Popen`` does.

        Args:
            bufsize: As in subprocess: 0 is unbuffered, 1 by lines (text), -1 the usual size.

        The other arguments, and what is raised: as in :meth:`run`.

        Returns:
            The running program; a context manager.
        """
        if not isinstance(bufsize, int | None):
            raise TypeError("bufsize must be an integer")
        as_text = Text.asked(text, encoding, errors, universal_newlines)
        command = make_command(
            args, (stdin, stdout, stderr), env=env, cwd=cwd, shell=shell, pass_fds=pass_fds, executable=executable
        )
        with self.spawner() as spawner:
            running = spawner.running()
            process = Process(args, running, as_text)
            try:
                spawner.start(running, command)
                process.open_files(-1 if bufsize is None else bufsize)
            except BaseException:
                running.abandon()
                raise
        return process
