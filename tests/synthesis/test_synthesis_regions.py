"""What the grammar puts where: the rim of CSF, tight skulls, cortex along the sulci."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pumba_pipe.synthesis import draw
from pumba_pipe.synthesis.contrast import draw_contrast, paint
from pumba_pipe.synthesis.head import HeadPlan, draw_head
from pumba_pipe.synthesis.recipe import Recipe, load_recipe
from pumba_pipe.synthesis.regions import (
    BRAIN,
    BRAINSTEM,
    CORD_CSF,
    CORTEX,
    CSF,
    CSF_RIM,
    DIPLOE,
    DURA,
    FASCIA,
    INNER_CSF,
    SKULL,
    SULCUS,
    TISSUE,
    VENOUS_SINUS,
    VESSEL,
    Field,
    brain_outline,
    build_regions,
    labels,
)

SHAPE = (48, 48, 48)
CPU = torch.device('cpu')


@pytest.fixture
def recipe(tmp_path: Path):
    """Make a recipe from changes to the default."""

    def make(changes: str) -> Recipe:
        path = tmp_path / 'changed.toml'
        path.write_text(changes, encoding='utf-8')
        return load_recipe(path)

    return make


def planned(recipe: Recipe, seed: int) -> HeadPlan:
    """Plan of a head in a box, without its brainstem."""
    plan = draw_head(recipe, draw.seeded(seed), box=True)
    return replace(plan, brain=replace(plan.brain, brainstem=None))


def test_the_rim_is_labelled_csf_of_the_asked_thickness(recipe):
    wide = (
        '[shells]\nfluid = [0.2, 0.2]\nfluid_noise = [0.0, 0.0]\nfluid_absent = 0.0\ntight = 0.0\n'
        'fluid_tilt = [0.0, 0.0]\n[inside]\nshrunken = 0.0\n'
    )
    tight = '[brain]\ntight_margin = [0.0, 0.0]\n'
    bare, regions = (
        build_regions(planned(recipe(f'{wide}{tight}margin = [{rim}, {rim}]\n'), 3), SHAPE, CPU)
        for rim in (0.0, 0.1)
    )
    assert not (bare == CSF_RIM).any()
    rim = regions == CSF_RIM
    assert rim.any()
    assert (bare[rim] == CSF).all()
    assert torch.equal(bare[~rim], regions[~rim])
    grown = float((regions >= BRAIN).sum()) / float((bare >= BRAIN).sum())
    assert 1.15 < grown < 1.55  # a sphere whose radius grows by a tenth: 1.33
    with_rim, without, _ = labels(regions)
    assert torch.equal(without, bare >= BRAIN)
    assert torch.equal(with_rim & ~without, rim)


def test_shrunken_tissue_leaves_labelled_csf_under_the_outline(recipe):
    whole = build_regions(planned(recipe('[inside]\nshrunken = 0.0\n'), 5), SHAPE, CPU)
    drawn_back = build_regions(
        planned(recipe('[inside]\nshrunken = 1.0\nshrink = [0.15, 0.15]\n'), 5), SHAPE, CPU
    )
    assert torch.equal(whole >= BRAIN, drawn_back >= BRAIN)
    more = int((drawn_back == INNER_CSF).sum()) - int((whole == INNER_CSF).sum())
    assert more > 0.03 * int((whole >= BRAIN).sum())
    assert torch.equal(labels(whole), labels(drawn_back)), 'both borders lie around it'


def test_csf_gathers_away_from_the_brainstem(recipe):
    tilted = recipe(
        '[shells]\nfluid = [0.1, 0.1]\nfluid_noise = [0.0, 0.0]\nfluid_absent = 0.0\ntight = 0.0\n'
        'fluid_wide = 0.0\nfluid_tilt = [1.0, 1.0]\n[brain]\nmargin = [0.0, 0.0]\n'
        'tight_margin = [0.0, 0.0]\n'
        '[inside]\nshrunken = 0.0\n'
    )
    for seed in (2, 7):
        plan = planned(tilted, seed)
        regions = build_regions(plan, SHAPE, CPU)
        field = Field(plan.view, SHAPE, CPU)
        near = torch.tensordot(plan.brain.to_brainstem, field.points, dims=1) > 0.3
        far = torch.tensordot(plan.brain.to_brainstem, field.points, dims=1) < -0.3
        csf = regions == CSF
        assert int((csf & far).sum()) > 3 * int((csf & near).sum())


@pytest.mark.parametrize(('share', 'patchy'), [(0.3, 0.0), (0.8, 0.0), (0.8, 1.0)])
def test_diploe_fills_its_share_of_the_skull(recipe, share, patchy):
    text = (
        '[shells]\nhard = [0.15, 0.15]\nhard_noise = [0.0, 0.0]\nhard_absent = 0.0\ntight = 0.0\n'
        f'marrow = 1.0\nmarrow_share = [{share}, {share}]\nmarrow_patchy = {patchy}\n'
    )
    regions = build_regions(planned(recipe(text), 4), (64, 64, 64), CPU)
    diploe, skull = (int((regions == kind).sum()) for kind in (DIPLOE, SKULL))
    found = diploe / (diploe + skull)
    assert found < share + 0.1
    assert (found < 0.75 * share) == bool(patchy)


def test_the_rim_looks_like_the_csf_around_it():
    shipped = load_recipe('default')
    for seed in range(20):
        contrast = draw_contrast(shipped, draw.seeded(seed))
        parts = torch.tensor([INNER_CSF, CSF_RIM, CSF])
        assert all(means[parts].unique().numel() == 1 for means in contrast.means)
        assert contrast.spreads[parts].unique().numel() == 1


def test_tissue_can_look_like_bone(recipe):
    always = (
        '[skin]\ntissue_like_brain = 0.0\ntissue_like_hard = {}\n'
        '[intensity]\nstripped = 0.0\nbright = 0.0\nct = 0.0\nclasses = 0.0\n'
    )
    alike, apart = recipe(always.format('1.0')), recipe(always.format('0.0'))
    for seed in range(5):
        tissue = slice(TISSUE, TISSUE + 8)
        means = draw_contrast(alike, draw.seeded(seed)).means[0]
        assert (means[tissue] == means[SKULL]).all()
        means = draw_contrast(apart, draw.seeded(seed)).means[0]
        assert (means[tissue] != means[SKULL]).all()


def test_fasciae_run_through_tissue_and_through_nothing_else(recipe):
    with_lines = '[skin]\nfascia = {}\nfascia_width = [0.2, 0.2]\nair = [0.0, 0.0]\n'
    lined, plain = recipe(with_lines.format('1.0')), recipe(with_lines.format('0.0'))
    found = 0
    for seed in range(4):
        plan = planned(lined, seed)
        regions = build_regions(plan, SHAPE, CPU)
        bare = replace(plan, outside=replace(plan.outside, fascia_width=0.0))
        without = build_regions(bare, SHAPE, CPU)
        lines = regions == FASCIA
        assert ((without[lines] >= TISSUE) & (without[lines] < TISSUE + 8)).all()
        assert torch.equal(regions[~lines], without[~lines])
        assert not (build_regions(planned(plain, seed), SHAPE, CPU) == FASCIA).any()
        found += int(lines.sum())
    assert found > 1000


@pytest.mark.parametrize('like', [0.0, 1.0])
def test_fasciae_can_look_like_sulci(recipe, like):
    text = f'[skin]\nfascia_like_folds = {like}\n[intensity]\nstripped = 0.0\nsuppressed = 0.0\n'
    text += 'ct = 0.0\nclasses = 0.0\n'
    for seed in range(5):
        means = draw_contrast(recipe(text), draw.seeded(seed)).means[0]
        assert bool(means[FASCIA] == means[SULCUS]) == bool(like)


def test_grains_split_the_same_tissue_more_finely(recipe):
    text = (
        '[skin]\ngrain = {}\ngrain_share = [1.2, 1.2]\ngrain_cell = [0.1, 0.1]\nair = [0.0, 0.0]\n'
        'tissues = [3, 3]\ntissue_cell = [0.8, 0.8]\nfascia = 0.0\nblobs = [0, 0]\n'
    )
    borders = []
    for tissue_grain in ('0.0', '1.0'):
        regions = build_regions(planned(recipe(text.format(tissue_grain)), 4), SHAPE, CPU)
        tissue = (regions >= TISSUE) & (regions < TISSUE + 8)
        both = tissue[1:] & tissue[:-1]
        borders.append(float((regions[1:] != regions[:-1])[both].float().mean()))
    assert borders[1] > 2 * borders[0] > 0


def test_tight_heads_have_bone_close_to_the_brain(recipe):
    always = recipe(
        '[shells]\ntight = 1.0\nhard_absent = 1.0\nfluid_absent = 1.0\nmembrane = 0.0\n'
    )
    for seed in range(6):
        plan = planned(always, seed)
        assert plan.outside.skull is not None and plan.outside.skull.mean <= 0.06
        assert plan.outside.csf is not None and plan.outside.csf.mean <= 0.03
        regions = build_regions(plan, (64, 64, 64), CPU)
        assert (regions == SKULL).any()


def test_cortex_follows_the_sulci_inwards(recipe):
    deep = (
        '[inside]\nfolds = 1.0\nribbon = 1.0\nribbon_depth = [0.05, 0.05]\n'
        'ribbon_folding = [0.0, 0.0]\nfold_depth = [0.6, 0.6]\nfold_width = [0.1, 0.1]\n'
        'centre = 0.0\nsheets = 0.0\nlesions = 0.0\nfold_lining = [{0}, {0}]\n'
        '[warp]\ncoarse = [0.0, 0.0]\nmedium = [0.0, 0.0]\nfine = [0.0, 0.0]\n'
    )
    shares = []
    for lining in (0.0, 0.5):
        plan = planned(recipe(deep.format(lining)), 4)
        regions = build_regions(plan, SHAPE, CPU)
        outline = outline_of(plan)
        inner = (outline < -0.15) & (regions >= BRAIN)
        assert (regions[inner] == SULCUS).any()
        shares.append(float((regions[inner] == CORTEX).float().mean()))
    assert shares[0] == 0
    assert shares[1] > 0.1


def outline_of(plan: HeadPlan) -> torch.Tensor:
    """Distance to the brain's surface of a plan without warp."""
    from pumba_pipe.synthesis.regions import Field

    field = Field(plan.view, SHAPE, CPU)
    return brain_outline(plan.brain, field.points, field)


@pytest.mark.parametrize(
    ('changes', 'order'),
    [('fluid_dark = 1.0', 'below'), ('fluid_dark = 0.0\nfluid_bright = 1.0', 'above')],
)
def test_csf_is_darker_or_brighter_than_all_of_the_brain(recipe, changes, order):
    clear = recipe(
        f'[intensity]\n{changes}\nsuppressed = 0.0\nstripped = 0.0\nct = 0.0\nclasses = 0.0\n'
    )
    for seed in range(10):
        contrast = draw_contrast(clear, draw.seeded(seed))
        brain, csf = contrast.means[0, BRAIN : CORTEX + 1], contrast.means[0, CSF]
        assert csf <= brain.min() if order == 'below' else csf >= brain.max()


def test_painted_rim_and_csf_do_not_differ(recipe):
    plain = recipe('[intensity]\nspread = [0.0, 0.0]\nclasses = 0.0\n')
    regions = torch.full((24, 24, 24), CSF, dtype=torch.uint8)
    regions[12:] = CSF_RIM
    image = paint(regions, draw_contrast(plain, draw.seeded(1)))
    assert float(image.std()) == pytest.approx(0, abs=1e-6)


PLAIN = (
    '[shells]\nfluid = [0.15, 0.15]\nfluid_noise = [0.0, 0.0]\nfluid_absent = 0.0\ntight = 0.0\n'
    'fluid_tilt = [0.0, 0.0]\nmembrane = 1.0\n'
)


def test_a_symmetric_head_mirrors_itself(recipe):
    sides = [0, 0]
    for seed in range(4):
        for index, share in enumerate((0.0, 1.0)):
            made = recipe(f'[view]\nsymmetric = {share}\n')
            plan = draw_head(made, draw.seeded(seed), box=True)
            centred = replace(plan.view, centre=torch.zeros(3))
            regions = build_regions(replace(plan, view=centred), SHAPE, CPU)
            sides[index] += int(torch.equal(regions, regions.flip(0)))
    assert sides == [0, 4]


def test_the_brainstem_of_a_symmetric_head_is_one(recipe):
    from scipy import ndimage

    made = recipe('[view]\nsymmetric = 1.0\n[stalk]\npresent = 1.0\nradius = [0.2, 0.2]\n')
    for seed in range(5):
        regions = build_regions(draw_head(made, draw.seeded(seed), box=False), SHAPE, CPU)
        tube = ndimage.binary_dilation((regions == BRAINSTEM).numpy())
        assert ndimage.label(tube)[1] == 1


def test_vessels_and_sinuses_lie_in_the_intracranial_space_and_outside_the_brain(recipe):
    crossing = (
        f'{PLAIN}vessels = 1.0\nvessel_width = [0.4, 0.4]\nsinus = 1.0\n'
        'sinus_radius = [0.1, 0.1]\n[inside]\nsheets = 1.0\nsheet_offset = [0.0, 0.0]\n'
    )
    regions = build_regions(planned(recipe(crossing), 3), SHAPE, CPU)
    bare = build_regions(planned(recipe(PLAIN + 'vessels = 0.0\nsinus = 0.0\n'), 3), SHAPE, CPU)
    brain, _, cavity = labels(regions)
    assert not ((bare == VESSEL) | (bare == VENOUS_SINUS)).any()
    for kind in (VESSEL, VENOUS_SINUS):
        found = regions == kind
        assert found.any() and cavity[found].all() and not brain[found].any()


def test_the_intracranial_space_holds_the_brain_and_ends_at_the_skull(recipe):
    regions = build_regions(draw_head(recipe(PLAIN), draw.seeded(2), box=True), SHAPE, CPU)
    brain, _, cavity = labels(regions)
    assert (brain <= cavity).all() and cavity.sum() > 1.1 * brain.sum()
    for kind in (SKULL, DURA, CORD_CSF, BRAINSTEM):
        assert not cavity[regions == kind].any()
    atrophied = PLAIN + '[inside]\nshrunken = 1.0\nshrink = [0.1, 0.1]\n'
    same = build_regions(draw_head(recipe(atrophied), draw.seeded(2), box=True), SHAPE, CPU)
    assert torch.equal(labels(same)[2], cavity), 'it does not shrink with the brain'


def test_shells_may_change_their_intensity_along_the_head(recipe):
    always = (
        '[intensity]\nclasses = {}\nct = 0.0\nstripped = 0.0\nsuppressed = 0.0\nhard_dark = 0.0\n'
    )
    one, several = (recipe(always.format(share)) for share in ('0.0', '1.0'))
    for seed in range(5):
        means = draw_contrast(one, draw.seeded(seed)).means
        assert (means == means[0]).all()
        contrast = draw_contrast(several, draw.seeded(seed))
        assert contrast.means[:, SKULL].unique().numel() > 1
        assert (contrast.means[:, BRAIN] == contrast.means[0, BRAIN]).all()
        quiet = replace(contrast, spreads=torch.zeros_like(contrast.spreads))
        painted = paint(torch.full(SHAPE, SKULL, dtype=torch.uint8), quiet)
        assert 1 < painted.unique().numel() <= 3


def test_bone_is_bright_and_all_else_about_one_grey_as_in_a_ct(recipe):
    made = recipe('[intensity]\nct = 1.0\nstripped = 0.0\nsuppressed = 0.0\n')
    for seed in range(8):
        contrast = draw_contrast(made, draw.seeded(seed))
        brain = contrast.means[0, BRAIN : CORTEX + 1]
        assert contrast.means[0, SKULL] > 1.3 * brain.max()
        low, high = contrast.window
        assert low < brain.mean() < high
        painted = paint(torch.full(SHAPE, SKULL, dtype=torch.uint8), contrast)
        assert painted.min() >= 0 and painted.max() <= high - low + 1e-6


def test_fat_may_be_brighter_than_the_brain(recipe):
    made = recipe('[intensity]\nbright = 1.0\nct = 0.0\nstripped = 0.0\nsuppressed = 0.0\n')
    for seed in range(5):
        means = draw_contrast(made, draw.seeded(seed)).means[0]
        assert (means[TISSUE : TISSUE + 8] >= means[BRAIN : CORTEX + 1].max()).all()
