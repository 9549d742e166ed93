"""Scoring masks against ground truth as a Nipype node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype import logging
from nipype.interfaces.base import (
    BaseInterface,
    BaseInterfaceInputSpec,
    Directory,
    File,
    InputMultiPath,
    TraitedSpec,
    isdefined,
    traits,
)

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.tables import MISSING
from pumba_pipe.extraction.options import ExtractionOptions
from pumba_pipe.interfaces.folder import in_folder, stem

if TYPE_CHECKING:
    from pumba_pipe.evaluation.cases import Case
    from pumba_pipe.evaluation.scoring import MaskSource

OUTPUTS = {'scores': 'scores.tsv', 'summary': 'summary.tsv', 'picture': 'worst.png'}


class EvaluateMasksInputSpec(BaseInterfaceInputSpec):
    """Inputs of `EvaluateMasks`."""

    in_dir = Directory(
        exists=True,
        xor=['ground_truth'],
        desc='folder of <case>/image.nii.gz and <case>/mask.nii.gz, which are stripped',
    )
    ground_truth = InputMultiPath(
        File(exists=True), xor=['in_dir'], desc='reference masks, one a case'
    )
    references = InputMultiPath(
        File(exists=True), deprecated='2.0', new_name='ground_truth', desc='former name'
    )
    in_masks = InputMultiPath(
        File(exists=True), desc='found masks, in the order of `ground_truth`'
    )
    in_files = InputMultiPath(
        File(exists=True),
        desc='images, in the order of `ground_truth`; stripped where no in_masks are given',
    )
    cases = traits.List(traits.Str, desc='names of the cases, in the order of `ground_truth`')
    model = File(exists=True, desc='weights file; default: the shipped weights')
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc='strip on the GPU')
    device = traits.Str(ExtractionOptions.device, usedefault=True, nohash=True, desc='which GPU')
    num_threads = traits.Int(nohash=True, desc='CPU threads')


class EvaluateMasksOutputSpec(TraitedSpec):
    """Outputs of `EvaluateMasks`."""

    scores = File(exists=True, desc='table, a row for each case')
    summary = File(exists=True, desc='table of medians and minima')
    picture = File(exists=True, desc='outlines of the worst cases')


class EvaluateMasks(BaseInterface):
    """Compare masks with reference masks, as ``pumba-evaluate`` does.

    Three ways in: ``in_masks`` and ``ground_truth``; ``in_files`` and ``ground_truth``, where the
    images are stripped with ``model``; or ``in_dir``, a folder of cases, which are stripped. A
    case that fails is a row of its own and a warning; the node fails when all do.

    Examples
    --------
    >>> masks = ['mask.nii.gz']
    >>> found = EvaluateMasks(in_masks=masks, ground_truth=masks, cases=['same']).run()
    >>> columns, row = Path(found.outputs.scores).read_text().splitlines()
    >>> dict(zip(columns.split(), row.split()))['dice']
    '1.0000'
    """

    input_spec = EvaluateMasksInputSpec
    output_spec = EvaluateMasksOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from pumba_pipe.evaluation.scoring import (
            make_stripper,
            read_prediction,
            score_cases,
            write_results,
        )

        inputs, cases = self.inputs, self._cases()
        find: MaskSource = read_prediction
        if not isdefined(inputs.in_masks):
            find = make_stripper(
                Path(inputs.model) if isdefined(inputs.model) else None,
                inputs.device if inputs.use_gpu else 'cpu',
                inputs.num_threads if isdefined(inputs.num_threads) else None,
            )
        messages: list[str] = []
        scored = score_cases(cases, find, failed=messages.append)
        for message in messages:
            logging.getLogger('nipype.interface').warning(message)
        if all(one.score.failed for one in scored):
            raise InputError(f'no case could be scored; the first: {messages[0]}')
        write_results(Path.cwd(), scored)
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        return {field: in_folder(name) for field, name in OUTPUTS.items()}

    def _cases(self) -> list[Case]:
        """List the cases; all of them have a reference."""
        from pumba_pipe.evaluation.cases import find_cases

        inputs = self.inputs
        if isdefined(inputs.in_dir):
            cases = [case for case in find_cases(Path(inputs.in_dir)) if case.mask is not None]
            if not cases:
                raise InputError(f'{inputs.in_dir}: no mask.nii.gz beside any of the images')
            return cases
        return self._listed_cases()

    def _listed_cases(self) -> list[Case]:
        from pumba_pipe.evaluation.cases import Case

        inputs = self.inputs
        if not isdefined(inputs.ground_truth):
            raise InputError('ground_truth or in_dir must be given')
        ground_truth = list(inputs.ground_truth)
        masks, images, names = (
            list(given) if isdefined(given) else None
            for given in (inputs.in_masks, inputs.in_files, inputs.cases)
        )
        if masks is None and images is None:
            raise InputError('give in_masks, to score them, or in_files, to strip them')
        for field, given in (('in_masks', masks), ('in_files', images), ('cases', names)):
            if given is not None and len(given) != len(ground_truth):
                raise InputError(
                    f'{field} has {len(given)} entries, ground_truth has {len(ground_truth)}'
                )
        # Without images, the reference itself is what is looked at.
        shown = images or ground_truth
        named = names or [stem(path) for path in shown]
        return [
            Case(
                name=named[index],
                species=MISSING,
                modality=stem(shown[index]).rsplit('_', 1)[-1] if images else MISSING,
                image=Path(shown[index]),
                mask=Path(reference),
                prediction=Path(masks[index]) if masks else None,
            )
            for index, reference in enumerate(ground_truth)
        ]
