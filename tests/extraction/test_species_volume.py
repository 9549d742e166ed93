"""A volume that a brain of the species cannot have is flagged; nothing else changes."""

import json

import numpy as np
import pytest

import pumba_pipe
from pumba_pipe.common.species import COMMON_NAMES
from pumba_pipe.extraction import strip_file
from pumba_pipe.extraction.manual_mask import manual_record
from pumba_pipe.extraction.species_volume import (
    IMPLAUSIBLE,
    KNOWN,
    WIDER,
    implausible_volume,
    plausible_range,
    says_other_of_volume,
)
from pumba_pipe.images.volume import Volume
from pumba_pipe.network.weights import load_weights

# mL: adults, and the young ones that are scanned
USUAL = {
    'Human': (1450, 1050, 350, 60), 'macaca_mulatta': (95, 60), 'Macaca fascicularis': (68, 35),
    'baboon': (170, 75), 'marmoset': (8, 4.5), 'chimpanzee': (400, 130), 'pig': (140, 50, 30),
    'rat': (2.4, 1.6, 0.25), 'Mus musculus': (0.52, 0.4, 0.09),
}  # fmt: skip


@pytest.mark.parametrize('species', USUAL)
def test_usual_brains_are_plausible_and_tenfold_voxels_are_not(species):
    for volume in USUAL[species]:
        assert implausible_volume(species, volume) == ''
        for factor in (1000, 1 / 1000):
            said = implausible_volume(species, volume * factor)
            assert said.startswith(IMPLAUSIBLE) and 'check the voxel size' in said


def test_ranges_are_wide():
    assert WIDER >= 3
    for name, (newborn, adult) in KNOWN.items():
        low, high = plausible_range(name)
        assert low <= newborn / 3 < newborn < adult < 3 * adult <= high


@pytest.mark.parametrize('species', ['', 'n/a', 'synthetic', 'dog', 'ratel', 'homo'])
def test_of_other_species_nothing_is_said(species):
    assert implausible_volume(species, 1e6) == implausible_volume(species, 1e-6) == ''


def test_a_genus_and_common_names_are_understood():
    assert plausible_range('Macaca') == plausible_range('rhesus macaque') is not None
    assert sum(plausible_range(name) is not None for name in COMMON_NAMES) >= len(KNOWN)


def test_the_record_is_flagged_and_nothing_else_changes(
    head_file, quick_weights, tmp_path, monkeypatch
):
    model = load_weights(quick_weights)
    result = pumba_pipe.extract(head_file, model, threads=1)
    monkeypatch.setattr(strip_file, 'extract', lambda *_: result)
    quality = tmp_path / 'quality.json'
    found = pumba_pipe.strip_file(head_file, out_quality=quality, model=model, species='rat')
    record, before = json.loads(quality.read_text()), result.quality.to_dict()
    (flag,) = set(record.pop('flags')) - set(before.pop('flags'))
    assert flag.startswith(IMPLAUSIBLE) and f'{record["volume_ml"]:.4g} mL' in flag
    assert record == json.loads(json.dumps(before)), 'the expected Dice is what it was'
    assert found.mask is result.mask


def test_a_manual_mask_is_flagged_as_well():
    mask = np.ones((10, 10, 10), bool)
    volume = Volume(mask.astype(np.float32), np.diag([10.0, 10.0, 10.0, 1.0]))
    record = manual_record({'flags': ['x']}, volume, mask, mask, 'mouse')
    assert record['flags'][0].startswith(IMPLAUSIBLE) and record['network_flags'] == ['x']
    assert manual_record({'flags': ['x']}, volume, mask, mask, 'human')['flags'] == []


def test_a_record_of_before_the_species_was_named_is_known():
    flagged = {'volume_ml': 1620.0, 'flags': [implausible_volume('rat', 1620)]}
    plain = {'volume_ml': 1620.0, 'flags': []}
    assert says_other_of_volume(plain, 'rat') and says_other_of_volume(flagged, 'human')
    for record, species in ((flagged, 'rat'), (flagged, ''), (plain, ''), (plain, 'human')):
        assert not says_other_of_volume(record, species)
    assert not says_other_of_volume({'volume_ml': None, 'flags': []}, 'rat')


@pytest.mark.parametrize('beyond', [1e-6, 0.9e-4, 1.1e-4])
def test_a_volume_at_the_limit_is_judged_as_its_record_will_be(beyond):
    volume = plausible_range('rat')[1] + beyond
    said = implausible_volume('rat', volume)
    record = {'volume_ml': round(volume, 4), 'flags': [said] if said else []}
    assert not says_other_of_volume(record, 'rat')
