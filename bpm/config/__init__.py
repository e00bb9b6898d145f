"""What the operator said: bpm.yml and the flags beside it, as frozen values."""

from bpm.config import codes
from bpm.doors import look_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm.config.flags import parse_variable, parse_volume
    from bpm.config.loader import load, load_located
    from bpm.config.models import (
        Hooks,
        JobConfig,
        Limits,
        ProcessConfig,
        Unsafe,
        Variables,
        Volume,
        keys_of,
    )
    from bpm.config.paths import clean_path, is_below
    from bpm.config.places import Places
    from bpm.config.units import parse_size
    from bpm.config.validate import validate_volume
    from bpm.config.words import quote, suggest

__all__ = [
    "Hooks",
    "JobConfig",
    "Limits",
    "Places",
    "ProcessConfig",
    "Unsafe",
    "Variables",
    "Volume",
    "clean_path",
    "codes",
    "is_below",
    "keys_of",
    "load",
    "load_located",
    "parse_size",
    "parse_variable",
    "parse_volume",
    "quote",
    "suggest",
    "validate_volume",
]

if not TYPE_CHECKING:  # a type checker would take it to have every name
    __getattr__ = look_in(__name__, "paths", "words", "models", "units", "validate", "loader", "places", "flags")
