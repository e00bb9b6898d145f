"""``-v`` and ``-e`` of ``bpm run``, and the check of volumes that they share with the file."""

from __future__ import annotations

import pytest

from bpm.config import Volume, parse_variable, parse_volume, validate_volume
from bpm.errors import ConfigError

CONFLICT = "cannot conflict with default job data or store directories"


@pytest.mark.parametrize(
    ("definition", "volume"),
    [
        ("/a", Volume("/a")),
        ("", Volume("")),
        ("/a:writable", Volume("/a", writable=True)),
        ("/a:mount_only,shared", Volume("/a", mount_only=True, shared=True)),
        ("/a:allow_executions,allow_executions", Volume("/a", allow_executions=True)),
    ],
)
def test_a_volume_is_a_path_and_options(definition: str, volume: Volume) -> None:
    """``-v PATH[:OPTION,...]`` is a volume, each option one of its flags."""
    assert volume == parse_volume(definition)


@pytest.mark.parametrize(
    ("definition", "sentence"),
    [
        ("a:b:c", "invalid volume definition (format: <path>[:<options>]): a:b:c"),
        ("/a:nope", "invalid volume option: nope"),
        ("/a:", "invalid volume option: "),
        ("/a:writable,", "invalid volume option: "),
        ("/a:path", "invalid volume option: path"),
        ("/a: writable", "invalid volume option:  writable"),
    ],
)
def test_a_volume_that_is_none_is_refused(definition: str, sentence: str) -> None:
    """What is no volume is refused with the contract's sentence, and nothing but it."""
    with pytest.raises(ConfigError) as caught:
        parse_volume(definition)

    assert sentence == str(caught.value)


@pytest.mark.parametrize(
    ("definition", "variable"),
    [("A=b", ("A", "b")), ("A=", ("A", "")), ("=x", ("", "x")), ("A=b=c", ("A", "b=c")), ("a b= c", ("a b", " c"))],
)
def test_a_variable_is_a_name_and_a_value(definition: str, variable: tuple[str, str]) -> None:
    """``-e KEY=VALUE`` is split at its first equals sign."""
    assert variable == parse_variable(definition)


@pytest.mark.parametrize(
    ("definition", "quoted"),
    [("NOPE", '"NOPE"'), ("", '""'), ('a"\\\n\x1b\x7f', r'"a\"\\\n\x1b\x7f"'), ("é\udcff\u00ad", r'"é\xff\u00ad"')],
)
def test_a_variable_without_a_value_is_refused(definition: str, quoted: str) -> None:
    """What has no equals sign is refused with the contract's sentence, misspelt as it is there."""
    with pytest.raises(ConfigError) as caught:
        parse_variable(definition)

    assert f"invalid envionment variable definition (format should be KEY=value): {quoted}" == str(caught.value)


@pytest.mark.parametrize("path", ["/r/x/data/a", "/r/x/data/job/a", "/r/x/data/job2", "/r/x/jobs/job", "/r/x/a"])
def test_a_volume_below_the_root_is_valid(path: str) -> None:
    """Anything strictly below the root may be a volume, also within the job's own directories."""
    validate_volume(Volume(path), "job", "/r/x")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/r/x/a/", "volume path must be canonical, expected /r/x/a but got /r/x/a/"),
        ("//r/x/a", "volume path must be canonical, expected /r/x/a but got //r/x/a"),
        ("", "volume path must be canonical, expected . but got "),
        ("/r/x", "invalid volume path: /r/x must be within /r/x"),
        ("/r/xy/a", "invalid volume path: /r/xy/a must be within /r/x"),
        ("r/x/a", "invalid volume path: r/x/a must be within /r/x"),
        ("/var/vcap/data/a", "invalid volume path: /var/vcap/data/a must be within /r/x"),
        ("/r/x/data/job", f"invalid volume path: /r/x/data/job {CONFLICT}"),
        ("/r/x/store/job", f"invalid volume path: /r/x/store/job {CONFLICT}"),
    ],
)
def test_a_volume_elsewhere_is_refused(path: str, sentence: str) -> None:
    """A path that is not clean, is the job's own data or store, or lies outside is refused, in this order."""
    with pytest.raises(ConfigError) as caught:
        validate_volume(Volume(path), "job", "/r/x")

    assert sentence == str(caught.value)
