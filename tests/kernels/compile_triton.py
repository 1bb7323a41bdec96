"""Compile every launch of the Triton kernels for an H100, on a machine without one: nothing is run.

A program of its own, because a process is either compiling or interpreting. Prints the names of the kernels.
"""

import torch
import triton
from multislice_problems import batch, single
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TYPES = {torch.float32: "fp32", torch.float64: "fp64", torch.int64: "i64", torch.int32: "i32", torch.int8: "i8"}
TYPES |= {torch.uint16: "u16", torch.uint8: "u8"}
compiled = set()


def type_of(value) -> str:
    """Return the type of an argument as a launch tells it: an integer that is 1 is part of the code."""
    if isinstance(value, torch.Tensor):
        return "*" + TYPES[value.dtype]
    if isinstance(value, float):
        return "fp32"
    return "constexpr" if value == 1 else "i32"


def compile_(self, *arguments, grid, warmup, **options):
    """Take the place of a launch."""
    given = dict(zip((parameter.name for parameter in self.params), arguments, strict=False)) | options
    signature, constants = {}, {}
    for number, parameter in enumerate(self.params):
        value = given[parameter.name]
        if parameter.is_constexpr:
            signature[parameter.name], constants[(number,)] = "constexpr", value
        elif isinstance(value, tuple):
            signature[parameter.name] = tuple(map(type_of, value))
            constants |= {(number, i): 1 for i, one in enumerate(value) if type_of(one) == "constexpr"}
        else:
            signature[parameter.name] = type_of(value)
            constants |= {(number,): 1} if signature[parameter.name] == "constexpr" else {}
    source = ASTSource(fn=self, signature=signature, constexprs=constants)
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]
    compiled.add(self.fn.__name__)


def main() -> None:
    """Launch everything; for a number that is 1, other code is compiled."""
    triton.runtime.JITFunction.run = compile_
    from dptt.kernels import Thresholds, pose, rotation
    from dptt.kernels.triton import multislice, volume_step
    from dptt.kernels.triton import rotation as by

    for name, loss in (("odd and wide", "amplitude"), ("one slice, one mode", "poisson"), ("a line", "amplitude")):
        multislice.multislice_gradient(single(batch(name, loss), "cpu"))
    for dtype, shape, num_slices in ((torch.float32, (1, 1, 1), 1), (torch.complex64, (4, 5, 6), 2)):
        volume, slices = torch.ones(shape, dtype=dtype), torch.ones(num_slices, *shape[1:], dtype=dtype)
        map_ = torch.tensor([[0.8, 0.0, -0.6, 0.0], [0.1, 1.0, 0.1, 0.3], [0.6, 0.0, 0.8, 0.0]])
        rotation.project_slices(volume, map_, num_slices, 1.0, by=by)
        rotation.backproject_slices(slices, map_, shape, 1.0, by=by)
        pose.pose_derivatives(volume, map_, slices, 1.0, by=by)
        volume_step.advance_(volume, volume, volume, 0.5, 0.1)
        volume_step.move_(volume, volume, 0.1)
        volume_step.threshold_(volume, Thresholds())
    print("COMPILED", *sorted(compiled))


main()
