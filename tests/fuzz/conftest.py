"""How much is tried: a fixed little in the ordinary tests, more in `make fuzz`."""

import contextlib
import faulthandler
import os
import signal
import sys

import pytest
from hypothesis import HealthCheck, settings

HANG_SECONDS = 20  # for one example
# Relative: how many examples a test has, of one second each or of a thousand a second, is its own.
MANY = int(os.environ.get('FUZZ_FACTOR', '0'))

settings.register_profile(
    'fixed',
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
settings.register_profile('long', settings.get_profile('fixed'), derandomize=False)
settings.load_profile('long' if MANY else 'fixed')


@pytest.fixture(scope='session')
def within():
    """A context manager in which an example that does not end is an error."""

    def hangs(number, frame):
        raise AssertionError(f'not done after {HANG_SECONDS} s')

    @contextlib.contextmanager
    def limited(seconds=HANG_SECONDS):
        if not hasattr(signal, 'setitimer'):
            yield
            return
        before = signal.signal(signal.SIGALRM, hangs)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        # should it hang where Python has no say
        faulthandler.dump_traceback_later(3 * seconds, exit=True, file=sys.__stderr__)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return limited


def pytest_configure(config):
    config.addinivalue_line('markers', 'fuzz: tries random input')


def pytest_generate_tests(metafunc):
    """Multiply the examples of each test in a long run."""
    function = metafunc.function
    found = getattr(function, '_hypothesis_internal_use_settings', None)
    if MANY and found is not None and not getattr(function, '_many', False):
        more = settings(found, max_examples=found.max_examples * MANY, derandomize=False)
        function._hypothesis_internal_use_settings = more
        function._many = True
