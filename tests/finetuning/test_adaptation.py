"""Fine-tuning on labelled cases: views, splits, marks, and that it learns."""

import math

import nibabel as nib
import numpy as np
import pytest
import torch

from pumba_pipe.commands.evaluate import main as evaluate
from pumba_pipe.commands.study import main as study_command
from pumba_pipe.commands.train import main
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import file_digest
from pumba_pipe.evaluation.cases import Case, find_cases
from pumba_pipe.extraction.passes import BOX_FILL
from pumba_pipe.finetuning import study as adaptation_study
from pumba_pipe.finetuning.adaptation import Adaptation, split
from pumba_pipe.finetuning.augmentation import LabelledHead, augmented_view, inference_view
from pumba_pipe.finetuning.early_stopping import PATIENCE, EarlyStopping
from pumba_pipe.finetuning.labelled import labelled_cases, read_labelled, subject_of
from pumba_pipe.network.averaging import average_weights
from pumba_pipe.network.config import FORMER_BORDERS, INTRACRANIAL
from pumba_pipe.network.model_card import SYNTHETIC_STATEMENT, markdown, real_images
from pumba_pipe.network.unet import NetworkConfig, UNet
from pumba_pipe.network.weights import SHIPPED, Stage, load_weights, save_weights
from pumba_pipe.synthesis.recipe import curriculum_recipe, load_recipe
from pumba_pipe.training.losses import soft_dice
from pumba_pipe.training.samples import Batch
from pumba_pipe.training.set_up import initialize
from pumba_pipe.training.stage_settings import StageProgress, StageSettings

CPU = torch.device('cpu')
CONFIG = StageSettings(size=32, box_share=0.5, steps=80)
SMALL = ['--widths', '4', '8', '--coarse-size', '32', '--fine-size', '32', '--batch', '1']
QUICK = ['--device', 'cpu', '--threads', '1', '--cache-size', '2', '-q', '--no-calibration']


def write_case(folder, name, head, brain, turned=False):
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    if turned:  # the same head in the same place, stored from the other end and in another order
        head, brain = (data.transpose(2, 0, 1)[:, ::-1] for data in (head, brain))
        affine = np.array([[0, -4.0, 0, 4 * 47], [0, 0, 4, 0], [4, 0, 0, 0], [0, 0, 0, 1]])
    place = folder / name
    place.mkdir(parents=True)
    nib.save(nib.Nifti1Image((head * 900).astype(np.int16), affine), place / 'image.nii.gz')
    nib.save(nib.Nifti1Image(brain.astype(np.uint8), affine), place / 'mask.nii.gz')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Four labelled cases of three subjects, one turned, and one without a mask."""
    from pumba_pipe import synthesize

    root = tmp_path_factory.mktemp('labelled')
    names = ('ape_T1w_a', 'ape_T2w_a', 'ape_T1w_b', 'ape_T1w_c_run1')
    for seed, name in zip((38, 37, 59, 39), names, strict=True):  # bright brains, whole in view
        sample = synthesize(load_recipe('easy'), seed, (48, 48, 48))
        write_case(root, name, sample.image.numpy(), sample.label.numpy(), name.endswith('b'))
    (root / 'ape_T1w_d').mkdir()
    (root / 'ape_T1w_d' / 'image.nii.gz').write_bytes(
        (root / 'ape_T1w_b' / 'image.nii.gz').read_bytes()
    )
    return root


@pytest.fixture(scope='module')
def heads(folder):
    return read_labelled(labelled_cases(folder))


# ---- reading and splitting ----


def test_cases_are_read_as_extraction_reads_them(folder, heads, tmp_path):
    assert [case.name for case in labelled_cases(folder)] == [
        'ape_T1w_a',
        'ape_T1w_b',
        'ape_T1w_c_run1',
        'ape_T2w_a',
    ]
    assert [head.subject for head in heads] == ['ape_a', 'ape_b', 'ape_c', 'ape_a']
    # stored in another order or not, an image is the same head
    image = np.asarray(nib.load(folder / 'ape_T1w_b' / 'image.nii.gz').dataobj)
    mask = np.asarray(nib.load(folder / 'ape_T1w_b' / 'mask.nii.gz').dataobj)
    straight = image[:, ::-1].transpose(1, 2, 0)
    write_case(tmp_path, 'straight', straight / 900, mask[:, ::-1].transpose(1, 2, 0))
    (other,) = read_labelled(labelled_cases(tmp_path))
    assert torch.equal(other.mask, heads[1].mask)
    assert torch.allclose(other.image, heads[1].image, atol=1)


def test_subjects_are_told_from_names():
    def name(text, subject=''):
        return subject_of(Case(text, '', '', SHIPPED, None, subject=subject))

    assert name('human_T1w_ms01_study1') == name('human_FLAIR_ms01_study2') == 'human_ms01'
    assert name('sub-04_ses-b_T2w') == name('sub-04_ses-a_T1w') == 'sub-04'
    assert name('mine') == 'mine'
    assert name('human_T1w_x', 'p7') == 'p7'


def test_subject_column_of_the_manifest_is_used(folder, tmp_path):
    (tmp_path / 'x_T1w_a').mkdir()
    (tmp_path / 'x_T1w_a' / 'image.nii.gz').touch()
    (tmp_path / 'MANIFEST.tsv').write_text('case\tspecies\tsubject\nx_T1w_a\tape\tZoe\n')
    assert subject_of(find_cases(tmp_path)[0]) == 'Zoe'


def test_whole_subjects_are_held_out(heads):
    kept, held_out = split(heads)
    assert len(kept) == 3
    assert len(held_out) == 1
    assert not {head.subject for head in kept} & {head.subject for head in held_out}
    kept, held_out = split(heads, 0.5)
    assert len(held_out) == 2
    assert {head.subject for head in kept} == {'ape_a'}
    assert split(heads, 0) == (tuple(heads[index] for index in (0, 3, 1, 2)), ())
    assert split(heads[:3])[1] == ()  # three cases: none can be spared
    assert split([heads[0]] * 5)[1] == ()  # one subject: none can be spared
    with pytest.raises(InputError, match='hold out'):
        split(heads, 1.5)


def test_what_nothing_can_be_learned_from_is_refused(folder, tmp_path):
    write_case(tmp_path / 'a', 'ape_T1w_x', np.ones((8, 8, 8)), np.zeros((8, 8, 8)))
    with pytest.raises(InputError, match='same value'):
        read_labelled(labelled_cases(tmp_path / 'a'))
    image = np.random.default_rng(1).random((8, 8, 8))
    write_case(tmp_path / 'b', 'ape_T1w_x', image, np.zeros((8, 8, 8)))
    with pytest.raises(InputError, match='empty'):
        read_labelled(labelled_cases(tmp_path / 'b'))
    (tmp_path / 'b' / 'ape_T1w_x' / 'mask.nii.gz').unlink()
    with pytest.raises(InputError, match=r'no mask\.nii\.gz'):
        labelled_cases(tmp_path / 'b')
    with pytest.raises(InputError, match='synthetic share'):
        Adaptation((), (), 1.0)


# ---- views ----


def brain(view: Batch) -> torch.Tensor:
    """The labels of the brain, without that of the intracranial space."""
    return view.target[:, :INTRACRANIAL]


def test_a_plain_view_is_what_extraction_shows_the_network(heads):
    from pumba_pipe.extraction.passes import TtaView, intensity_ceiling, run_pass
    from pumba_pipe.network.engine import engine_for
    from pumba_pipe.network.weights import Stage

    class Recorder(UNet):
        seen = None

        def forward(self, image):
            self.seen = image
            return image.expand(-1, 3, -1, -1, -1)

    head = heads[1]
    for box, cube in enumerate((head.whole(32), head.box(32))):
        network = Recorder(NetworkConfig((4, 8), 2))
        ceiling = intensity_ceiling(head.image, head.mask) if box else math.inf
        engine = engine_for(Stage(network, 32))
        run_pass(engine, head.image.numpy(), head.voxel_size, cube, [TtaView()], ceiling)
        view = inference_view(head, cube, bool(box)).image
        assert torch.allclose(view, network.seen, atol=1e-6)


def test_the_box_lies_around_the_brain(heads):
    for head in heads:
        view = inference_view(head, head.box(32), box=True)
        used = (view.target[0, 0] > 0.5).nonzero()
        longest = int((used.max(0).values - used.min(0).values).max()) + 1
        assert longest / 32 == pytest.approx(BOX_FILL, abs=0.05)
        middle = (used.max(0).values + used.min(0).values).float() / 2
        assert (middle - 15.5).abs().max() < 2


def test_drawn_views_differ_and_follow_their_seed(heads):
    recipe = curriculum_recipe(load_recipe())
    for box in (False, True):
        first, again, other = (
            augmented_view(heads[0], 32, box, recipe, seed) for seed in (1, 1, 2)
        )
        assert torch.equal(first.image, again.image)
        assert torch.equal(brain(first), brain(again))
        assert not torch.equal(brain(first), brain(other))
    views = [augmented_view(heads[0], 32, True, recipe, seed) for seed in range(20)]
    for view in views:
        assert view.image.shape == view.inside.shape == (1, 1, 32, 32, 32)
        assert view.target.shape == (1, 3, 32, 32, 32)
        assert view.target[:, INTRACRANIAL].isnan().all(), 'a mask of the brain says nothing of it'
        assert torch.equal(view.target[:, 0], view.target[:, 1])
        assert 0 <= view.image.min() <= view.image.max() <= 1
        assert 0 <= brain(view).min() <= brain(view).max() <= 1
        assert not view.image[view.inside == 0].any()
    # however it is turned and moved, the label goes with the image
    shares = [float(brain(view).mean()) for view in views]
    assert max(shares) / min(shares) < 4


def test_label_and_image_move_together(heads):
    """A head whose image is its own mask stays so in every view that has no artefacts."""
    from dataclasses import replace
    from unittest import mock

    from pumba_pipe.finetuning import augmentation as views

    head = replace(heads[0], image=heads[0].mask.float())
    with mock.patch.object(views, 'P_ARTEFACTS', 0.0):
        for seed in range(12):
            view = augmented_view(head, 32, True, curriculum_recipe(load_recipe()), seed)
            assert (view.image - brain(view) * view.inside).abs().max() < 0.02


def test_samples_are_mixed_by_the_share(heads):
    class Synthetic:
        def __init__(self):
            self.asked = 0

        def batch(self, seeds, generator, drawn):
            self.asked += len(seeds)
            assert (generator, drawn) == ('generator', 12)
            image = torch.full((1, 1, 16, 16, 16), 7.0)
            return Batch(image, image.expand(-1, 3, -1, -1, -1), image)

    config = StageSettings(size=16, box_share=1.0)
    for share, least, most in ((0.0, 0, 0), (0.5, 12, 28)):
        inner = Synthetic()
        source = Adaptation(heads, (), share).source(inner, config, CPU)
        batch = source.batch(range(40), 'generator', 12)
        assert batch.image.shape == (40, 1, 16, 16, 16)
        assert least <= inner.asked <= most
        assert int((batch.image.amax((1, 2, 3, 4)) == 7).sum()) == inner.asked
        first, again = (source.batch([3], 'generator', 12) for _ in range(2))
        assert torch.equal(first.image, again.image)


# ---- the best weights are kept ----


class Silent:
    active = True

    def validation(self, progress, dice):
        pass


def watch(heads, folder, never_stop=False):
    return EarlyStopping(heads, CONFIG, folder, CPU, Silent(), never_stop)


class Ball(UNet):
    """Predicts a ball whose radius is its one weight."""

    def __init__(self, radius):
        torch.nn.Module.__init__(self)
        self.radius = torch.nn.Parameter(torch.tensor(float(radius)))

    def forward(self, image):
        axis = torch.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2
        square = axis**2
        distance = (square[:, None, None] + square[:, None] + square).sqrt()
        return (self.radius - distance)[None, None]


def ball_head():
    mask = (Ball(8)(torch.zeros(1, 1, 24, 24, 24)) > 0)[0, 0]
    return LabelledHead('s', 'd', mask + 0.1 * torch.rand(24, 24, 24), mask, np.ones(3))


def test_the_best_weights_are_kept_and_a_hopeless_run_given_up(tmp_path):
    from dataclasses import replace

    config = replace(CONFIG, size=24, box_share=0.0)
    seen = EarlyStopping([ball_head()], config, tmp_path, CPU, Silent(), never_stop=False)
    radii, steps = [3, 8, 7, 6, 5, 4, 3], range(0, 70, 10)
    ends = [
        seen.should_stop(Ball(radius), StageProgress(step))
        for radius, step in zip(radii, steps, strict=True)
    ]
    assert ends.index(True) == 1 + PATIENCE
    step, dice = seen.best
    assert step == 10
    assert dice > 0.99
    resumed = EarlyStopping([ball_head()], config, tmp_path, CPU, Silent(), never_stop=True)
    resumed.resume()
    assert resumed.best == seen.best
    assert not resumed.should_stop(Ball(2), StageProgress(60))  # never_stop
    last = Ball(1)
    resumed.finish(last, StageProgress(80))
    assert last.radius.item() == 8


def test_without_held_out_cases_nothing_is_kept_or_given_up(tmp_path):
    network = Ball(5)
    seen = watch([], tmp_path)
    assert not seen.should_stop(network, StageProgress(3))
    seen.finish(network, StageProgress(80))
    assert seen.best is None
    assert network.radius.item() == 5
    assert list(tmp_path.iterdir()) == []


# ---- the command, and the mark ----


@pytest.fixture(scope='module')
def tuned(folder, tmp_path_factory):
    """Fine-tune small weights that were trained on the labelled cases alone before."""
    root = tmp_path_factory.mktemp('runs')
    only = ['--finetune', str(folder), '--synthetic-share', '0']
    fast = ['--steps', '220', '--learning-rate', '0.01']
    scratch = main([str(root / 'scratch'), *fast, *only, *SMALL, *QUICK])
    first = root / 'scratch' / 'weights.safetensors'
    more = ['--finetune', str(folder), '--init', str(first), '--steps', '8', '--stage', 'fine']
    assert (scratch, main([str(root / 'tuned'), *more, *SMALL, *QUICK])) == (0, 0)
    return first, root / 'tuned' / 'weights.safetensors'


def test_training_on_labelled_cases_alone_learns_them(tuned, heads):
    model = load_weights(tuned[0])
    untrained = UNet(NetworkConfig((4, 8), 2))
    initialize(untrained, 1)
    view = inference_view(heads[0], heads[0].box(32), box=True)

    def dice(network):
        with torch.inference_mode():
            found = (network(view.image) > 0).float()[:, :INTRACRANIAL]
            return float(soft_dice(found, brain(view)).mean())

    assert dice(model.fine.network) > 0.6 > 0.4 > dice(untrained)
    assert not (tuned[0].parent / 'head-cache').exists()  # no synthetic head was made


def test_fine_tuned_weights_are_marked(tuned, folder, heads):
    files = [folder / case.name / 'image.nii.gz' for case in labelled_cases(folder)]
    digests = sorted(file_digest(file) for file in files)
    for file in tuned:
        card = load_weights(file).card
        assert real_images(card) == digests
        assert 'FINE-TUNED ON REAL IMAGES: 4 ' in card['training_data']
        text = markdown(card, 'x', 1, [], 'own')
        assert 'FINE-TUNED ON REAL IMAGES' in text
        assert all(f'`{digest}`' in text for digest in digests)
    fine = load_weights(tuned[1]).card['stages']['fine']
    assert fine['labelled']['cases'] == 3
    assert fine['labelled']['held_out'] == 1
    assert fine['labelled']['synthetic_share'] == 0.5
    assert fine['labelled']['kept_dice'] > 0.5
    assert fine['learning_rate'] == 1e-4
    assert fine['before']['labelled']['synthetic_share'] == 0
    assert (tuned[1].parent / 'head-cache').exists()


def test_the_mark_is_not_lost(tuned, tmp_path):
    """Neither by training on, on synthetic heads alone, nor by averaging."""
    marked = real_images(load_weights(tuned[1]).card)
    more = ['--init', str(tuned[1]), '--steps', '1', '--stage', 'fine']
    assert main([str(tmp_path / 'on'), *more, *SMALL, *QUICK]) == 0
    on = tmp_path / 'on' / 'weights.safetensors'
    assert real_images(load_weights(on).card) == marked
    plain = main([str(tmp_path / 'plain'), '--steps', '2', *SMALL, *QUICK])
    assert plain == 0
    clean = tmp_path / 'plain' / 'weights.safetensors'
    assert load_weights(clean).card['training_data'] == SYNTHETIC_STATEMENT
    for index, pair in enumerate(((clean, tuned[1]), (tuned[1], clean))):
        out = tmp_path / f'{index}.safetensors'
        average_weights(*pair, out, 0.5)
        assert real_images(load_weights(out).card) == marked


def test_fine_tuning_adds_no_intracranial_space(folder, tmp_path):
    """Masks of the brain do not show it; the shipped weights do not predict it either."""
    stages = {
        name: Stage(UNet(NetworkConfig((4, 8), 2, borders=FORMER_BORDERS)), 32)
        for name in ('coarse', 'fine')
    }
    before, run = tmp_path / 'before.safetensors', tmp_path / 'run'
    save_weights(stages, load_weights(SHIPPED).card, before)
    words = ['--finetune', str(folder), '--synthetic-share', '0', '--init', str(before)]
    words += ['--steps', '3', '--stage', 'fine', '--snapshots', '--checkpoint-minutes', '1e-9']
    assert main([str(run), *words, *SMALL, *QUICK]) == 0
    after = run / 'weights.safetensors'
    snapshots = list(run.glob('*/weights-*.safetensors'))
    assert snapshots
    for file in (after, *snapshots):
        assert not load_weights(file).predicts_intracranial
    average_weights(before, after, tmp_path / 'mean.safetensors', 0.5)  # of the same shape


def test_shipped_weights_never_saw_a_real_image():
    files = sorted(SHIPPED.parent.glob('*.safetensors'))
    assert SHIPPED in files
    for file in files:
        card = load_weights(file).card
        assert real_images(card) == []
        assert card['training_data'].startswith('Trained on synthetic heads made of random shapes')
        assert 'labelled' not in str(card['stages'])
        assert 'FINE-TUNED' not in file.with_suffix('.md').read_text('utf-8')


def test_evaluation_says_which_cases_the_weights_have_seen(tuned, folder, tmp_path, capsys):
    more = ['--cases', 'ape_T1w_a', '--weights', str(tuned[1]), '--threads', '1']
    evaluate([str(folder), '--out', str(tmp_path), *more])
    assert 'have seen 1 of these images' in capsys.readouterr().err


def test_wrong_use_is_one_line(tmp_path, folder, capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / 'a'), '--cases', 'x'])
    assert stop.value.code == 2
    for words in (
        ['--finetune', str(tmp_path / 'no')],
        ['--finetune', str(folder), '--cases', 'z'],
    ):
        capsys.readouterr()
        assert main([str(tmp_path / 'b'), *words, *QUICK]) == 1
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / 'b').exists()


# ---- the study ----


def test_halves_of_a_study_share_no_subject(folder):
    cases = labelled_cases(folder)
    scored = []
    for labelled, rest in adaptation_study.halves(cases):
        assert not {subject_of(case) for case in labelled} & {subject_of(case) for case in rest}
        scored += [case.name for case in rest]
    assert sorted(scored) == sorted(case.name for case in cases)
    first = adaptation_study.drawn(cases, 3)
    assert [case.name for case in first] == ['ape_T1w_a', 'ape_T1w_b', 'ape_T1w_c_run1']
    with pytest.raises(InputError, match='5 labelled cases'):
        adaptation_study.drawn(cases, 5)
    with pytest.raises(InputError, match='two subjects'):
        list(adaptation_study.halves(cases[:1]))


def test_study_scores_every_kind_of_weights(folder, tmp_path, capsys, monkeypatch):
    """With training left out: weights that lie in their place are taken as they are."""
    made = []

    def train(place, chosen, initial, cache_dir, settings):
        made.append((place.relative_to(tmp_path).as_posix(), len(chosen)))
        return SHIPPED

    monkeypatch.setattr(adaptation_study, '_train', train)
    words = ['--cases', 'ape_T1w_a', 'ape_T1w_b', '--counts', '1', '--threads', '1']
    assert study_command([str(folder), str(tmp_path), *words]) == 0
    assert [count for _, count in made] == [1] * 4
    rows = (tmp_path / 'study.tsv').read_text().splitlines()
    assert [row.split('\t')[:3] for row in rows[1:]] == [
        ['initial', '0', '2'],
        ['fine-tuned', '1', '2'],
        ['half-way', '1', '2'],
        ['from scratch', '1', '2'],
    ]
    values = {row.split('\t', 3)[3] for row in rows[1:]}
    assert len(values) == 1  # the same weights, the same scores


def test_a_missing_group_is_one_line(folder, tmp_path, capsys):
    words = [str(folder), str(tmp_path / 'out'), '--group', 'rodent']
    assert study_command(words) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / 'out').exists()
