"""Texts made to hurt: each is answered within a second of processor time and a hundred megabytes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAD = "processes:\n- name: job\n  executable: /bin/x\n"

MEASURE = """
import json, resource, sys, time
import yaml
from bpm.config import load
from bpm.errors import ConfigError

text = sys.stdin.buffer.read()
load(b"processes: []")
def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
megabytes, seconds = used(), time.process_time()
try:
    load(text)
    outcome = ""
except ConfigError as error:
    outcome = error.problems[0].reason
print(json.dumps([outcome, time.process_time() - seconds, used() - megabytes]))
"""


def nested_aliases(levels: int, width: int) -> str:
    """Lists of aliases of lists of aliases: width ** levels entries."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * width)}]" for level in range(1, levels)]
    return "\n".join(lines) + "\n"


def nested_merges(levels: int, source: str) -> str:
    lines = ["a0: &a0 {name: a, executable: /x}"]
    lines += [f"a{level}: &a{level} {{<<: {source.replace('*', f'*a{level - 1}')}}}" for level in range(1, levels)]
    return "\n".join(lines) + f"\nprocesses: [*a{levels - 1}]\n"


# A text, and what its refusal says; empty where it is none.
TEXTS = {
    "a billion laughs": (nested_aliases(10, 10) + "processes: *a9\n", "expected a map, found a list"),
    "a process of a thousand arguments, a thousand times": (
        "p: &p {name: a, executable: /x, args: [" + "a," * 1000 + "]}\nprocesses: [" + "*p," * 1000 + "]\n",
        "nearly all aliases",
    ),
    "a shared list, just often enough": (
        "processes: [{name: a, executable: /x, args: &l ["
        + "a," * 40_000
        + "]},"
        + "{name: a, executable: /x, args: *l}," * 30
        + "]\n",
        "expected at most 200000 values",
    ),
    "merges that double": (nested_merges(60, "[*, *]"), "nearly all aliases"),
    "merges by alias, 20,000 deep": (nested_merges(20_000, "*"), ""),
    "merges in place, 9,000 deep": (
        "processes: [" + "{<<: " * 9000 + "{name: a, executable: /x}" + "}" * 9000 + "]",
        "",
    ),
    "lists that never close": ("[" * 1_000_000, "at most 10000 deep"),
    "maps that never close": ("{a: " * 1_000_000, "at most 10000 deep"),
    "explicit keys in keys": ("? " * 100_000, "at most 10000 deep"),
    "lists in lists in a line": ("- " * 100_000, "at most 10000 deep"),
    "deep under an unknown key": ("z: " + "[" * 9000 + "]" * 9000, ""),
    "too many values": (HEAD + "  args: [" + "a," * 1_000_000 + "]", "expected at most 100000 keys and values"),
    "many values": (HEAD + "  args: [" + "a," * 99_000 + "]", ""),
    "many variables": (HEAD + "  env: {" + "".join(f"k{n}: v," for n in range(45_000)) + "}", ""),
    "many unknown keys": (HEAD + "".join(f"  k{n}: v\n" for n in range(45_000)), ""),
    "many keys twice": (HEAD + "  env: {" + "k: v," * 45_000 + "}", "expected each key once"),
    "many problems": (HEAD + "  args: [" + "[]," * 99_000 + "]", "expected a string, found a list"),
    "too large": ("#" * 4_194_305, "expected at most 4194304 bytes, found 4194305"),
    "one large value": (HEAD + "  args: [" + "a" * 4_000_000 + "]", ""),
    "a number of a million digits": (HEAD + "  limits: {open_files: " + "9" * 1_000_000 + "}", "a whole number"),
    "many tag prefixes": ("".join(f"%TAG !t{n}! x\n" for n in range(200_000)) + "---\n", "lines with %TAG"),
    "many escapes that libyaml does not know": (
        "workdir: [" + '"\\\'", ' * 50_000 + r'"\q"]',
        "an unknown escape",
    ),
    "nothing but line ends": ("\n" * 4_000_000, ""),
}


@pytest.mark.parametrize("name", TEXTS)
def test_it_is_answered_in_bounds(name: str) -> None:
    """A text of any shape is loaded or refused within a second and a hundred megabytes."""
    text, expected = TEXTS[name]
    run = subprocess.run([sys.executable, "-c", MEASURE], input=text.encode(), capture_output=True, check=False)

    assert (b"", 0) == (run.stderr, run.returncode)
    outcome, seconds, megabytes = json.loads(run.stdout)
    assert expected in outcome
    assert bool(expected) == bool(outcome)
    assert seconds < 1
    assert megabytes < 100
