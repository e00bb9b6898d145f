"""The types of what cffi makes of abi.h."""

from typing import Any, Protocol

class _Lib(Protocol):
    def bpm_make_init(self) -> int: ...
    def bpm_spawn(self, request: Any, spawned: Any, report: Any) -> int: ...

class _FFI(Protocol):
    NULL: Any
    errno: int
    def new(self, kind: str, value: Any = ..., /) -> Any: ...
    def sizeof(self, kind: str) -> int: ...
    def typeof(self, kind: str) -> Any: ...

ffi: _FFI
lib: _Lib
