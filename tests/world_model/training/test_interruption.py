"""A signal lets the step under way end; a second one does not wait."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from world_model.training.interruption import interruptible, stopping_between_steps

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def _handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


@BOTH
def test_a_step_that_has_begun_is_finished(number):
    done = []

    def train():
        with stopping_between_steps() as check:
            for step in range(5):
                check()
                if step == 2:
                    send(number)
                done.append(step)

    with pytest.raises(KeyboardInterrupt):
        train()
    assert done == [0, 1, 2]


@BOTH
def test_a_signal_in_the_last_step_counts(number):
    with pytest.raises(KeyboardInterrupt), stopping_between_steps():
        send(number)


@BOTH
def test_a_second_signal_does_not_wait(number):
    done = []

    def train():
        with stopping_between_steps():
            send(number)
            done.append("first")
            send(number)
            done.append("second")

    with pytest.raises(KeyboardInterrupt):
        train()
    assert done == ["first"]


def test_nothing_happens_without_a_signal():
    with interruptible(), stopping_between_steps() as check:
        check()


@BOTH
def test_elsewhere_a_signal_interrupts_at_once(number):
    done = []

    def train():
        with interruptible():
            send(number)
            done.append("after")

    with pytest.raises(KeyboardInterrupt):
        train()
    assert done == []


def test_threads_leave_the_handlers_alone():
    errors = []

    def work():
        try:
            with interruptible(), stopping_between_steps() as check:
                check()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []
