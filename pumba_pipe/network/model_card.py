"""Model cards: how weights were made, and how they score on real scans."""

from __future__ import annotations

import math
import platform
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pumba_pipe._version import __version__
from pumba_pipe.common.errors import InputError, WeightsError
from pumba_pipe.common.files import check_outputs, write_text
from pumba_pipe.common.tables import format_number, numbered_rows, parse_number
from pumba_pipe.common.text import one_line
from pumba_pipe.common.weights_file import SHIPPED
from pumba_pipe.network import model_card_words as words

NEEDED = ('case', 'species', 'modality', 'dice', 'hd95_mm')
NUMBERS = (
    *('dice', 'hd95_mm', 'volume_ratio'),
    *('expected_dice', 'expected_dice_low', 'expected_dice_high'),
)
SYNTHETIC_STATEMENT = (
    'Trained on synthetic heads made of random shapes alone. No real image, label map, atlas, '
    'template or statistic fitted to them entered training. Real scans served for evaluation and '
    'for choosing between recipes and checkpoints.'
)
FINETUNED_STATEMENT = (
    'FINE-TUNED ON REAL IMAGES: {} labelled real images took part in training or chose between '
    'weights. These are not the shipped weights, which were trained on synthetic heads alone; '
    'scores on these images, or on other images of the same subjects, say nothing.'
)


def training_card(
    recipe: Any, seed: int, stages: dict[str, dict[str, Any]], real: Sequence[str] = ()
) -> dict[str, Any]:
    """Gather how weights were made, as plain values that travel inside the weights file.

    Parameters
    ----------
    recipe : Recipe
    seed : int
    stages : dict
        Per stage: recipe, seed, size, steps, samples, seconds, hardware, initial weights, and
        under ``before`` the same about the run that made those.
    real : sequence of str
        Digests of the real images that took part, in this run or in one before.
    """
    import torch

    card = {
        'recipe': recipe.name,
        'recipe_sha256': recipe.digest,
        'seed': seed,
        'stages': stages,
        'code_version': __version__,
        'torch_version': torch.__version__,
        'python_version': platform.python_version(),
        'training_data': SYNTHETIC_STATEMENT,
        'licence': 'Apache-2.0',
    }
    return declare_real_images(card, real)


def declare_real_images(card: dict[str, Any], real: Sequence[str]) -> dict[str, Any]:
    """Mark a card as that of weights which real images took part in making, if some did.

    Files are named by a digest of their content: a weights file may travel where names of
    patients must not.
    """
    images = sorted(set(real))
    if not images:
        return card
    return {
        **card,
        'training_data': FINETUNED_STATEMENT.format(len(images)),
        'real_images': images,
    }


def real_images(card: dict[str, Any]) -> list[str]:
    """Digests of the real images that took part in making weights; none for synthetic ones."""
    return list(card.get('real_images', ()))


def read_scores(path: Path) -> list[dict[str, str]]:
    """Read a table of ``pumba-evaluate``, one dict a case.

    Raises
    ------
    InputError
        It is another table, or a score in it is not a number.
    """
    rows = numbered_rows(path, NEEDED, 'a scores.tsv of pumba-evaluate')
    for number, row in rows:
        for key in NUMBERS:
            try:
                parse_number(row.get(key))
            except InputError as error:
                raise InputError(f'{path}: line {number}, column {key}: {error}') from None
    return [row for _, row in rows]


def markdown(
    card: dict[str, Any],
    sha256: str,
    size: int,
    scores: list[dict[str, str]],
    title: str,
    scored_on: str = 'real scans',
) -> str:
    """Write a card as Markdown, in the form of Mitchell et al. 2019."""
    real = bool(real_images(card))
    lines = [f'# Model card: {title}', '', card['training_data'], '', words.FORM]
    lines += _section('Model details', *_details(card, sha256, size))
    lines += _section('Intended use', *_list(words.INTENDED_USE))
    lines += _section('Factors', *words.FACTORS)
    lines += _section('Metrics', *words.METRICS)
    lines += _section('Training data', *_training_data(card))
    if real:
        lines += ['', '### Real images', '', *_real_lines(card)]
    lines += _section('Training', *_training(card))
    lines += _section('Evaluation data', *(words.EVALUATION if scores else words.NOT_SCORED))
    if scores:
        lines += _section(f'Scores on {scored_on}', *_score_lines(scores))
    privacy = words.REAL_ETHICS if real else words.SYNTHETIC_ETHICS
    lines += _section('Ethical considerations', *_list((*privacy, *words.ETHICS)))
    lines += _section('Limits', *_list(words.CAVEATS))
    return '\n'.join(lines) + '\n'


def _section(title: str, *lines: str) -> list[str]:
    return ['', f'## {title}', '', *lines]


def _list(items: Sequence[str]) -> list[str]:
    return [f'* {item}' for item in items]


def _details(card: dict[str, Any], sha256: str, size: int) -> list[str]:
    return [
        '| | |',
        '|---|---|',
        '| model | a coarse and a fine 3D U-Net, for a whole field of view and a box around the '
        'brain; each predicts for every voxel the logits of nested borders of the brain |',
        f'| file | {size / 1e6:.1f} MB, half precision, safetensors |',
        f'| sha256 | `{sha256}` |',
        f'| recipe | `{card["recipe"]}`, sha256 `{card["recipe_sha256"]}` |',
        f'| seed | {card["seed"]} |',
        f'| made with | pumba_pipe {card["code_version"]}, torch {card["torch_version"]}, '
        f'Python {card["python_version"]} |',
        '| idea | Park et al. 2025, [arXiv:2505.07159](https://arxiv.org/abs/2505.07159) |',
        f'| licence | {card["licence"]} |',
        '| questions | issues of the repository, see `CONTRIBUTING.md` |',
    ]


def _training_data(card: dict[str, Any]) -> list[str]:
    return [
        f'Synthetic heads, drawn at random from the recipe `{card["recipe"]}` and, in earlier '
        'runs, from those that the table below names: random ellipsoids, shells, tubes and noise '
        'with random grey values and artefacts. `pumba-synth` draws such heads; the recipes are '
        'part of the package, their digests stand here.',
    ]


def _training(card: dict[str, Any]) -> list[str]:
    lines = [
        '| stage | cube | parameters | recipe | seed | steps | samples seen | time | hardware '
        '| started from |',
        '|---|---|---|---|---|---|---|---|---|---|',
    ]
    for name, stage in card['stages'].items():
        lines += _stage_lines(name, stage, card)
    return [*lines, '', words.training_cost(card['stages'])]


def _stage_lines(name: str, stage: dict[str, Any], card: dict[str, Any]) -> list[str]:
    """A row for a stage, after the rows of the runs it went on from."""
    before = stage.get('before')
    earlier = _stage_lines(f'{name}, before', before, card) if before else []
    averaged = f'; averaged: {stage["averaged"]}' if 'averaged' in stage else ''
    used = f', used at {stage["used_at"]}³' if 'used_at' in stage else ''
    recipe, digest = (stage.get(key, card[key]) for key in ('recipe', 'recipe_sha256'))
    return [
        *earlier,
        f'| {name} | {stage["size"]}³{used} | {stage["parameters"]:,} | `{recipe}` {digest[:8]} '
        f'| {stage.get("seed", card["seed"])} | {stage["steps"]:,} | {stage["samples"]:,} '
        f'| {stage["seconds"] / 60:.0f} min | {stage["hardware"]} '
        f'| {stage["initial"]}{averaged}{_taught(stage)} |',
    ]


def _taught(stage: dict[str, Any]) -> str:
    """Name the weights whose predictions were part of the target; nothing without any."""
    teachers = stage.get('teachers')
    if not teachers:
        return ''
    names = ', '.join(f'`{sha256[:8]}`' for sha256 in teachers)
    share = stage.get('teacher_share')
    return (
        f'; taught by weights with sha256 {names}, {share:g} of the target, their time not counted'
    )


def _real_lines(card: dict[str, Any]) -> list[str]:
    """What each stage was shown, and the images by their digests."""
    lines = []
    for name, stage in card['stages'].items():
        shown = stage.get('labelled')
        if shown is None:
            continue
        chosen = f'chosen on {shown["held_out"]} more' if shown['held_out'] else 'none held out'
        lines.append(
            f'{name}: {shown["cases"]} cases of {shown["subjects"]} subjects, '
            f'{shown["synthetic_share"]:.0%} synthetic heads, {chosen}.'
        )
    digests = ', '.join(f'`{digest}`' for digest in real_images(card))
    return [*lines, '', f'Files, by the first digits of their SHA-256: {digests}.']


def _score_lines(scores: list[dict[str, str]]) -> list[str]:
    """Medians per species and modality, then every case that was used."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    scored = [row for row in scores if math.isfinite(parse_number(row.get('dice')))]
    for row in scored:
        groups[row['species'], row['modality']].append(row)
    lines = [
        '| species | modality | n | median Dice | min Dice | median HD95 (mm) |',
        '|---|---|---|---|---|---|',
    ]
    for (species, modality), rows in sorted(groups.items()):
        dice = [parse_number(row['dice']) for row in rows]
        # an empty mask has a Dice, 0, and no distance to the reference
        distances = [parse_number(row.get('hd95_mm')) for row in rows]
        known = [distance for distance in distances if math.isfinite(distance)]
        median = statistics.median(known) if known else math.nan
        lines.append(
            f'| {species} | {modality} | {len(rows)} | {statistics.median(dice):.3f} '
            f'| {min(dice):.3f} | {format_number(median, 1)} |'
        )
    names = ', '.join(f'{row["case"]} {parse_number(row["dice"]):.3f}' for row in scored)
    return [*lines, '', f'Cases used, with their Dice: {names}.']


def write_card(
    weights: Path, scores: Path | None, target: Path, scored_on: str = 'real scans'
) -> None:
    """Write the Markdown card of a weights file, called the shipped ones or by its name.

    Raises
    ------
    InputError
        The scores cannot be used.
    WeightsError
        The file cannot be read as weights, or does not say how they were made.
    OutputError
        `target` is one of the files, or cannot be written.
    """
    from pumba_pipe.network.weights import load_weights

    check_outputs([target], [weights, scores])
    model = load_weights(weights)
    rows = read_scores(scores) if scores is not None else []
    shipped = weights.absolute() == SHIPPED.absolute()
    title = 'the shipped weights' if shipped else weights.name
    try:
        text = markdown(model.card, model.sha256, weights.stat().st_size, rows, title, scored_on)
    except KeyError as error:
        raise WeightsError(f'{weights}: what it says about itself lacks {error}') from None
    except (TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f'{weights}: what it says about itself is odd ({error})') from None
    write_text(target, text)


def describe(weights: Path | None = None) -> list[str]:
    """Say in plain lines what a weights file is.

    Parameters
    ----------
    weights : Path, optional
        Default: those that are used when nothing else is asked for.

    Raises
    ------
    WeightsError
        The file cannot be read as weights.
    """
    from pumba_pipe.network.weights import default_weights, load_weights

    path = weights or default_weights()
    model = load_weights(path)
    lines = [f'file: {path}', f'size: {path.stat().st_size / 1e6:.1f} MB']
    lines.append(f'sha256: {model.sha256}')
    lines += _plain_lines(model.card)
    if model.calibration is None:
        lines.append('calibration: none; pumba-weights calibrate makes one')
    else:
        lines.append(
            f'masks are flagged below an expected Dice of {model.calibration.dice.flag_below:.2f}'
        )
        lines.append('calibrated on:')
        lines += [f'  {line}' for line in _plain_lines(model.calibration.origin)]
    images = real_images(model.card)
    if images:
        lines.append(f'real images, by the first digits of their SHA-256: {", ".join(images)}')
    for name, stage in model.card.get('stages', {}).items():
        lines.append(f'{name} stage:')
        lines += [f'  {line}' for line in _plain_lines(stage)]
        if stage.get('with'):
            lines.append(f'  further networks: {len(stage["with"])}')
    return lines


def _plain_lines(entry: dict[str, Any]) -> list[str]:
    """What a card says in single words or numbers."""
    return [
        one_line(f'{key.replace("_", " ")}: {value}')  # a terminal obeys some characters
        for key, value in entry.items()
        if isinstance(value, (str, int, float))
    ]
