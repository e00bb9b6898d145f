"""Errors for people: where it is, what was expected, what was found."""

from __future__ import annotations

import pytest
import yaml

from bpm.config import load
from bpm.errors import ConfigError, Problem

HEAD = "processes:\n- name: job\n  executable: /bin/x\n"


def problems_of(text: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load(text, file="bpm.yml")
    return caught.value.problems


# A text, and for each problem: key, line, column, reason.
PLACES = {
    "a wrong type": (
        HEAD + "  limits:\n    open_files: many\n",
        [
            (
                "processes[0].limits.open_files",
                5,
                17,
                'expected a whole number from 0 to 18446744073709551615, found the string "many"',
            )
        ],
    ),
    "a quoted number": (
        HEAD + "  limits: {processes: '10'}\n",
        [
            (
                "processes[0].limits.processes",
                4,
                23,
                'expected a whole number from -9223372036854775808 to 9223372036854775807, found the string "10"',
            )
        ],
    ),
    "a number for a flag": (
        HEAD + "  ephemeral_disk: 1\n",
        [("processes[0].ephemeral_disk", 4, 19, 'expected true or false, found the number "1"')],
    ),
    "a string for a list": (
        HEAD + "  args: a\n",
        [("processes[0].args", 4, 9, 'expected a list of strings, found the string "a"')],
    ),
    "a map in a list of strings, after a null": (
        HEAD + "  args: [~, a, {b: c}]\n",
        [("processes[0].args[1]", 4, 16, "expected a string, found a map")],
    ),
    "a list for a variable": (
        HEAD + "  env:\n    'A B': [1]\n",
        [('processes[0].env["A B"]', 5, 12, "expected a string, found a list")],
    ),
    "a date for a volume": (
        HEAD + "  additional_volumes:\n  - 2001-01-01\n",
        [("processes[0].additional_volumes[0]", 5, 5, 'expected a map, found the date "2001-01-01"')],
    ),
    "a null process": (
        "processes:\n- name: a\n  executable: /x\n- ~\n",
        [("processes[1]", 4, 3, "expected a map, found nothing")],
    ),
    "a document that is no map": ("- a\n", [("", 1, 1, "expected a map, found a list")]),
    "all of them at once, in the file's order": (
        "processes: [{name: [a], executable: {b: c}, ephemeral_disk: maybe}]\n",
        [
            ("processes[0].name", 1, 20, "expected a string, found a list"),
            ("processes[0].executable", 1, 37, "expected a string, found a map"),
            ("processes[0].ephemeral_disk", 1, 61, 'expected true or false, found the string "maybe"'),
        ],
    ),
    "one reached by two aliases, once": (
        "l: &l [[]]\nprocesses: [{name: a, executable: /x, args: *l}, {name: b, executable: /x, args: *l}]\n",
        [("processes[0].args[0]", 1, 8, "expected a string, found a list")],
    ),
    "a key twice": (
        HEAD + "  name: again\n",
        [("processes[0]", 4, 3, 'expected each key once, found "name" again (first in line 2, column 3)')],
    ),
    "a key twice, once by alias": (
        "k: &k name\nprocesses:\n- name: a\n  executable: /x\n  *k : b\n",
        [("processes[0].name", 5, 3, 'expected each key once, found "name" again')],
    ),
    "a tag that lies": (
        HEAD + "  env: {A: !!int x}\n",
        [("processes[0].env.A", 4, 12, 'expected what its tag !!int says, found the string "x"')],
    ),
    "bytes that are none": (
        HEAD + "  env: {A: !!binary '*'}\n",
        [("processes[0].env.A", 4, 12, 'expected base64, as its tag !!binary says, found the string "*"')],
    ),
    "a merge of a number": (
        HEAD + "  <<: 5\n",
        [("processes[0]", 4, 7, 'expected a map, or a list of maps, to merge, found the number "5"')],
    ),
    "a value within itself": (
        "processes:\n- &p\n  name: a\n  executable: /x\n  <<: *p\n",
        [("processes[0]", 5, 7, "expected a value, found &p within itself")],
    ),
    "an alias of nothing": (
        "processes: *nope\n",
        [("", 1, 12, "expected an anchor &nope above this alias, found none")],
    ),
    "what is invalid, at its value": (
        HEAD + "  shutdown_signal: HUP\n",
        [
            (
                "processes[0].shutdown_signal",
                4,
                20,
                "shutdown signal should either be 'TERM' or 'INT' (or left unspecified), but got 'HUP'",
            )
        ],
    ),
    "what is missing, at what lacks it": (
        "processes:\n- name: a\n  executable: /x\n- name: b\n",
        [("processes[1].executable", 4, 3, "invalid config: executable")],
    ),
    "an invalid volume after a null, at its path": (
        HEAD + "  additional_volumes:\n  -\n  - path: /var/vcap/data/x\n  - path: /etc\n",
        [("processes[0].additional_volumes[1].path", 7, 11, "invalid volume path: /etc must be within /var/vcap")],
    ),
    "a volume without a path": (
        HEAD + "  additional_volumes: [{}]\n",
        [("processes[0].additional_volumes[0].path", 4, 24, "volume path must be canonical, expected . but got ")],
    ),
    "an invalid value that was merged in": (
        "d: &d {shutdown_signal: 1}\nprocesses: [{name: a, executable: /x, <<: *d}]\n",
        [
            (
                "processes[0].shutdown_signal",
                1,
                25,
                "shutdown signal should either be 'TERM' or 'INT' (or left unspecified), but got '1'",
            )
        ],
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_problem_says_where_and_what(name: str) -> None:
    """Each problem has its key's path, its line and column, what was expected and what was found."""
    text, expected = PLACES[name]

    found = problems_of(text)

    assert expected == [(problem.key, problem.line, problem.column, problem.reason) for problem in found]
    assert {"bpm.yml"} == {problem.file for problem in found}


# A text, the place of its one problem, and a part of the reason, all the same in both parsers.
SYNTAX = {
    "tab": ("processes:\n\t- name: a\n", 2, 1, "indent with spaces only"),
    "quote": ('processes: [{name: "a}]\n', 1, 20, "this quoted text has no end"),
    "colon": ("processes:\n- name: a: b\n", 2, 10, "a second `: ` where only one can be"),
    "no colon": ("processes:\n- name: a\n  executable\n", 4, 1, "expected a `:` after this key"),
    "control": ("a: b\nc: \x07d\n", 2, 4, "a control character"),
    "directive": ("%YAML 1.2\n---\na: b\n", 0, 0, "expected %YAML 1.1"),
}


@pytest.mark.parametrize("with_libyaml", [True, False])
@pytest.mark.parametrize("name", SYNTAX)
def test_what_is_not_yaml_says_where_and_why(name: str, with_libyaml: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not YAML is one problem, in words for whoever wrote it, at the place where it is wrong."""
    monkeypatch.setattr(yaml, "__with_libyaml__", with_libyaml)
    text, line, column, reason = SYNTAX[name]

    (problem,) = problems_of(text)

    assert (line, column) == (problem.line, problem.column)
    assert reason in problem.reason


@pytest.mark.parametrize("with_libyaml", [True, False])
def test_an_unknown_escape_is_explained(with_libyaml: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An escape that YAML does not know is refused with what to write instead, on its line."""
    monkeypatch.setattr(yaml, "__with_libyaml__", with_libyaml)

    (problem,) = problems_of('a: b\nc: "it\\\'s \\q"\n')

    assert 2 == problem.line
    assert "within double quotes a backslash is written \\\\" in problem.reason


def test_a_question_mark_between_brackets_is_explained() -> None:
    """A ``?`` in unquoted text between brackets, which yaml.v3 takes for a key, is refused with what to do about it."""
    (problem,) = problems_of("a: [x, http://b/?c]\n")

    assert (1, 8) == (problem.line, problem.column)
    assert "expected no ? between brackets; quote the text that holds it" == problem.reason
    assert "between brackets a `:` needs a space after it" in problems_of("a: [b?c:]\n")[0].reason


def test_half_a_character_has_a_place() -> None:
    """A string that no file can hold is refused where it stops being text."""
    (problem,) = problems_of("a: b\nc: \ud800\n")

    assert (2, 4) == (problem.line, problem.column)


def test_columns_count_characters_also_in_bytes() -> None:
    """A column counts characters, not bytes."""
    (problem,) = problems_of("é: é\nprocesses: {é: 日本, a: [}\n".encode())

    assert (2, 24) == (problem.line, problem.column)


def test_a_hundred_problems_are_enough() -> None:
    """A file with more problems than anyone reads shows the first hundred."""
    assert 100 == len(problems_of(HEAD + "  args: [" + "[]," * 5000 + "]\n"))


def test_an_unknown_key_is_a_warning_with_the_nearest_known_one() -> None:
    """A key that nobody knows is accepted, and warned of with its place and the key that was perhaps meant."""
    config = load(HEAD + "  unsafe:\n    priviliged: true\n  zzz: {ephemeral_disk: 5}\n", file="bpm.yml")

    assert not config.processes[0].unsafe.privileged
    assert (
        Problem(
            'unknown key "priviliged", which changes nothing; did you mean "privileged"?',
            key="processes[0].unsafe.priviliged",
            file="bpm.yml",
            line=5,
            column=5,
            code="unknown-key",
        ),
        Problem(
            'unknown key "zzz", which changes nothing',
            key="processes[0].zzz",
            file="bpm.yml",
            line=6,
            column=3,
            code="unknown-key",
        ),
    ) == config.warnings


def test_keys_are_case_sensitive_and_the_warning_knows() -> None:
    """A known key in other letters is unknown, and the known one is proposed."""
    (warning,) = load(HEAD + "  ENV: {A: b}\n").warnings

    assert 'unknown key "ENV", which changes nothing; did you mean "env"?' == warning.reason


def test_an_error_reads_as_a_sentence_with_its_place() -> None:
    """An error's text is its problems, a line each, with key, file, line and column."""
    with pytest.raises(ConfigError) as caught:
        load("processes: [{name: [], executable: {}}]", file="/etc/bpm.yml")

    assert (
        "expected a string, found a list (processes[0].name at /etc/bpm.yml:1:20)\n"
        "expected a string, found a map (processes[0].executable at /etc/bpm.yml:1:36)"
    ) == str(caught.value)
