"""Progress on a terminal, and elsewhere."""

import io
import sys

from pumba_pipe.common.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_count_rate_and_time_left(capsys, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stderr', terminal)
    with ProgressBar(3, 'image') as bar:
        bar.advance()
        bar.say('a line')
        bar.advance()
        bar._bar.refresh()
    assert bar.shown
    assert capsys.readouterr().out == 'a line\n'
    last = terminal.getvalue().rstrip().rsplit('\r', 1)[-1]
    assert '2/3 [00:00<00:00' in last
    assert 'image' in last
    assert '\x1b[3' not in terminal.getvalue()  # no colour


def test_no_bar_elsewhere_nor_when_quiet(monkeypatch):
    for quiet, stream in ((True, Terminal()), (False, io.StringIO())):
        monkeypatch.setattr(sys, 'stderr', stream)
        with ProgressBar(2, 'image', quiet) as bar:
            bar.advance()
        assert not bar.shown
        assert stream.getvalue() == ''


def test_time_left_is_that_of_the_finished_ones(monkeypatch):
    moment = [100.0]
    monkeypatch.setattr('time.monotonic', lambda: moment[0])
    bar = ProgressBar(4, 'image')
    assert bar.seconds_left != bar.seconds_left  # nothing is known yet
    moment[0] += 30
    bar.advance()
    assert bar.seconds_left == 90
