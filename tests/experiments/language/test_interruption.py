"""A Ctrl-C is held back until state is whole again, and is never lost."""

from __future__ import annotations

import signal
import threading

import pytest

from experiments.language.interruption import interruption_held_back


def test_an_interruption_comes_at_the_end_of_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt), interruption_held_back():
        signal.raise_signal(signal.SIGINT)
        done.append("the rest")
    assert done == ["the rest"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_an_interruption_nothing_happens():
    with interruption_held_back():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_inside_comes_through_and_the_handler_is_back():
    with pytest.raises(ValueError, match="mine"), interruption_held_back():
        raise ValueError("mine")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_programs_handler_is_left_alone():
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(1))
    try:
        with interruption_held_back():
            signal.raise_signal(signal.SIGINT)
            assert came == [1]
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_are_not_touched():
    done = []

    def work():
        with interruption_held_back():
            done.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_a_sigterm_that_is_handled_comes_at_the_end_of_the_block_too():
    class Told(KeyboardInterrupt):
        pass

    def end(number, frame):
        raise Told

    done = []
    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(Told), interruption_held_back():
            signal.raise_signal(signal.SIGTERM)
            done.append("the rest")
        assert signal.getsignal(signal.SIGTERM) is end
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done == ["the rest"]
