"""Frames: any object arrives whole, in order, from many threads; errors of ours stay what they were."""

import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import FormatError, VesaliusError
from vesalius.stages.serve.work.lines import LENGTH, Busy, Line, error_facts, error_from

plain = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.dictionaries(st.text(), plain), max_size=5))
def test_frames_arrive_whole_and_in_order(messages):
    a, b = socket.socketpair()
    one, other = Line(a), Line(b)
    for message in messages:
        one.send(message)
    assert [other.receive(5) for _ in messages] == messages
    assert other.receive(0.0) is None
    one.close()
    with pytest.raises(EOFError):
        other.receive(5)
    other.close()


def test_many_threads_send_without_mixing():
    a, b = socket.socketpair()
    one, other = Line(a), Line(b)
    text = "x" * 30_000
    threads = [threading.Thread(target=lambda k=k: [one.send({"k": k, "i": i, "text": text}) for i in range(10)]) for k in range(4)]
    for thread in threads:
        thread.start()
    came = [other.receive(10) for _ in range(40)]
    for thread in threads:
        thread.join()
    assert all(message["text"] == text for message in came)
    assert [m["i"] for m in came if m["k"] == 2] == list(range(10))


def test_a_length_without_measure_is_the_end_of_the_line():
    a, b = socket.socketpair()
    b.sendall(LENGTH.pack(2**32 - 1))
    with pytest.raises(EOFError, match="does not keep to the frames"):
        Line(a).receive(5)


def test_errors_stay_what_they_were():
    error = FormatError("the file is empty", where="a.png", expected="an image", got="0 bytes", do="fetch it again")
    again = error_from(error_facts(error))
    assert type(again) is FormatError and str(again) == str(error)
    assert type(error_from(error_facts(Busy("full")))) is VesaliusError
    assert type(error_from({"kind": "Path", "what": "x"})) is VesaliusError
