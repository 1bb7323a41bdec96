"""Every annotated shape and dtype in dptt is checked while the tests run, each function's from its first call on.

A process calls a fraction of the package's functions; making the checks of all of them took half of the collection.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jaxtyping

MAKE_CHECKS = jaxtyping.jaxtyped


def install() -> Callable[[], None]:
    """Let what is imported from dptt check its annotations until the function that is returned is called."""
    jaxtyping.jaxtyped = at_first_call  # the name by which the hook decorates functions and classes
    return jaxtyping.install_import_hook("dptt", "beartype.beartype").uninstall


def at_first_call(decorated: Any = None, *, typechecker: Callable[..., Any]) -> Any:
    """Return what jaxtyping makes of a function or dataclass, but make it when it is first called."""
    if decorated is None:
        return functools.partial(at_first_call, typechecker=typechecker)
    if dataclasses.is_dataclass(decorated):
        if "__init__" in vars(decorated):  # one that is inherited is checked already
            decorated.__init__ = at_first_call(decorated.__init__, typechecker=typechecker)
        return decorated
    if not inspect.isfunction(decorated):
        return MAKE_CHECKS(decorated, typechecker=typechecker)
    checked: Callable[..., Any] | None = None

    @functools.wraps(decorated)
    def check(*arguments: Any, **named: Any) -> Any:
        nonlocal checked
        if checked is None:
            checked = MAKE_CHECKS(decorated, typechecker=typechecker)
        return checked(*arguments, **named)

    return check
