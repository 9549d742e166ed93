"""What each part of the synthesis and of the loss is worth: ``make ablation CASES=DIR``.

The same network, which has seen none of these parts, is trained on for the same number of samples
with all of them, with all but one, and with none; then every case is stripped and scored. One run
takes about a quarter of an hour of one core. Runs that are there already are not repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SHIPPED = 'pumba_pipe/weights/default.safetensors'
THREE_NETWORKS = '15c88e5'  # the last commit whose weights had three fine networks
BASE = 'clear'
SAMPLES, BATCH = 600, 4

LOOKS = {look: {'chance': 0.0} for look in ('epi', 'surface_coil', 'pet')}
CROSSING = {'shells': {'membrane': 0.0, 'vessels': 0.0, 'sinus': 0.0}}
CLASSES = {'intensity': {'classes': 0.0}}
BRIGHT = {'intensity': {'bright': 0.0, 'ct': 0.0}}
SYMMETRY = {'view': {'symmetric': 0.0}}
EVERYTHING: dict[str, dict[str, float]] = {
    **LOOKS,
    **CROSSING,
    **SYMMETRY,
    'intensity': {**CLASSES['intensity'], **BRIGHT['intensity']},
}
# name: (in words, values of the recipe, options of pumba-train, share of the steps)
RUNS: dict[str, tuple[str, dict[str, dict[str, float]], list[str], float]] = {
    'all': ('all', {}, [], 1),
    # what the others have to be compared with: how far two runs of one recipe differ
    'again': ('all, another seed', {}, ['--seed', '2'], 1),
    'none': ('none of those below', EVERYTHING, [], 1),
    'no_looks': ('no echo-planar, surface-coil and PET looks', LOOKS, [], 1),
    'no_crossing': ('no membrane, vessels and sinus in the CSF', CROSSING, [], 1),
    'no_classes': ('shells and CSF of one intensity', CLASSES, [], 1),
    'no_classes_again': (
        'shells and CSF of one intensity, another seed',
        CLASSES,
        ['--seed', '2'],
        1,
    ),
    'no_bright_ct': ('no bright fat, no CT-like contrast', BRIGHT, [], 1),
    'no_symmetry': ('no mirror symmetry', SYMMETRY, [], 1),
    'plausible': ('all, and plausible shape', {}, ['--plausible-shape', '0.5'], 1),
    # three images of each head, of which two are learned from: half the steps in the same time
    'consistency': (
        'all, and adversarial consistency',
        {},
        ['--consistency', '0.3', '--renderings', '3'],
        0.5,
    ),
}
GROUPS = {
    'human T1w': ('human_T1w',),
    'human, other': ('human_',),
    'infant': ('infant',),
    'monkey, ape': ('macaque', 'marmoset', 'ape', 'chimpanzee'),
    'rodent': ('rat', 'mouse'),
    'dog': ('dog',),
}


def initial_weights(path: Path) -> None:
    """Put the narrow network of the three and the coarse one of today into a file."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    three = path.with_suffix('.three')
    shown = ['git', '-C', str(ROOT), 'show', f'{THREE_NETWORKS}:{SHIPPED}']
    three.write_bytes(subprocess.run(shown, check=True, capture_output=True).stdout)
    shipped = ROOT / SHIPPED
    values = {name: array for name, array in load_file(shipped).items() if name[:4] != 'fine'}
    values |= {
        name.replace('members.1.', ''): array
        for name, array in load_file(three).items()
        if name.startswith('fine/members.1.')
    }
    with safe_open(shipped, 'np') as file:
        metadata = dict(file.metadata())
    metadata.pop('calibration', None)
    stages = json.loads(metadata['stages'])
    stages['fine']['network'] |= {'widths': [16, 32, 64, 128], 'borders': 2}
    save_file(values, path, metadata | {'stages': json.dumps(stages)})
    three.unlink()


def recipe_text(values: dict[str, dict[str, float]]) -> str:
    """The base recipe with other values, in TOML."""
    text = (ROOT / 'pumba_pipe' / 'synthesis' / 'recipes' / f'{BASE}.toml').read_text()
    for table, entries in values.items():
        lines = ''.join(f'{name} = {value}\n' for name, value in entries.items())
        head = f'[{table}]\n'
        text = text.replace(head, head + lines) if head in text else f'{text}\n{head}{lines}'
    return text


def run(command: str, *arguments: Any) -> None:
    """Run one of our commands on one core."""
    module = f'pumba_pipe.commands.{command}'
    words = [sys.executable, '-m', module, *map(str, arguments), '--device', 'cpu', '-t', '1']
    subprocess.run(words, check=True)


def train_and_score(name: str, cases: Path, out: Path) -> None:
    """Do one run, unless its scores are there."""
    if (out / f'scores_{name}' / 'scores.tsv').exists():
        return
    _, values, options, share = RUNS[name]
    recipe, initial = out / f'{name}.toml', out / 'initial.safetensors'
    recipe.write_text(recipe_text(values))
    if not initial.exists():
        initial_weights(initial)
    steps = round(SAMPLES / BATCH * share)
    run('train', out / name, '--recipe', recipe, '--stage', 'fine', '--init', initial,
        '--learning-rate', 6e-4, '--steps', steps, '--batch', BATCH, '--fine-size', 96,
        '--fine-use-size', 128, '--no-calibration', '--cache-size', 300, '--cache-workers', 1,
        '-q', *options)  # fmt: skip
    run('evaluate', cases, '--out', out / f'scores_{name}', '--weights',
        out / name / 'weights.safetensors')  # fmt: skip


def group_of(case: str) -> str | None:
    """The first group whose cases begin so."""
    found = (name for name, starts in GROUPS.items() if case.startswith(starts))
    return next(found, None)


def table(out: Path) -> list[str]:
    """Median Dice of each group and mean of all cases, a line for each run."""
    lines = [f'| with | {" | ".join(GROUPS)} | all, mean |', '|---' * (len(GROUPS) + 2) + '|']
    for name, (words, *_) in RUNS.items():
        file = out / f'scores_{name}' / 'scores.tsv'
        if not file.exists():
            continue
        with file.open(encoding='utf-8') as stream:
            rows = csv.DictReader(stream, dialect='excel-tab')
            dice = {row['case']: float(row['dice'] or 0) for row in rows}
        parts = [[dice[case] for case in dice if group_of(case) == group] for group in GROUPS]
        cells = [f'{statistics.median(part):.3f}' if part else '' for part in parts]
        lines.append(f'| {words} | {" | ".join(cells)} | {statistics.mean(dice.values()):.3f} |')
    return lines


def main() -> int:
    """Do all runs, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('cases', type=Path)
    parser.add_argument('--out', type=Path, default=ROOT / 'build' / 'ablation')
    parser.add_argument('--only', nargs='*', default=list(RUNS), choices=RUNS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        train_and_score(name, options.cases, options.out)
    print('\n'.join(table(options.out)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
