"""JobProcess: one process of one job, and what operators do to it.

start, stop and run hold the process's lock for their whole length, and tell bpm.log what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from attrs import evolve

from bpm import safepath
from bpm.errors import BpmError, NotRunning, PlanError, Problem, ProcessNotFound, RecordError, SpawnError
from bpm.layout import JobLayout, container_id, container_name
from bpm.runtime.command import command, open_log, reading, task
from bpm.runtime.container import Container, find_container, read_boot_id
from bpm.runtime.log import Log
from bpm.runtime.records import FAILED, STARTING, ExitRecord, History, SpawnStop
from bpm.runtime.status import Report, Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm.config import JobConfig, ProcessConfig, Volume
    from bpm.plan import ProcessPlan
    from bpm.runtime.environment import Environment

# NAME_MAX, less what the lock's file name adds to the container's id.
LONGEST_ID = 255 - len("job-.lock")


class JobProcess:
    """One process of one job. Made by :meth:`Environment.process`.

    Args:
        environment: The BOSH root it is in.
        job, process: Their names.

    Raises:
        PlanError: The names are too long together.
    """

    def __init__(self, environment: Environment, job: str, process: str) -> None:
        self.environment = environment
        self.job = job
        self.process = process
        self.container_id = container_id(job, process)
        self._paths: JobLayout = environment.layout.job(job)
        if len(self.container_id) > LONGEST_ID:
            raise PlanError("job", f"the names of job and process are too long together: {self.name}")

    @property
    def name(self) -> str:
        """``JOB``, or ``JOB.PROCESS`` where they differ."""
        return container_name(self.job, self.process)

    @property
    def log_paths(self) -> tuple[str, str]:
        """The files that its standard output and error go to."""
        return self._paths.stdout(self.process).outside, self._paths.stderr(self.process).outside

    def open_log(self, path: str) -> int | None:
        """Opens a log file to read it.

        Args:
            path: One of ``log_paths``.

        Returns:
            A descriptor, which the caller closes; None where there is no such file.

        Raises:
            UnsafePathError: The job's user has put something else there.
        """
        try:
            return safepath.open_file(path)
        except FileNotFoundError:
            return None

    def config(self) -> ProcessConfig:
        """What bpm.yml says of it.

        Raises:
            JobNotFound, ConfigError: As :meth:`Environment.config`.
            ProcessNotFound: It is not in there.
        """
        return self._pick(self.environment.config(self.job))

    def plan(
        self,
        volumes: Sequence[Volume] = (),
        env: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        warn: Callable[[Problem], None] = lambda problem: None,
    ) -> ProcessPlan:
        """All that starting it would mean, now.

        Args:
            volumes, env: Further ones, as ``bpm run -v`` and ``-e`` have them.
            warn: Is told of what is remarkable in bpm.yml.

        Returns:
            The plan, as ``bpm plan`` shows it.

        Raises:
            JobNotFound, ConfigError, ProcessNotFound: As :meth:`config`.
            PlanError: It cannot be carried out on this host.
            HostError: The user does not exist.
        """
        config = self.environment.config(self.job)
        for problem in config.warnings:
            warn(problem)
        process = self._pick(config)
        from bpm.config import validate_volume
        from bpm.plan import make_plan

        for volume in volumes:
            validate_volume(volume, self.job, self.environment.root)
        return make_plan(config, process, self.environment.facts(config), volumes=volumes, env=env)

    def container(self) -> Container | None:
        """Its container, running or not; None where there is none, or only the remains of one."""
        try:
            return find_container(self.environment.records, self.container_id)
        except RecordError:
            return None

    def running(self) -> Container:
        """Its container, which runs. The caller closes it.

        Raises:
            NotRunning: It does not run.
        """
        container = self.container()
        if container is not None and container.running:
            return container
        if container is not None:
            container.close()
        raise NotRunning("process is not running or could not be found")

    def pid(self) -> int:
        """The pid of its init, in the host's namespace.

        Raises:
            NotRunning: It does not run.
        """
        pid = self.status().pid
        if pid is None:
            raise NotRunning("process is not running or could not be found")
        return pid

    def status(self) -> Status:
        """Whether it runs, and if not, how it ended. Changes nothing."""
        stopped = Status(self.job, self.process, "stopped")
        container = self.container()
        if container is None:
            return stopped
        try:
            if container.running:
                return evolve(stopped, state="running", pid=container.pid)
            # A start that is under way, or was cut short; or something from before the machine was booted.
            if container.state.phase == STARTING or container.state.boot_id != read_boot_id():
                return stopped
            return evolve(stopped, state="failed", last_exit=container.wait())
        finally:
            container.close()

    def report(self) -> Report:
        """All that is known of it: how it does, what it uses, how it ended last. Changes nothing."""
        container = self.container()
        status = self.status()
        if container is None or status.state == "stopped":
            if container is not None:
                container.close()
            return Report(status)
        try:
            state = container.state
            return Report(
                status,
                program=container.program if status.state == "running" else None,
                started_ns=state.started_ns,
                restarts=state.restarts,
                last_exit=status.last_exit or state.last_exit,
                plan_digest=state.plan_digest,
                usage=container.measure(),
            )
        finally:
            container.close()

    def start(self, warn: Callable[[Problem], None] = lambda problem: None) -> Container:
        """Starts it, detached; returns once its program has been executed. One that runs already is left alone.

        Args:
            warn: Is told of what is remarkable in bpm.yml.

        Returns:
            Its container, which the caller closes; it goes on.

        Raises:
            JobNotFound, ConfigError, ProcessNotFound: bpm.yml does not tell what it is.
            PlanError, PrepareError, UnsafePathError, HookError, CgroupError, SpawnError, HostError: It could not be
                started, and nothing is left of it but a status that says so.
        """
        from bpm.runtime.startup import record_ahead, start_cleared

        with self._command("start") as log:
            plan, history = self._read_plan(log, warn=warn), History()
            try:
                running = self.container()
                if running is not None and running.running:
                    log.info("process-already-running")
                    self._write_pidfile(running)
                    return running
                with task(log, "start-process") as inner:
                    history = self._clear(plan, inner)
                    self._tell_of_plan(plan, inner)
                    container = start_cleared(plan, inner.info, history)
                    try:
                        self._write_pidfile(container)
                    except BaseException:
                        # Without its pidfile, nobody would ever watch it.
                        container.remove()
                        container.close()
                        raise
                return container
            except SpawnError as error:
                # A container that could not be is shown as failed until it is stopped or started again.
                failed = evolve(record_ahead(plan, history), phase=FAILED, spawn_failure=SpawnStop.of(error))
                self.environment.records.write(failed)
                raise

    def run(
        self,
        volumes: Sequence[Volume] = (),
        env: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        stdout: int = 1,
        stderr: int = 2,
        warn: Callable[[Problem], None] = lambda problem: None,
    ) -> ExitRecord | None:
        """Runs it in the foreground.

        Its output goes to the log files and to two descriptors. In the main thread, signals to the caller
        reach it meanwhile; it never outlives the caller.

        Args:
            volumes, env: Further ones, as ``bpm run -v`` and ``-e`` have them; of equal names the last wins.
            stdout, stderr: The descriptors.
            warn: Is told of what is remarkable in bpm.yml, and of a log file that a full disk kept from being whole.

        Returns:
            How it ended; None when it ran already, and nothing was done.

        Raises:
            JobNotFound, ConfigError, ProcessNotFound: bpm.yml does not tell what it is.
            PlanError, PrepareError, UnsafePathError, HookError, CgroupError, SpawnError, HostError: It was not run.
        """
        from bpm.runtime.attach import run_attached

        with self._command("run") as log:
            plan = self._read_plan(log, volumes, env, warn)
            running = self.container()
            if running is not None and running.running:
                running.close()
                log.info("process-already-running")
                return None
            with task(log, "run-process") as inner:
                self._clear(plan, inner)
                self._tell_of_plan(plan, inner)

                def tell(error: OSError) -> None:
                    inner.error("log-incomplete", error)
                    warn(Problem(f"{error.filename} lacks some of what the program wrote: {error.strerror}"))

                return run_attached(plan, (stdout, stderr), inner.info, tell)

    def stop(self) -> ExitRecord | None:
        """Stops it, and removes all that is left of it; says how it ended, None when there was nothing to stop.

        Raises:
            JobNotFound, ConfigError, ProcessNotFound: There is something, but bpm.yml does not tell what it is.
            HostError, CgroupError: Something of it does not end.
            PlanError: Its record is broken, and bpm.yml cannot be carried out on this host.
            UnsafePathError: It is stopped, but something else stands in the place of its bpm.log.
        """
        with self._command("stop", needs_log=False) as log:
            try:
                container = find_container(self.environment.records, self.container_id)
            except RecordError as error:
                # There was one, and only the plan knows what it was.
                plan = self._read_plan(log)
                log.error("removing-broken-record", error)
                from bpm.runtime.startup import discard

                discard(self.environment.records, plan)
                self._remove_pidfile()
                return None
            if container is None:
                log.info("job-already-stopped")
                self._remove_pidfile()
                return None
            with reading(log):
                shutdown_signal = self.config().shutdown_signal or None
            try:
                record = container.stop(shutdown_signal)
                log.info("forcefully-deleting-container")
                # Before the record, which is what a next stop looks for: no pidfile outlives what tells of it.
                log.info("deleting-pidfile")
                self._remove_pidfile()
                log.info("destroying-bundle")
                container.remove()
            except BpmError as error:
                log.error("failed-to-stop", error)
                raise
            finally:
                container.close()
            return record

    def _pick(self, config: JobConfig) -> ProcessConfig:
        for process in config.processes:
            if process.name == self.process:
                return process
        raise ProcessNotFound(f'process "{self.process}" not present in job configuration ({self._paths.config})')

    def _read_plan(
        self,
        log: Log,
        volumes: Sequence[Volume] = (),
        env: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        warn: Callable[[Problem], None] = lambda problem: None,
    ) -> ProcessPlan:
        with reading(log):
            return self.plan(volumes, env, warn)

    def _clear(self, plan: ProcessPlan, log: Log) -> History:
        """Removes a dead or broken predecessor."""
        if self.environment.records.exists(self.container_id):
            log.info("removing-stopped-process")
        from bpm.runtime.startup import heal

        return heal(self.environment.records, plan)

    def _tell_of_plan(self, plan: ProcessPlan, log: Log) -> None:
        from bpm.plan import MOUNTED_ALREADY

        for dropped in plan.dropped:
            if dropped.reason == MOUNTED_ALREADY:
                log.info("duplicate-mount", mount=dropped.mount.target)
            else:
                log.info("dropped-mount", mount=dropped.mount.target, reason=dropped.reason)
        for notice in plan.notices:
            log.info("ignored", what=notice.text, because=notice.because)

    def _write_pidfile(self, container: Container) -> None:
        """Also for what runs already: a bpm that was killed may not have come to it."""
        safepath.write_file(self._paths.pidfile(self.process).outside, str(container.pid).encode(), mode=0o644)

    def _remove_pidfile(self) -> None:
        safepath.remove_file(self._paths.pidfile(self.process).outside)

    @contextmanager
    def _command(self, name: str, *, needs_log: bool = True) -> Iterator[Log]:
        """The frame of a command.

        The job's user could plant something in the log's place. Nothing starts then; what runs is stopped all
        the same, and the error comes afterwards.
        """
        log, problem = Log(None, "", {}), None
        try:
            log = open_log(f"bpm.{name}", self._paths, self.process, self.environment.user)
        except (BpmError, OSError) as error:
            if needs_log:
                raise
            problem = error
        try:
            with command(self._paths, self.process, log):
                yield log
        finally:
            log.close()
        if problem is not None:
            raise problem
