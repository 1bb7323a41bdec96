"""A second Ctrl-C interrupts wherever it comes, also where Python drops exceptions."""

import os
import signal
import time
import weakref

import pytest

from dptt.runtime.stopping import listening


class Something:
    """An object to refer to."""


def test_a_ctrl_c_in_a_callback_is_not_lost():
    with listening() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.noted == "SIGINT"
        thing = Something()
        reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            del thing
            assert reference() is None
            time.sleep(5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_other_exceptions_in_callbacks_are_reported_as_before(monkeypatch):
    reported = []
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: reported.append(unraisable.exc_type))
    with listening():
        thing = Something()
        reference = weakref.ref(thing, lambda _: 1 / 0)
        del thing
        assert reference() is None
    assert reported == [ZeroDivisionError]
