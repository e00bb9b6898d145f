"""Looks at the machine once, and answers with values."""

from bpm.host.kernel import check_kernel
from bpm.host.observe import find_root, find_user, observe

__all__ = ["check_kernel", "find_root", "find_user", "observe"]
