"""A user's file: mypy --strict finds nothing in it, and each ignored error is one that it would find."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator

import bpm
from bpm import Bind, Completed, Ending, Join, Limits, Prepared, Process, ProcessFailed, Sandbox, Tmpfs, aio


def make(source: str) -> Sandbox:
    limits = Limits(memory="64M", processes=10, cpu="0.5", wall_time=1.5, open_files=64)
    return Sandbox.system(
        mounts=[Bind(source, "/source"), Tmpfs("/scratch", size="1M")],
        limits=limits,
        env={"PATH": "/bin"},
        capabilities=("NET_BIND_SERVICE",),
        seccomp=bpm.DEFAULT_POLICY,
        join=[Join("/proc/self/ns/net")],
        user="nobody",
        groups=(5,),
    )


def convert(sandbox: Sandbox | Prepared, data: bytes) -> tuple[bytes, str, tuple[str, ...]]:
    done: Completed = sandbox.run([b"cat", "-"], input=data, capture_output=True, check=True, timeout=3)
    peak: int | None = done.resources.memory_peak
    seconds: float = done.resources.wall + (peak or 0)
    return bytes(done.stdout), f"{done.reason} after {seconds} s", done.limits_hit


def lines(sandbox: Sandbox) -> Iterator[str]:
    with sandbox.popen(["ls"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield from process.stdout
        fd: int = process.pidfd
        process.wait(timeout=fd)
    ending: Ending | None = process.ending
    if ending is not None and ending.reason == "oom":
        raise ProcessFailed(process.args, ending)


async def talk(prepared: Prepared) -> bytes:
    async with await aio.popen(prepared, ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        writer: asyncio.StreamWriter | None = process.stdin
        reader: asyncio.StreamReader | None = process.stdout
        assert writer
        assert reader
        writer.write(b"x\n")
        return await reader.readline()


def stop_all(environment: bpm.Environment) -> list[bpm.Status]:
    for status in environment.list().processes:
        environment.process(status.job, status.process).stop()
    return [process.status() for process in environment.processes()[0]]


def look(config: bpm.JobConfig) -> list[tuple[str, str]]:
    plan: bpm.ProcessPlan = bpm.make_plan(config, config.processes[0], bpm.observe(config))
    return [(mount.target, mount.because) for mount in plan.mounts]


def mistakes(sandbox: Sandbox, process: Process) -> None:
    sandbox.run(5)  # type: ignore[arg-type]
    sandbox.run(["true"], time_out=3)  # type: ignore[call-arg]
    sandbox.limits = Limits()  # type: ignore[misc]
    Bind(writable=True)  # type: ignore[call-arg]
    Limits(memory=[])  # type: ignore[arg-type]
    process.send_signal("TERM")  # type: ignore[arg-type]
    bpm.Sandbx  # type: ignore[attr-defined]
