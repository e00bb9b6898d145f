"""What pyproject.toml cannot say: the native extension, the init compiled before it, and the abi3 tag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext


class BuildInitFirst(build_ext):
    """build_ext, with init compiled before the extension that embeds it."""

    def run(self) -> None:
        """Compile init, then the extension."""
        namespace: dict[str, Any] = {"__file__": str(Path(__file__).with_name("build_ffi.py")), "__name__": "build_ffi"}
        exec(Path(namespace["__file__"]).read_text(), namespace)
        namespace["compile_init"]()
        super().run()


class StableAbiWheel(bdist_wheel):
    """One wheel for CPython 3.10 and all later ones."""

    def get_tag(self) -> tuple[str, str, str]:
        """cp310-abi3 in place of this interpreter's own tag."""
        _, _, platform = super().get_tag()
        return "cp310", "abi3", platform


setup(
    cffi_modules=["build_ffi.py:ffibuilder"],
    cmdclass={"build_ext": BuildInitFirst, "bdist_wheel": StableAbiWheel},
)
