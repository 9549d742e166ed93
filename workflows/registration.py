"""Registration of an image to a standard space."""

from __future__ import annotations

from collections.abc import Sequence

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from pumba_pipe.workflows.templates import Template

from pumba_pipe.interfaces.memory import register_mem_gb
from pumba_pipe.interfaces.register import RegisterToTemplate
from pumba_pipe.registration.options import RegistrationOptions, Transform

FIELDS = ('forward_xfm', 'inverse_xfm', 'warped_file', 'warped_mask')


def init_registration_wf(
    *,
    template: Template,
    transform: Transform = RegistrationOptions.transform,
    sloppy: bool = RegistrationOptions.sloppy,
    seed: int = RegistrationOptions.seed,
    num_threads: int = 1,
    shape: Sequence[int] | None = None,
    template_shape: Sequence[int] | None = None,
    name: str = 'registration_wf',
) -> pe.Workflow:
    """Register an image to a template and resample its mask with it.

    The files of the template are found beforehand, by `find_template`.

    Parameters
    ----------
    template : Template
    transform : str
        ``'affine'``, or ``'syn'`` for a deformation as well (needs the extra ``ants``).
    sloppy : bool
        Quick and rough, for tests.
    seed : int
        Of the voxels that are compared.
    num_threads : int
    shape, template_shape : sequence of int, optional
        Of image and template, for the memory to reserve.
    name : str

    Inputs
    ------
    in_file
        Image
    in_mask
        Its brain mask

    Outputs
    -------
    forward_xfm
        ITK transform that resamples images onto the template
    inverse_xfm
        ITK transform that resamples the template onto the image
    warped_file
        The image on the template's grid
    warped_mask
        The mask on the template's grid

    Examples
    --------
    >>> from pumba_pipe.workflows.templates import find_template, parse_space
    >>> template = find_template(parse_space('MNI152NLin2009cAsym:res-2'))
    >>> wf = init_registration_wf(template=template, num_threads=1)
    >>> wf.get_node('register').inputs.transform
    'affine'
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=['in_file', 'in_mask']), name='inputnode')
    outputnode = pe.Node(IdentityInterface(fields=list(FIELDS)), name='outputnode')
    register = pe.Node(
        RegisterToTemplate(
            template=str(template.path),
            transform=transform,
            sloppy=sloppy,
            seed=seed,
            num_threads=num_threads,
        ),
        name='register',
        mem_gb=register_mem_gb(shape, template_shape, transform),
        n_procs=num_threads,
    )
    if template.mask is not None:
        register.inputs.template_mask = str(template.mask)
    workflow.connect(
        [
            (inputnode, register, [('in_file', 'in_file'), ('in_mask', 'in_mask')]),
            (register, outputnode, [(field, field) for field in FIELDS]),
        ]
    )
    return workflow
