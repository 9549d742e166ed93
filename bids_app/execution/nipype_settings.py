"""Nipype's configuration: no network access, and as verbose as asked for."""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.options.config import UsageError

NO_TELEMETRY = {'NO_ET': '1', 'NIPYPE_NO_ET': '1'}
SETTINGS = {
    'check_version': 'false',
    'crashfile_format': 'txt',
    'create_report': 'false',
    'hash_method': 'timestamp',
    'poll_sleep_duration': '0.1',
    'stop_on_first_crash': 'false',
}
LEVELS = ('CRITICAL', 'WARNING', 'INFO')


def nipype_folder() -> str:
    """Folder of the user's settings of Nipype."""
    return os.environ.get('NIPYPE_CONFIG_DIR') or os.path.expanduser('~/.nipype')


def configure_nipype(verbosity: int, stop: bool = False, record: Path | None = None) -> None:
    """Set up Nipype in this process; call it before anything else imports nipype.

    Parameters
    ----------
    verbosity : int
        0: errors are reported by us alone; 1: warnings; 2: everything.
    stop : bool
        Stop at the first node that fails.
    record : Path or None
        File for the use of memory and CPU; None: do not watch it.

    Raises
    ------
    UsageError
        Nipype cannot read its file of settings.
    """
    os.environ.update(NO_TELEMETRY)
    try:
        from nipype import config, logging
    except (configparser.Error, UnicodeDecodeError) as error:
        raise UsageError(
            f'the settings of Nipype cannot be read ({error}); repair or remove nipype.cfg in '
            f'{nipype_folder()}, or in the current folder'
        ) from None

    level = LEVELS[min(verbosity, len(LEVELS) - 1)]
    levels = {f'{part}_level': level for part in ('workflow', 'utils', 'interface')}
    config.update_config(
        {
            'execution': SETTINGS | {'stop_on_first_crash': str(stop).lower()},
            'logging': {**levels, 'log_to_file': 'false'},
        }
    )
    config.resource_monitor = record is not None
    if record is not None:
        config.set('monitoring', 'summary_file', str(record))
    logging.update_logging(config)
    from nipype.pipeline.plugins import tools

    tools.crash2txt = write_crash_file


def write_crash_file(filename: str, record: dict[str, Any]) -> None:
    """Write why a node failed, as Nipype does, whatever is in the names of files.

    Nipype's own function raises at bytes that the encoding lacks: the reason was lost, and in one
    process so were all images that had yet to be done.
    """
    node, text = record.get('node'), ''.join(record['traceback'])
    if node is not None:
        text = (
            f'Node: {node.fullname}\nWorking directory: {node.output_dir()}\n\n'
            f'Node inputs:\n{node.inputs}\n{text}'
        )
    Path(filename).write_text(text, encoding='utf-8', errors='backslashreplace')
