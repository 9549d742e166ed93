"""Arguments of wrong types: one line that names the argument, before any work."""

import subprocess
import sys

import numpy as np
import pytest

import pumba_pipe
from pumba_pipe.preprocessing.bias import correct_bias

RECIPE = 'recipe'
WRONG = (5, 2.5, b'x', [], {}, object())
PATHS = {
    'path': pumba_pipe.load_volume,
    'name_or_file': pumba_pipe.load_recipe,
    'in_file': pumba_pipe.strip_file,
}
OPTIONAL = {
    'path': pumba_pipe.load_weights,
    'out_file': lambda value: pumba_pipe.strip_file('nowhere.nii', value),
    'out_mask': lambda value: pumba_pipe.strip_file('nowhere.nii', out_mask=value),
    'out_prob': lambda value: pumba_pipe.strip_file('nowhere.nii', out_prob=value),
    'out_sdt': lambda value: pumba_pipe.strip_file('nowhere.nii', out_sdt=value),
    'out_quality': lambda value: pumba_pipe.strip_file('nowhere.nii', out_quality=value),
    'weights': lambda value: pumba_pipe.strip_file('nowhere.nii', weights=value),
}
CALLS = [
    *((name, call, value) for name, call in PATHS.items() for value in (None, *WRONG)),
    *((name, call, value) for name, call in OPTIONAL.items() for value in WRONG),
]


@pytest.mark.parametrize(('name', 'call', 'value'), CALLS)
def test_what_is_no_path(name, call, value):
    with pytest.raises(pumba_pipe.PumbaError) as caught:
        call(value)
    assert str(caught.value).startswith(f'{name}= must be a path (str or Path), not ')


@pytest.mark.parametrize(('name', 'call'), [*PATHS.items(), *OPTIONAL.items()])
def test_an_empty_path_is_not_the_current_folder(name, call):
    with pytest.raises(pumba_pipe.PumbaError, match=f'^{name}= is empty; give a path$'):
        call('')


@pytest.mark.parametrize('value', [None, *WRONG, 'no'])
@pytest.mark.parametrize('name', ['csf', 'border_mm', 'threads', 'device', 'model'])
def test_options_of_extraction(name, value):
    fitting = {'border_mm': (5, 2.5), 'threads': (None, 5), 'model': (None,)}.get(name, ())
    image = np.random.default_rng(1).random((8, 8, 8))
    if value in fitting:
        return
    with pytest.raises(pumba_pipe.PumbaError, match=name):
        pumba_pipe.extract(image, **{name: value}, affine=np.eye(4))


@pytest.mark.parametrize(
    ('name', 'wrong'),
    [
        (RECIPE, (None, 'default', *WRONG)),
        ('seed', (None, '1', True, 2.5, b'x', [], {}, object())),
        ('shape', (None, 5, 2.5, b'x', [], {}, (8, 8), (8, 8, -8), (8, 8, 8.0), object())),
        ('device', (None, *WRONG)),
    ],
)
def test_arguments_of_synthesize(name, wrong):
    right = {RECIPE: pumba_pipe.load_recipe(), 'seed': 1, 'shape': (8, 8, 8), 'device': 'cpu'}
    for value in wrong:
        with pytest.raises(pumba_pipe.PumbaError, match=f'^{name}= must be '):
            pumba_pipe.synthesize(**right | {name: value})


@pytest.mark.parametrize(
    ('wrong', 'kind', 'message'),
    [
        ({'device': 'tpu'}, pumba_pipe.PumbaError, "device 'tpu'"),
        ({'shape': (10**5, 10**5, 10**5)}, MemoryError, 'not enough memory'),
    ],
)
def test_what_pytorch_cannot_do(wrong, kind, message):
    with pytest.raises(kind, match=message):
        pumba_pipe.synthesize(pumba_pipe.load_recipe(), 1, **wrong)


def test_sitk_can_be_imported_by_its_name():
    code = 'import pumba_pipe.sitk as a; from pumba_pipe import sitk as b; assert a is b'
    done = subprocess.run(
        [sys.executable, '-c', f'{code}; print(a.extract.__name__)'],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ('extract\n', '')


@pytest.mark.parametrize('clip', [(90, 10), (10, 10), (-5, 50), (10, 101), (float('nan'), 90)])
def test_n4_refuses_what_are_no_percentiles(clip):
    data = np.ones((8, 8, 8), np.float32)
    with pytest.raises(pumba_pipe.PumbaError, match=r'percentiles .* between 0 and 100'):
        correct_bias(data, (1, 1, 1), clip=clip)
