"""Looks at the machine once, and answers with values."""

from bpm.doors import look_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm.host.chosen import find_root, find_user
    from bpm.host.facts import observe, observe_machine
    from bpm.host.kernel import check_kernel, try_calls

__all__ = ["check_kernel", "find_root", "find_user", "observe", "observe_machine", "try_calls"]

if not TYPE_CHECKING:  # a type checker would take it to have every name
    __getattr__ = look_in(__name__, "chosen", "kernel", "facts")
