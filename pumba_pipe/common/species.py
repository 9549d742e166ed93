"""Names of species: common ones, as people write them, and the scientific ones of BIDS."""

from __future__ import annotations

COMMON_NAMES = {
    'human': 'homo sapiens',
    'mouse': 'mus musculus',
    'rat': 'rattus norvegicus',
    'macaque': 'macaca',
    'rhesus': 'macaca mulatta',
    'rhesus macaque': 'macaca mulatta',
    'baboon': 'papio',
    'marmoset': 'callithrix jacchus',
    'chimpanzee': 'pan troglodytes',
    'pig': 'sus scrofa',
    'sheep': 'ovis aries',
    'dog': 'canis',
    'cat': 'felis catus',
    'rabbit': 'oryctolagus cuniculus',
    'ferret': 'mustela putorius furo',
}


def scientific(name: str) -> str:
    """Name of a species, or of a genus, as it is compared.

    Examples
    --------
    >>> scientific('Mouse'), scientific('Pan_troglodytes')
    ('mus musculus', 'pan troglodytes')
    """
    plain = ' '.join(name.lower().replace('_', ' ').split())
    return COMMON_NAMES.get(plain, plain)


def is_of(species: str, group: str) -> bool:
    """Whether a species is a certain one, or of a genus; both as `scientific` writes them.

    Examples
    --------
    >>> is_of('macaca mulatta', 'macaca'), is_of('macaca', 'macaca mulatta')
    (True, False)
    """
    return species == group or species.startswith(f'{group} ')
