"""Ready callbacks for batches: a live bar on a terminal, plain lines elsewhere.

    with batch_progress(await engine.count_executions(select)) as callbacks:
        options = BatchExecutionOptions(name_prefix="invoice", **callbacks)
        results = await invoices.execute_batch(select, options=options)

Needs Rich, which ``pip install 'statechain[cli]'`` brings.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypedDict

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from statechain.arguments import COUNT, TEXT, checked, with_method
from statechain.records.results import ExecutionFailed

__all__ = ["BatchCallbacks", "BatchProgress", "batch_progress"]

SECONDS_BETWEEN_LINES = 5.0


class BatchCallbacks(TypedDict):
    """The two callbacks of `BatchExecutionOptions`, to be given with ``**``."""

    on_execution_start: Callable[[Any, int], None]
    on_execution_complete: Callable[[Any, int, Exception | None], None]


@checked(
    total=COUNT.or_none(),
    description=TEXT,
    console=with_method("print", "a Console of rich").or_none(),
)
def batch_progress(
    total: int | None = None, *, description: str = "batch", console: Console | None = None
) -> BatchProgress:
    """Return a context manager that shows how a batch gets on; entering it gives the callbacks.

    Arguments:
        total: How many executions there will be, where it is known: the bar and the time left need it.

        description: What is before the bar.

        console: Where it is shown; standard error unless given. A console that is no terminal gets plain lines, at
            most one in five seconds and one at the end.

    Returns:
        The context manager. What it is entered as is unpacked into `BatchExecutionOptions`.
    """
    return BatchProgress(total, description=description, console=console)


class BatchProgress:
    """Counts what starts and ends, and shows it while entered.

    Attributes:
        total: How many there will be, or None; may be set at any time.

        started, succeeded, failed, aborted: How many have, so far. What could not be started counts as failed.
    """

    def __init__(
        self,
        total: int | None = None,
        *,
        description: str = "batch",
        console: Console | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.started = self.succeeded = self.failed = self.aborted = 0
        self._description = description
        self._console = console or Console(stderr=True)
        self._now = now
        self._began = self._last_line = now()
        self._bar: Progress | None = None

    @property
    def ended(self) -> int:
        """How many have ended."""
        return self.succeeded + self.failed + self.aborted

    @property
    def callbacks(self) -> BatchCallbacks:
        """The callbacks that count."""
        return {"on_execution_start": self.on_start, "on_execution_complete": self.on_complete}

    def __enter__(self) -> BatchCallbacks:
        """Begin to show, and return the callbacks."""
        self._began = self._last_line = self._now()
        if self._console.is_terminal:
            self._bar = _bar(self, self._console)
            self._bar.add_task(self._description, total=self.total)
            self._bar.start()
        return self.callbacks

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Show where it is at the end, and stop."""
        if self._bar is not None:
            self._show()
            self._bar.stop()
        else:
            self._say()

    def on_start(self, _source_execution_id: str | None, _index: int) -> None:
        """Count an execution that begins."""
        self.started += 1
        self._show()

    def on_complete(self, _source_execution_id: str | None, _index: int, error: Exception | None) -> None:
        """Count an execution that has ended."""
        if error is None:
            self.succeeded += 1
        elif isinstance(error, ExecutionFailed) and error.execution.status == "ABORTED":
            self.aborted += 1
        else:
            self.failed += 1
        self._show()

    def counts(self) -> str:
        """Return the counts as a string, such as ``40/100, 2 failed, 5 running``."""
        of = "" if self.total is None else f"/{self.total}"
        running = self.started - self.ended
        counts = ((self.failed, "failed"), (self.aborted, "aborted"), (running, "running"))
        return ", ".join([f"{self.ended}{of}", *(f"{count} {what}" for count, what in counts if count)])

    told = counts
    """The name before version 0.2."""

    def pace(self) -> str:
        """Return the rate and the time left, as far as they can be known, such as ``12/s, 5 s left``."""
        seconds = self._now() - self._began
        if not self.ended or seconds <= 0:
            return ""
        rate = self.ended / seconds
        rated = f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s" if rate >= 0.1 else f"{rate * 60:.1f}/min"
        if self.total is None or self.ended >= self.total:
            return rated
        return f"{rated}, {_clock((self.total - self.ended) / rate)} left"

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.ended, total=self.total)
        elif self._now() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._say()

    def _say(self) -> None:
        self._last_line = self._now()
        pace = self.pace()
        line = f"{self._description}: {self.counts()}" + (f" ({pace})" if pace else "")
        # One line, however long, for what reads logs; and brackets in a description are no markup.
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Sign(SpinnerColumn):
    """A spinner, and at the end a tick; a batch with failures gets none."""

    def __init__(self, progress: BatchProgress) -> None:
        self._of = progress
        super().__init__()

    def render(self, task: Task) -> RenderableType:
        """Return it."""
        if not task.finished:
            return super().render(task)
        return Text("✗", style="red") if self._of.failed or self._of.aborted else Text("✓", style="green")


class _Counts(ProgressColumn):
    """The counts, coloured, with the pace."""

    # Rich draws ten times a second, too often to read a rate.
    max_refresh = 0.2

    def __init__(self, progress: BatchProgress) -> None:
        self._of = progress
        super().__init__()

    def render(self, task: Task) -> Text:  # noqa: ARG002 -- Rich's signature
        """Return them."""
        of = self._of
        total = "" if of.total is None else f"/{of.total}"
        parts = [(f"{of.ended}{total}", "bold")]
        parts += [(f" · {count} {what}", style) for count, what, style in (
            (of.failed, "failed", "red"),
            (of.aborted, "aborted", "magenta"),
            (of.started - of.ended, "running", "blue"),
        ) if count]  # fmt: skip
        pace = of.pace()
        return Text.assemble(*parts, (f" · {pace}" if pace else "", "dim"))


def _bar(progress: BatchProgress, console: Console) -> Progress:
    return Progress(
        _Sign(progress),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        _Counts(progress),
        console=console,
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
