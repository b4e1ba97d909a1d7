"""Signals as events of a selector: the supervisor has one thread, and hears all that happens in one place."""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def heard_by(
    selector: selectors.BaseSelector, actions: Mapping[signal.Signals, Callable[[], None]]
) -> Iterator[None]:
    """Have each of these signals call its action when the selector is asked, until the block ends."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)

    def act() -> None:
        for number in reader.recv(64):
            actions.get(signal.Signals(number), lambda: None)()

    selector.register(reader, selectors.EVENT_READ, act)
    wakeup_fd_before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handlers_before = {number: signal.signal(number, lambda *_: None) for number in actions}
    try:
        yield
    finally:
        for number, handler in handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup_fd_before)
        selector.unregister(reader)
        reader.close()
        writer.close()
