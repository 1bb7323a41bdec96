"""CUDA C++ from this folder, compiled for the present GPU and launched by the C interfaces of NVRTC and the driver.

Not `torch.cuda._compile_kernel`, which does the same: it is private, and wants the headers of a CUDA toolkit, whose
folder it looks for (and raises OSError) even for a source that includes none.
"""

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dptt.kernels.disk_cache import remembered

SOURCES = Path(__file__).parent
_MAX_SHARED, _CARVEOUT, _ALL = 8, 9, 100
"""CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, ..._PREFERRED_SHARED_MEMORY_CARVEOUT and per cent of cuda.h."""


@dataclass(frozen=True)
class Kernel:
    """A function on one GPU."""

    function: ctypes.c_void_p
    threads: int
    """Of a block."""
    shared_bytes: int
    """Of a block."""

    def __call__(self, grid: Sequence[int], *arguments: Tensor | int | None) -> None:
        """Launch `grid` blocks (x, y, z) on the current stream; None is a null pointer."""
        values = [_argument(argument) for argument in arguments]
        places = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        x, y, z = (*grid, 1, 1)[:3]
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        shape = (*map(ctypes.c_uint, (x, y, z, self.threads, 1, 1, self.shared_bytes)), stream)
        _check(_driver().cuLaunchKernel(self.function, *shape, places, None))


def can_compile() -> bool:
    """Return whether NVRTC is installed."""
    try:
        return bool(_compiler())
    except OSError:
        return False


def is_available() -> bool:
    """Return whether kernels can be compiled and launched."""
    try:
        return can_compile() and bool(_driver())
    except OSError:
        return False


@cache
def compiled(
    file: str, name: str, definitions: tuple[str, ...], threads: int, shared_bytes: int, device: torch.device
) -> Kernel:
    """Return the function `name` of a source `file`, compiled with ``NAME=value`` definitions for `device`."""
    major, minor = torch.cuda.get_device_capability(device)
    image = machine_code(file, definitions, f"sm_{major}{minor}")
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    with torch.cuda.device(device):
        torch.cuda.current_stream().synchronize()  # makes the device's context current
        _check(_driver().cuModuleLoadData(ctypes.byref(module), image))
        _check(_driver().cuModuleGetFunction(ctypes.byref(function), module, name.encode()))
        for attribute, value in ((_MAX_SHARED, shared_bytes), (_CARVEOUT, _ALL)):
            _check(_driver().cuFuncSetAttribute(function, ctypes.c_int(attribute), ctypes.c_int(value)))
    return Kernel(function, threads, shared_bytes)


def machine_code(file: str, definitions: Sequence[str], architecture: str) -> bytes:
    """Return a source of this folder compiled for an `architecture` such as ``sm_90``; needs no GPU.

    It is compiled once for a user: some seconds, for every window, number of modes and type of counts.

    Raises
    ------
    RuntimeError
        With the compiler's log, if it refuses the source.
    """
    options = [f"--gpu-architecture={architecture}", "--std=c++17", *(f"-D{text}" for text in definitions)]
    headers = {header.name: header.read_bytes() for header in sorted(SOURCES.glob("*.cuh"))}
    source = (SOURCES / file).read_bytes()
    made_of = repr((_compiler_version(), options, source, headers)).encode()
    return remembered("cuda", made_of, lambda: _compile(file, source, headers, options))


def _compile(file: str, source: bytes, headers: Mapping[str, bytes], options: Sequence[str]) -> bytes:
    library = _compiler()
    texts = (ctypes.c_char_p * len(headers))(*headers.values())
    names = (ctypes.c_char_p * len(headers))(*(name.encode() for name in headers))
    program = ctypes.c_void_p()
    _check_compiler(
        library.nvrtcCreateProgram(ctypes.byref(program), source, file.encode(), len(headers), texts, names)
    )
    try:
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if library.nvrtcCompileProgram(program, len(options), given):
            log = _bytes(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program)
            raise RuntimeError(f"{file} with {' '.join(options)}:\n{log.rstrip(bytes(1)).decode()}")
        return _bytes(library.nvrtcGetCUBINSize, library.nvrtcGetCUBIN, program)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _compiler_version() -> tuple[int, int]:
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check_compiler(_compiler().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return major.value, minor.value


def _bytes(size_of: Callable[..., int], copy: Callable[..., int], program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check_compiler(size_of(program, ctypes.byref(size)))
    result = ctypes.create_string_buffer(size.value)
    _check_compiler(copy(program, result))
    return result.raw


def _argument(argument: Tensor | int | None) -> Any:
    """Return an argument as C has it; kernels take numbers as int, and pointers."""
    if isinstance(argument, Tensor):
        assert argument.is_contiguous() and not argument.is_conj()
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_void_p() if argument is None else ctypes.c_int(argument)


@cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


@cache
def _compiler() -> ctypes.CDLL:
    """Return NVRTC: of the packages installed with PyTorch, else the system's."""
    major = (torch.version.cuda or "").split(".")[0]
    for folder in (path for entry in sys.path for path in Path(entry or ".").glob("nvidia/*/lib")):
        for path in folder.glob(f"libnvrtc.so.{major}*"):
            for second in folder.glob(f"libnvrtc-builtins.so.{major}*"):
                ctypes.CDLL(str(second))  # NVRTC opens it by name, and finds it only if it is loaded already
            return ctypes.CDLL(str(path))
    for name in (f"libnvrtc.so.{major}", "libnvrtc.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise OSError(
        f"NVRTC (libnvrtc.so.{major}) is missing. Install the package nvidia-cuda-nvrtc that fits this PyTorch"
    )


def _check(status: int) -> None:
    if status:
        text = ctypes.c_char_p()
        _driver().cuGetErrorString(status, ctypes.byref(text))
        raise RuntimeError(f"the CUDA driver returned error {status}: {(text.value or b'unknown error').decode()}")


def _check_compiler(status: int) -> None:
    if status:
        raise RuntimeError(f"NVRTC returned error {status}")
