"""Words that readers search for, and the pages that answer: entries of the index.

The search of Sphinx knows in which pages a word occurs, not what a page is about. An entry of the
index that is the word searched for puts its page first.
"""

from __future__ import annotations

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

# A page, or a heading in it as its address has it, and the words that lead there.
WORDS = {
    'docs/install': ('install', 'pip', 'conda', 'Windows', 'macOS', 'offline'),
    'docs/quickstart': ('tutorial', 'first steps', 'demo'),
    'docs/practice': ('example data', 'test data', 'practice'),
    'docs/single-images': ('pumba-strip', 'NIfTI', 'skull strip', 'Python'),
    'docs/single-images#many-images': ('folder', 'many images'),
    'docs/single-images#look-at-the-mask': ('picture', '--picture', 'look at mask'),
    'docs/bids-app': ('pumba', 'BIDS'),
    'docs/animals': ('mouse', 'mice', 'rat', 'rodent', 'monkey', 'macaque', 'animal', 'species'),
    'docs/animals#the-voxel-size-must-be-true': ('voxel size',),
    'docs/modalities': ('BOLD', 'fMRI', 'DWI', 'diffusion', 'ASL', 'PET', 'series'),
    'docs/score': ('expected Dice', 'score', 'flag', 'flagged', 'flags', 'confidence'),
    'docs/quality-control': ('quality', 'QC', 'quality record'),
    'docs/quality-control#when-a-mask-is-wrong': ('wrong mask', 'bad mask'),
    'docs/correct-a-mask': ('correct mask', 'edit mask', 'manual mask', 'correction', '--masks'),
    'docs/correct-a-mask#rate-masks': ('rating', 'ratings'),
    'docs/faq#masks': ('tight', 'wide', '--csf', 'CSF', '--border', 'border', 'eye', 'dura'),
    'docs/faq#running': ('GPU', 'CUDA', '--device', 'memory'),
    'docs/clusters': ('SLURM', 'sbatch', 'cluster', 'HPC', 'array job', 'PBS', 'SGE'),
    'docker/README': ('Docker', 'Apptainer', 'Singularity', 'container'),
    'docs/coming-from': ('SynthStrip', 'mri_synthstrip', 'HD-BET', 'BET', '--no-csf', 'FSL'),
    'docs/other-pipelines': ('fMRIPrep', 'QSIPrep', 'MRIQC', 'sMRIPrep', 'Nipoppy'),
    'docs/nipype': ('Nipype', 'workflow', 'SkullStrip', 'NiBabies'),
    'docs/new-species': ('train', 'fine-tune'),
    'docs/limits': ('limits', 'medical device'),
    'docs/outputs': ('outputs', 'file names', 'sidecar', 'preproc'),
    'docs/method': ('method', 'citation', 'paper'),
}


class AddWords(SphinxTransform):
    """Puts the words of a page into the index."""

    default_priority = 500  # before the index is collected

    def apply(self) -> None:
        """Add a node with the entries at the start of the page."""
        page = self.env.current_document.docname
        entries = []
        for place, words in WORDS.items():
            name, _, heading = place.partition('#')
            if name == page:
                if heading and heading not in self.headings():
                    message = f'search_words.py: no heading {heading!r} in {name}'
                    logging.getLogger(__name__).warning(message)
                entries += [('single', word, heading, 'main', None) for word in words]
        if entries:
            self.document.insert(0, addnodes.index(entries=entries, inline=False))

    def headings(self) -> set[str]:
        """Addresses of the sections."""
        return {name for one in self.document.findall(nodes.section) for name in one['ids']}


def no_page_missing(app: Sphinx, env: object) -> None:
    """Warn of words whose page is not there."""
    for place in WORDS:
        if place.partition('#')[0] not in app.env.found_docs:
            logging.getLogger(__name__).warning(f'search_words.py: no page {place!r}')


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_transform(AddWords)
    app.connect('env-updated', no_page_missing)
    return {'parallel_read_safe': True}
