"""What processes that load data have to mind."""

from __future__ import annotations

from torch.utils.data import get_worker_info

from coincide.ops._parallel import get_threads, set_threads


def one_thread_in_workers() -> None:
    """Let kernels run on one thread if this is a process that a DataLoader has started.

    A fork takes over the pool of threads, but not its threads: work handed to them would wait for ever. And there are
    as many workers as there are processors to spare.
    """
    if get_worker_info() is not None and get_threads() != 1:
        set_threads(1)
