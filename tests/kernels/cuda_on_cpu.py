"""Kernels in CUDA C++ compiled with g++, their threads taking turns: their arithmetic without a GPU."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

from dptt.kernels.cuda.compiler import SOURCES, _argument

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
gxx = shutil.which("g++")


OPTIONS = ("-std=c++20", "-O0", "-Wno-unknown-pragmas", "-fPIC")


def compile_(*arguments: object) -> None:
    done = subprocess.run([str(gxx), *OPTIONS, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def compiler(folder: Path, num_threads: int) -> Callable:
    """Return what takes the place of `compiler.compiled`: kernels whose blocks have `num_threads` threads."""
    header = folder / HEADER.name
    header.write_text(HEADER.read_text())
    compile_("-x", "c++-header", header, "-o", f"{header}.gch")  # once: it takes longer than a kernel

    @cache
    def compiled(file, name, definitions, threads, shared_bytes, device):
        own = [text for text in definitions if not text.startswith("THREADS=")]
        defined = "".join(f"#define {text.replace('=', ' ', 1)}\n" for text in (*own, f"THREADS={num_threads}"))
        source = folder / f"{abs(hash((file, definitions)))}.cpp"
        library = source.with_suffix(f".{num_threads}.so")
        source.write_text(
            f'#include "{HEADER.name}"\n{defined}#include "{SOURCES / file}"\n'
            f'extern "C" void launch_{name}(const unsigned *blocks, unsigned threads, void **arguments) '
            f"{{ launch({name}, blocks, threads, arguments); }}\n"
        )
        compile_("-shared", source, "-o", library)
        function = ctypes.CDLL(str(library))[f"launch_{name}"]

        def launch(grid, *arguments):
            values = [_argument(argument) for argument in arguments]
            places = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
            # a block of `accumulate` owns as many columns as it has threads; blocks without columns end at once
            function(
                (ctypes.c_uint * 3)(*(*grid, 1, 1)[:3]), num_threads if name == "multislice" else threads, places
            )

        return launch

    return compiled
