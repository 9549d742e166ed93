"""The directive ``command``: a reference of a command, made from its parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# Every command, and where its parser is made. Tasks of `pumba-weights` are parsers within its own.
PARSERS = {
    'pumba': 'pumba_pipe.bids_app.options.parser',
    'pumba-strip': 'pumba_pipe.commands.strip',
    'pumba-synthstrip': 'pumba_pipe.commands.synthstrip',
    'pumba-train': 'pumba_pipe.commands.train',
    'pumba-synth': 'pumba_pipe.commands.synth',
    'pumba-evaluate': 'pumba_pipe.commands.evaluate',
    'pumba-evaluate benchmark': 'pumba_pipe.commands.benchmark',
    'pumba-evaluate compare': 'pumba_pipe.commands.compare',
    'pumba-evaluate learning-curve': 'pumba_pipe.commands.learning_curve',
    'pumba-evaluate study': 'pumba_pipe.commands.study',
    'pumba-weights': 'pumba_pipe.commands.weights',
    'python -m pumba_pipe.bids_app.subjects': 'pumba_pipe.bids_app.subjects',
}


class Command(SphinxDirective):
    """``command NAME``: description, usage, options by group, and examples."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Make the nodes of a command, and of its tasks."""
        name = self.arguments[0]
        if name not in PARSERS:
            raise self.error(f'no command is called {name!r}')
        parser = import_module(PARSERS[name]).build_parser()
        return [node for one in with_tasks(parser) for node in describe(one)]


def with_tasks(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Give a parser, and the parsers of its tasks."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def describe(parser: argparse.ArgumentParser) -> Iterator[nodes.Node]:
    """Describe a parser in nodes of docutils.

    Parameters
    ----------
    parser : ArgumentParser

    Yields
    ------
    docutils.nodes.Node
    """
    yield nodes.paragraph(text=parser.description)
    lines = parser.format_usage().splitlines()  # all as far in as the word `usage: `
    yield literal('\n'.join(line[len('usage: ') :] for line in lines))
    for group in parser._action_groups:
        shown = [a for a in group._group_actions if a.help != argparse.SUPPRESS]
        if shown:
            yield nodes.rubric(text=(group.title or '').removesuffix(', see below'))
            yield nodes.definition_list('', *(item(parser, action) for action in shown))
    if parser.epilog:
        yield literal(parser.epilog)


def item(parser: argparse.ArgumentParser, action: argparse.Action) -> nodes.definition_list_item:
    """Give an option with its help, in which the default is filled in."""
    formatter = parser._get_formatter()
    called = formatter._format_action_invocation(action)
    name = (action.option_strings or [action.dest])[-1].lstrip('-')
    term = nodes.term('', '', nodes.literal(text=called))
    term['ids'].append(nodes.make_id(f'{parser.prog} {name}'))
    text = formatter._expand_help(action) if action.help else ''
    return nodes.definition_list_item(
        '', term, nodes.definition('', nodes.paragraph(text=' '.join(text.split())))
    )


def literal(text: str) -> nodes.literal_block:
    """Give text as it is printed."""
    block = nodes.literal_block(text=text.strip('\n'))
    block['language'] = 'text'
    return block


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive('command', Command)
    return {'parallel_read_safe': True}
