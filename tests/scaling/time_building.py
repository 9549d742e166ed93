"""Time the building of the workflows of a run, which comes before the first image is stripped.

python tests/scaling/time_building.py DIR -n 40
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path


def main() -> None:
    """Print CPU seconds and memory."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('bids_dir', metavar='DIR', help='made by make_tree.py')
    parser.add_argument('-n', type=int, default=40, metavar='N', help='participants; default: 40')
    given = parser.parse_args()
    from pumba_pipe.bids_app.execution.nipype_settings import configure_nipype

    configure_nipype(0)
    from pumba_pipe.bids_app.execution.plan import make_plan
    from pumba_pipe.bids_app.execution.runner import build_batches
    from pumba_pipe.bids_app.options.parser import parse
    from pumba_pipe.bids_app.selection.index import list_participants

    labels = list_participants(Path(given.bids_dir))[: given.n]
    words = [given.bids_dir, 'out', 'participant', '--skip-bids-validation', '--nprocs', '2']
    plan = make_plan(parse([*words, '--participant-label', *labels]), print)
    started, before = time.process_time(), memory_mb()
    batches = build_batches(plan, Path('work').resolve())
    seconds = time.process_time() - started
    print(
        f'{len(plan.todo)} images, {len(batches)} workflows: {seconds:.2f} s of CPU, '
        f'{memory_mb() - before:.1f} MB more than before'
    )


def memory_mb() -> float:
    """Most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


# worker processes read this file, too
if __name__ == '__main__':
    main()
