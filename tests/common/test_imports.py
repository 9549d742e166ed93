"""Packages are imported without what they drag along, and all of it still works."""

import subprocess
import sys

CODE = """
import sys
from pumba_pipe.common.imports import import_ndimage
ndimage = import_ndimage()
assert ndimage.label([[1, 0, 1]])[1] == 2
assert 'numpy.f2py.crackfortran' not in sys.modules, 'executed at once'
import numpy
numpy.testing.assert_equal(1, 1)
from numpy.f2py import run_main
assert callable(run_main) and 'numpy.f2py.crackfortran' in sys.modules
"""


def test_what_numpy_drags_along_is_there_when_it_is_used():
    subprocess.run([sys.executable, '-c', CODE], check=True)
