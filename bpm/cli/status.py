"""Shows all that is known of processes: how they do, what they use of what they may, how they ended last.

Without JOB, of all jobs. What is counted, and since when, is in docs/cli.md.
"""

from __future__ import annotations

from bpm.cli.failure import Failure
from bpm.cli.flags import Arguments, Flag
from bpm.cli.job import PROCESS, unknown_job
from bpm.cli.list import complain_of
from bpm.cli.output import print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm import Environment, JobProcess, Report

WORDS = "[JOB]"
FLAGS = (Flag("json", help="print a JSON list"), PROCESS)


def run(arguments: Arguments) -> int:
    """`bpm status`."""
    from bpm import Environment

    environment = Environment()
    reports = [process.report() for process in choose(environment, arguments)]
    if arguments.switch("json"):
        from json import dumps

        from bpm.cli.record import to_record

        print_line(dumps([to_record(report) for report in reports], indent=2))
    else:
        for number, report in enumerate(reports):
            if number:
                print_line()
            show(report)
    return 0


def choose(environment: Environment, arguments: Arguments) -> tuple[JobProcess, ...]:
    """The processes that the command line names: all, a job's, or one."""
    name = arguments.text("process")
    if not arguments.words:
        if name:
            raise Failure("must specify a job, where a process is named")
        processes, broken = environment.processes()
        for each in broken:
            complain_of(each)
        return processes
    job = arguments.words[0]
    if job not in environment.jobs():
        raise unknown_job(environment, job)
    if name:
        from bpm.cli.job import pick_process

        return (pick_process(environment, job, name),)
    return tuple(environment.process(job, process.name) for process in environment.config(job).processes)


def show(report: Report) -> None:
    """Prints one process."""
    from bpm.cli.style import BOLD, GREEN, RED, align, has_colours, paint, plain

    name, state = plain(report.status.name), report.status.state
    if has_colours():
        colours = {"running": GREEN, "failed": RED}
        name, state = paint(name, BOLD), paint(state, colours[state]) if state in colours else state
    print_line(f"{name}: {state}")
    for line in align(facts(report)):
        print_line(f"  {line}")


def facts(report: Report) -> list[tuple[str, str]]:
    """What is known of it, a name and a value each."""
    from bpm.cli.list import describe_exit
    from bpm.cli.record import since
    from bpm.cli.units import duration, size, time_of

    rows = []
    usage, running = report.usage, report.status.state == "running"
    if running:
        program = f", {report.program} (program)" if report.program is not None else ""
        rows.append(("pid", f"{report.status.pid} (init){program}"))
    if report.started_ns:
        ago = f", {duration(since(report.started_ns))} ago" if running else ""
        rows.append(("started", time_of(report.started_ns) + ago))
        rows.append(("restarts", str(report.restarts)))
    memory = [f"{size(usage.memory_now)} now"] if usage.memory_now is not None and running else []
    memory += [f"{size(usage.memory_peak)} at most"] if usage.memory_peak is not None else []
    memory += [f"of {size(usage.memory_limit)}"] if usage.memory_limit is not None else []
    rows.append(("memory", ", ".join(memory)))
    processes = [f"{usage.processes_now} now"] if usage.processes_now is not None and running else []
    processes += [f"{usage.processes_peak} at most"] if usage.processes_peak is not None else []
    processes += [f"of {usage.processes_limit}"] if usage.processes_limit is not None else []
    processes += [f"{usage.processes_failures} refused"] if usage.processes_failures else []
    rows.append(("processes", ", ".join(processes)))
    if usage.cpu_ns is not None and report.started_ns:
        rows.append(("cpu", duration(usage.cpu_ns / 1e9)))
    if report.last_exit is not None:
        rows.append(("last exit", describe_exit(report.last_exit)))
    rows.append(("plan", report.plan_digest))
    return [(name, value) for name, value in rows if value]
