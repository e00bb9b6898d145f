"""From the text of a bpm.yml to its JobConfig, or to a ConfigError that says where it is wrong."""

from __future__ import annotations

from attrs import evolve

from bpm.config.decode import Decoder
from bpm.config.models import JobConfig
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
    try:
        config, warnings = _read(text, job, root)
    except ConfigError as error:
        raise ConfigError([evolve(problem, file=file) for problem in error.problems]) from None
    return evolve(config, job=job, warnings=tuple(evolve(problem, file=file) for problem in warnings))


def _read(text: str | bytes, job: str, root: str) -> tuple[JobConfig, list[Problem]]:
    from bpm.config.parse import read_document  # PyYAML: 20 ms that a command without a bpm.yml need not wait

    document = read_document(text)
    if document is None:
        return JobConfig(), []
    decoder = Decoder()
    config: JobConfig = decoder.decode_document(document, record_of(JobConfig))
    invalid = find_invalid(config, job, root)
    if invalid:
        path, reason = invalid
        node = decoder.places.get(path) or decoder.places[path[:-1]]
        raise ConfigError([Problem(reason, format_key(path), line=node.line, column=node.column)])
    return config, decoder.warnings
