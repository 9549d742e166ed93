"""The papers and programs that a run builds on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A paper or a program.

    Attributes
    ----------
    key : str
    authors : str
        As in BibTeX.
    title, where : str
        Journal with volume and pages, or what stands for it.
    year : int or None
        None for a program that goes on.
    link : str
        DOI, arXiv number, or address.
    """

    key: str
    authors: str
    title: str
    where: str
    year: int | None
    link: str

    @property
    def short(self) -> str:
        """First author and year, such as ``Park et al. 2025``."""
        names = self.authors.split(' and ')
        first = names[0].split(',')[0]
        others = ' et al.' if len(names) > 1 else ''
        return f'{first}{others} {self.year}' if self.year else f'{first}{others}'

    @property
    def text(self) -> str:
        """The entry of a list of references."""
        authors = self.authors.replace(' and others', ' et al.').replace(' and ', '; ')
        year = f' ({self.year})' if self.year else ''
        return f'{authors.rstrip(".")}. {self.title}. {self.where}{year}. {self.link}'

    @property
    def bibtex(self) -> str:
        """The entry of a BibTeX file."""
        article = self.year is not None
        kind, _, place = self.link.partition(':')
        links = {'arXiv': ('eprint', place), 'doi': ('doi', place)}
        name, value = links.get(kind, ('url', self.link))
        fields = {
            'author': self.authors,
            'title': f'{{{self.title}}}',
            'journal' if article else 'howpublished': self.where,
            'year': str(self.year or ''),
            name: value,
        }
        lines = [f'  {name} = {{{value}}}' for name, value in fields.items() if value]
        return f'@{"article" if article else "misc"}{{{self.key},\n' + ',\n'.join(lines) + '\n}'


_ALL = (
    Reference(
        'park2025',
        'Park, Jong Sung and Ha, Juhyung and Thakur, Siddhesh and Badea, Alexandra and '
        'Bakas, Spyridon and Garyfallidis, Eleftherios',
        'Skull stripping with purely synthetic data',
        'arXiv',
        2025,
        'arXiv:2505.07159',
    ),
    Reference(
        'bids2016',
        'Gorgolewski, Krzysztof J. and others',
        'The brain imaging data structure, a format for organizing and describing outputs of '
        'neuroimaging experiments',
        'Scientific Data 3, 160044',
        2016,
        'doi:10.1038/sdata.2016.44',
    ),
    Reference(
        'nipype2011',
        'Gorgolewski, Krzysztof and others',
        'Nipype: a flexible, lightweight and extensible neuroimaging data processing framework '
        'in Python',
        'Frontiers in Neuroinformatics 5, 13',
        2011,
        'doi:10.3389/fninf.2011.00013',
    ),
    Reference(
        'pybids2019',
        'Yarkoni, Tal and others',
        'PyBIDS: Python tools for BIDS datasets',
        'Journal of Open Source Software 4(40), 1294',
        2019,
        'doi:10.21105/joss.01294',
    ),
    Reference(
        'nibabel',
        'Brett, Matthew and others',
        'NiBabel: access a multitude of neuroimaging data formats',
        'Zenodo',
        None,
        'doi:10.5281/zenodo.591597',
    ),
    Reference(
        'pytorch2019',
        'Paszke, Adam and others',
        'PyTorch: an imperative style, high-performance deep learning library',
        'Advances in Neural Information Processing Systems 32',
        2019,
        'arXiv:1912.01703',
    ),
    Reference(
        'openvino2019',
        'Gorbachev, Yury and others',
        'OpenVINO deep learning workbench: comprehensive analysis and tuning of neural networks '
        'inference',
        'IEEE/CVF International Conference on Computer Vision Workshops',
        2019,
        'https://openaccess.thecvf.com/content_ICCVW_2019/papers/SDL-CV/Gorbachev_OpenVINO_Deep_'
        'Learning_Workbench_Comprehensive_Analysis_and_Tuning_of_Neural_ICCVW_2019_paper.pdf',
    ),
    Reference(
        'n4itk2010',
        'Tustison, Nicholas J. and others',
        'N4ITK: improved N3 bias correction',
        'IEEE Transactions on Medical Imaging 29(6), 1310-1320',
        2010,
        'doi:10.1109/TMI.2010.2046908',
    ),
    Reference(
        'simpleitk2013',
        'Lowekamp, Bradley C. and Chen, David T. and Ibáñez, Luis and Blezek, Daniel',
        'The design of SimpleITK',
        'Frontiers in Neuroinformatics 7, 45',
        2013,
        'doi:10.3389/fninf.2013.00045',
    ),
    Reference(
        'mattes2003',
        'Mattes, David and others',
        'PET-CT image registration in the chest using free-form deformations',
        'IEEE Transactions on Medical Imaging 22(1), 120-128',
        2003,
        'doi:10.1109/TMI.2003.809072',
    ),
    Reference(
        'ants2008',
        'Avants, Brian B. and Epstein, Charles L. and Grossman, Murray and Gee, James C.',
        'Symmetric diffeomorphic image registration with cross-correlation: evaluating automated '
        'labeling of elderly and neurodegenerative brain',
        'Medical Image Analysis 12(1), 26-41',
        2008,
        'doi:10.1016/j.media.2007.06.004',
    ),
    Reference(
        'templateflow2022',
        'Ciric, Rastko and others',
        'TemplateFlow: FAIR-sharing of multi-scale, multi-species brain models',
        'Nature Methods 19, 1568-1571',
        2022,
        'doi:10.1038/s41592-022-01681-2',
    ),
)
REFERENCES = {reference.key: reference for reference in _ALL}
