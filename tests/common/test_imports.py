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


MASK = """
import sys
from pumba_pipe.commands.strip import main
from pumba_pipe.common.imports import UNUSED_FOR_MASKS
assert main(['-i', sys.argv[1], '-m', sys.argv[2], '--device', 'cpu', '--threads', '1']) == 0
for name in UNUSED_FOR_MASKS:
    module = sys.modules.get(name)
    # asked without executing it: any attribute would
    kind = object if module is None else object.__getattribute__(module, '__class__')
    assert module is None or kind.__name__ == '_LazyModule', name
import numpy, scipy.special
assert scipy.special.comb(4, 2) == 6
assert numpy.polynomial.Polynomial([1])(2) == 1
"""


def test_a_mask_is_made_without_what_it_has_no_use_for(head_file, tmp_path):
    words = [sys.executable, '-c', MASK, str(head_file), str(tmp_path / 'mask.nii.gz')]
    subprocess.run(words, check=True)
