"""Memory that stripping one image on a CPU takes: where the constants come from.

Usage: python tests/scaling/measure_memory.py IMAGE [THREADS]

Prints the peak of resident memory of a `SkullStrip` node, for `pumba_pipe.interfaces.memory`, and
the address space that the networks take besides what is there before, for `memory_needed` in
`pumba_pipe.extraction.pipeline`. Linux only.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pumba_pipe.extraction import pipeline
from pumba_pipe.interfaces import SkullStrip


def status(key: str) -> float:
    """What Linux says about this process, in MB."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(float(line.split()[1]) / 1000 for line in lines if line.startswith(f'{key}:'))


def main() -> None:
    """Strip the image and print both figures."""
    image, threads = Path(sys.argv[1]).absolute(), int((sys.argv[2:] or ['1'])[0])
    before: list[float] = []
    pipeline.check_memory = lambda needed: before.append(status('VmSize'))
    with TemporaryDirectory() as folder:
        SkullStrip(in_file=str(image), num_threads=threads, use_gpu=False).run(cwd=folder)
    print(f'{image.name}: peak of resident memory {status("VmHWM"):.0f} MB', end='; ')
    print(f'address space of the networks {status("VmPeak") - before[0]:.0f} MB')


if __name__ == '__main__':
    main()
