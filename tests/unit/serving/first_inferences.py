"""A program: in each of several new processes, threads begin the first inferences of an encoder, all at once.

    python first_inferences.py FOLDER PROCESSES

FOLDER holds an encoder's graph as model.xml. Prints how many processes were still at it after three seconds.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import openvino

from ragwright.serving.runtimes.openvino import compile_graph, read_graph
from ragwright.serving.runtimes.options import EncoderOptions

THREADS = 8


def infer(folder: Path) -> None:
    """Compile the graph, and have all threads do at the same moment what an inference begins with."""
    compile_graph(read_graph({"model": folder / "model.xml"}), EncoderOptions(streams=2), place=folder)
    barrier = threading.Barrier(THREADS)

    def run() -> None:
        barrier.wait()
        assert openvino.Type.i64.to_dtype() == np.int64
        assert openvino.Tensor(np.ones(1, np.int64), shared_memory=True).data[0] == 1

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    folder, processes = Path(sys.argv[1]), int(sys.argv[2])
    hung = 0
    for _ in range(processes):
        child = os.fork()
        if not child:
            signal.alarm(3)  # ends the process, whatever holds the interpreter's lock
            infer(folder)
            os._exit(0)
        hung += os.waitpid(child, 0)[1] != 0
    print(hung)


if __name__ == "__main__":
    main()
