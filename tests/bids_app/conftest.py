"""What several tests of the BIDS-App share."""

import pytest
from pumba_pipe.bids_app.run import main


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """The current folder is one of the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refusal(capsys):
    """A function that runs a command that must be refused, and returns the one line it prints."""

    def line(*argv):
        assert main([str(word) for word in argv]) == 2
        out, err = capsys.readouterr()
        assert err.startswith('pumba: error: ')
        assert err.count('\n') == 1
        assert 'Traceback' not in out + err
        return err

    return line
