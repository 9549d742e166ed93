"""Options of `pumba-train` that would have no effect."""

import pytest

from pumba_pipe.commands.train import main


@pytest.mark.parametrize(
    'words',
    [['--synthetic-share', '0.2'], ['--hold-out', '0'], ['--cases', 'a'], ['--bids', 'raw']],
    ids=lambda words: words[0],
)
def test_options_of_fine_tuning_without_it_are_refused(tmp_path, capsys, words):
    """Some were accepted, and a training from random values began."""
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / 'out'), '--steps', '1', *words])
    assert stop.value.code == 2
    assert 'go with --finetune' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
