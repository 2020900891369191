"""What Ctrl-C must not end in its midst: imports of Numba and of methods, and Numba's compiler.

An interrupted import of Numba leaves a module without its parts, and an interrupted compiler the like: later calls of that process, in a
notebook say, failed until it was started anew, or an internal error was told of instead of the KeyboardInterrupt. Python hands signals to
its main thread alone, so another thread does such work. The main thread waits for it and is interrupted at once; the work goes on to its
end, and whoever wants some next waits for that.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from kernels.runtime.locks import waits_for

LOOKS = 0.1  # seconds: a signal that comes as a wait is about to begin does not end it, and is seen once it is over
P = ParamSpec("P")
T = TypeVar("T")

completing = threading.RLock()  # one thread at a time, as Numba's compiler wants; a fork waits for it
waits_for(completing)


def completed(function: Callable[P, T]) -> Callable[P, T]:
    """The function, of which each call that began is done to its end. **Warning**: while the main thread waits, what it holds stays locked:
    the function may take no lock that its callers hold."""

    def guarded(*args: P.args, **options: P.kwargs) -> T:
        with completing:
            return function(*args, **options)

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> T:
        if threading.current_thread() is not threading.main_thread():
            return guarded(*args, **options)
        results: list[T] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                results.append(guarded(*args, **options))
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="spectroconv-completing")
        try:
            thread.start()
        except RuntimeError:  # no further thread, or an interpreter that is about to end
            return guarded(*args, **options)
        while thread.is_alive():  # no thread is left behind, of which a fork would warn
            thread.join(LOOKS)
        if errors:
            raise errors.pop()
        return results.pop()

    return call
