"""The boilerplate: sentences for a paper on what was run, with references (logs/CITATION.*)."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pumba_pipe.bids_app.options.config import RunConfig
from pumba_pipe.bids_app.outputs.bibliography import REFERENCES
from pumba_pipe.workflows.modalities import Volumes, modality_of
from pumba_pipe.workflows.settings import is_corrected

from pumba_pipe.common.documents import read_text
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import write_text
from pumba_pipe.network.devices import CPU
from pumba_pipe.network.engine import library_for

CITATION = 'CITATION'
ENGINES = {
    'openvino': ('OpenVINO', 'openvino', 'openvino2019'),
    'torch': ('PyTorch', 'torch', 'pytorch2019'),
}
MARK = re.compile(r'\[@(\w+)\]')
HEADING = '# References'
NOTE = (
    'This text was written by pumba_pipe from the options of a run. It may be used in a paper as '
    'it stands, or changed (CC0).'
)


@dataclass(frozen=True)
class Methods:
    """What a run does, for the text.

    Attributes
    ----------
    modalities : sequence of str
        Suffix of each image; one entry an image.
    participants : int
    weights : str
        Their name: ``default``, or a file's.
    sha256 : str
        Of the weights.
    device : str
        Where the networks ran: ``'cpu'``, or a GPU.
    manual : int
        Images whose masks a person or another tool made.
    """

    modalities: Sequence[str]
    participants: int
    weights: str
    sha256: str
    device: str = CPU
    manual: int = 0


def compose(config: RunConfig, methods: Methods) -> str:
    """Write the paragraphs, with marks such as ``[@nipype2011]`` for references."""
    parts = [
        part(config, methods) for part in (_images, _references, _strip, _register, _software)
    ]
    return '\n\n'.join(part for part in parts if part)


def cited(text: str) -> list[str]:
    """Keys of the references in a text, each once, in order."""
    return list(dict.fromkeys(MARK.findall(text)))


def plain(text: str) -> str:
    """Replace marks by names and years, for readers.

    Examples
    --------
    >>> plain('with PUMBA [@park2025]')
    'with PUMBA (Park et al. 2025)'
    """
    known = REFERENCES.get
    return MARK.sub(lambda mark: f'({ref.short})' if (ref := known(mark[1])) else mark[0], text)


def write_citation(output_dir: Path, text: str) -> None:
    """Write ``logs/CITATION.md``, ``.bib`` and ``.html``.

    Raises
    ------
    OutputError
    """
    keys = cited(text)
    references = [REFERENCES[key] for key in keys]
    writers: dict[str, Callable[[], str]] = {
        '.md': lambda: '\n\n'.join(
            [text, HEADING, *(f'* @{ref.key}: {ref.text}' for ref in references), NOTE]
        ),
        '.bib': lambda: '\n\n'.join(ref.bibtex for ref in references),
        '.html': lambda: _html(text, keys),
    }
    for suffix, make in writers.items():
        write_text(output_dir / 'logs' / f'{CITATION}{suffix}', make() + '\n')


def read_citation(output_dir: Path) -> str:
    """Read the paragraphs that `write_citation` wrote, empty without them."""
    try:
        content = read_text(output_dir / 'logs' / f'{CITATION}.md')
    except InputError:
        return ''
    return content.split(HEADING)[0].strip()


def _images(config: RunConfig, methods: Methods) -> str:
    counts = Counter(methods.modalities)
    kinds = _list([f'{number} {name}' for name, number in sorted(counts.items())])
    total = sum(counts.values())
    people = f'{methods.participants} participant{"s" * (methods.participants != 1)}'
    return (
        f'Brain extraction of {total} image{"s" * (total != 1)} ({kinds}) of {people} was run '
        f'with pumba_pipe {_version("pumba_pipe")} on a data set in the Brain Imaging Data '
        'Structure [@bids2016].'
    )


# How the reference of a series is made, by the kind of its volumes (`workflows.modalities`).
REFERENCE_WORDS: dict[Volumes, str] = {
    'all': 'the mean of its volumes without outliers',
    'b0': 'the mean of its volumes of at most 50 s/mm^2',
    'asl': 'its M0 image, or without one the mean of its control volumes',
    'frames': 'the mean of its frames weighted by their duration',
}


def _references(config: RunConfig, methods: Methods) -> str:
    """How series became one volume, empty where there is none."""
    suffixes: dict[Volumes, list[str]] = {}
    for suffix in sorted(set(methods.modalities)):
        if volumes := modality_of(suffix).volumes:
            suffixes.setdefault(volumes, []).append(suffix)
    if not suffixes:
        return ''
    made = [
        f'{words} ({_list(suffixes[volumes])})'
        for volumes, words in REFERENCE_WORDS.items()
        if volumes in suffixes
    ]
    return (
        f'Each series was stood for by one volume: {"; ".join(made)}. Where the head had moved, '
        'volumes were aligned to the one nearest to the median first.'
    )


def _strip(config: RunConfig, methods: Methods) -> str:
    shipped = methods.weights == 'default'
    weights = 'the shipped weights' if shipped else f'weights of our own ({methods.weights})'
    kinds, corrected = set(methods.modalities), corrected_kinds(config, methods)
    sentences = []
    if config.n4 == 'both' and corrected:
        sentences.append(_corrected(corrected, kinds, 'First', ''))
    sentences.append(
        'The brain was found by a 3D U-Net that was trained only on synthetic heads made of '
        'random shapes, in a coarse pass over the whole image and a fine pass around the brain, '
        f'with {weights} (SHA-256 {methods.sha256[:12]}); the method follows the idea of PUMBA '
        '[@park2025].'
    )
    if config.csf != 'auto':
        verb = 'include' if config.csf == 'include' else 'leave out'
        sentences.append(f'Masks {verb} a rim of the CSF around the brain.')
    if config.border_mm:
        verb = 'grown' if config.border_mm > 0 else 'shrunk'
        sentences.append(f'Masks were {verb} by {abs(config.border_mm):g} mm.')
    if methods.manual:
        some = 'one image' if methods.manual == 1 else f'{methods.manual} images'
        sentences.append(f'For {some}, a mask edited by hand or made otherwise was used instead.')
    if config.n4 == 'both' and corrected:
        sentences.append(
            'When the brain had been found in the result, the correction was repeated on the '
            'original image, with the mask as weights.'
        )
    elif corrected:
        when = 'When its brain had been found'
        sentences.append(_corrected(corrected, kinds, when, 'with the mask as weights, '))
    if config.sloppy:
        sentences.append('The quick settings for trials (--sloppy) were used.')
    return ' '.join(sentences)


def corrected_kinds(config: RunConfig, methods: Methods) -> list[str]:
    """Suffixes of the images that are corrected for intensity non-uniformity."""
    return [] if config.n4 == 'off' else sorted(filter(is_corrected, set(methods.modalities)))


def _corrected(corrected: Sequence[str], kinds: set[str], when: str, how: str) -> str:
    which = 'each image' if corrected == sorted(kinds) else f'each {_list(corrected)} image'
    return (
        f'{when}, {which} was corrected for intensity non-uniformity with N4 [@n4itk2010] as '
        f'SimpleITK has it [@simpleitk2013], {how}estimated from values clipped to their 10th and '
        '99.9th percentile.'
    )


def _register(config: RunConfig, methods: Methods) -> str:
    if not config.spaces:
        return ''
    how = (
        'affinely and then by symmetric diffeomorphic registration [@ants2008]'
        if config.deformable
        else 'affinely, maximizing Mattes mutual information [@mattes2003] with SimpleITK '
        '[@simpleitk2013]'
    )
    return (
        f'Each image was registered {how} to {_list(list(config.spaces))} from TemplateFlow '
        '[@templateflow2022].'
    )


def _software(config: RunConfig, methods: Methods) -> str:
    programs = [
        ('Nipype', 'nipype', 'nipype2011'),
        ('NiBabel', 'nibabel', 'nibabel'),
        ENGINES[library_for(methods.device)],
    ]
    if config.database_dir is not None:  # else files are found without it
        programs.insert(1, ('PyBIDS', 'pybids', 'pybids2019'))
    if corrected_kinds(config, methods) or config.spaces:
        programs.append(('SimpleITK', 'SimpleITK', 'simpleitk2013'))
    if config.deformable:
        programs.append(('ANTsPy', 'antspyx', 'ants2008'))
    parts = [f'{name} {_version(package)} [@{key}]' for name, package, key in programs]
    return f'The software ran on {_list(parts)}.'


def _list(items: Sequence[str]) -> str:
    return ', '.join(items[:-1]) + ' and ' * (len(items) > 1) + ''.join(items[-1:])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return '(version unknown)'


def _html(text: str, keys: Sequence[str]) -> str:
    def link(mark: re.Match[str]) -> str:
        short = html.escape(REFERENCES[mark[1]].short)
        return f'(<a href="#{mark[1]}">{short}</a>)'

    paragraphs = [
        f'<p>{MARK.sub(link, html.escape(paragraph))}</p>' for paragraph in text.split('\n\n')
    ]
    entries = [f'<li id="{key}">{html.escape(REFERENCES[key].text)}</li>' for key in keys]
    return '\n'.join(
        [
            '<!DOCTYPE html>',
            '<html lang="en"><head><meta charset="utf-8"><title>Methods</title></head><body>',
            *paragraphs,
            '<h2>References</h2>',
            f'<ul>{"".join(entries)}</ul>',
            f'<p>{html.escape(NOTE)}</p>',
            '</body></html>',
        ]
    )
