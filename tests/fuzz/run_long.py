"""Run the fuzz tests with new random input until the time is up; stop at the first failure.

Usage: python tests/fuzz/run_long.py [SECONDS]. A failure prints how to repeat it.
"""

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

FACTOR = '5'  # times as many examples in each round as the ordinary tests have


def main() -> int:
    """Return 0 when nothing was found."""
    end = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 600)
    rounds = 0
    while time.monotonic() < end:
        seed = secrets.randbelow(2**32)
        words = [
            sys.executable, '-m', 'pytest', '-x', '-q', '-p', 'no:cacheprovider',
            f'--hypothesis-seed={seed}', str(Path(__file__).parent),
        ]  # fmt: skip
        print(f'round {rounds + 1}: FUZZ_FACTOR={FACTOR} {" ".join(words[1:])}', flush=True)
        done = subprocess.run(
            words, env=os.environ | {'FUZZ_FACTOR': FACTOR}, check=False, timeout=None
        )
        if done.returncode:
            return 1
        rounds += 1
    print(f'{rounds} rounds, nothing found')
    return 0


if __name__ == '__main__':
    sys.exit(main())
