"""Looks at the machine once, and answers with values."""

from bpm.host.kernel import check_kernel, try_calls
from bpm.host.observe import find_root, find_user, observe, observe_machine

__all__ = ["check_kernel", "find_root", "find_user", "observe", "observe_machine", "try_calls"]
