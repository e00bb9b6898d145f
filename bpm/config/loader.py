"""From the text of a bpm.yml to its JobConfig, or to a ConfigError that says where it is wrong."""

from __future__ import annotations

from attrs import evolve

from bpm.config import codes
from bpm.config.decode import Decoder
from bpm.config.models import JobConfig
from bpm.config.places import Places
from bpm.config.schema import record_of
from bpm.config.validate import find_invalid
from bpm.config.words import format_key
from bpm.errors import ConfigError, Problem


def load(text: str | bytes, *, job: str = "job", root: str = "/var/vcap", file: str = "") -> JobConfig:
    """Read a bpm.yml.

    Args:
        text: Its text; bytes may be UTF-8 or UTF-16. At most 4 MiB.
        job: The job it belongs to: its own data and store directories are no additional volumes.
        root: The BOSH root on the host, which additional volumes must lie in.
        file: What errors call it.

    Returns:
        What it says. Keys that nobody knows are in ``warnings``.

    Raises:
        ConfigError: It is not YAML, or not of the right types (every such place is a Problem), or not valid (one
            Problem, the first, with the contract's own sentence). Nothing else is ever raised for a text.
    """
    return _load(text, job, root, file)[0]


def load_located(
    text: str | bytes, *, job: str = "job", root: str = "/var/vcap", file: str = ""
) -> tuple[JobConfig, Places]:
    """What ``load()`` reads, and where each key stands."""
    config, decoder = _load(text, job, root, file)
    return config, Places.of(file, decoder.places)


def _load(text: str | bytes, job: str, root: str, file: str) -> tuple[JobConfig, Decoder]:
    decoder = Decoder()
    try:
        config = _read(text, job, root, decoder)
    except ConfigError as error:
        raise ConfigError([evolve(problem, file=file) for problem in error.problems]) from None
    warnings = tuple(evolve(problem, file=file) for problem in decoder.warnings)
    return evolve(config, job=job, warnings=warnings), decoder


def _read(text: str | bytes, job: str, root: str, decoder: Decoder) -> JobConfig:
    from bpm.config.parse import read_document  # PyYAML: 20 ms that a command without a bpm.yml need not wait

    try:
        document = read_document(text)
    except ConfigError as error:
        raise _coded(error, codes.SYNTAX) from None
    if document is None:
        return JobConfig()
    try:
        config: JobConfig = decoder.decode_document(document, record_of(JobConfig))
    except ConfigError as error:
        raise _coded(error, codes.WRONG_TYPE) from None
    invalid = find_invalid(config, job, root)
    if invalid:
        path, reason = invalid
        node = decoder.places.get(path) or decoder.places[path[:-1]]
        raise ConfigError([Problem(reason, format_key(path), line=node.line, column=node.column, code=codes.INVALID)])
    return config


def _coded(error: ConfigError, code: str) -> ConfigError:
    return ConfigError([evolve(problem, code=code) for problem in error.problems])
