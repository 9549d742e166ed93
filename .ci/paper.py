"""Make a PDF of the page that describes the method: ``make paper`` writes build/method.pdf.

The page stays Markdown that is read in a browser; links to other pages become plain text here,
because a paper has no other pages.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'method.md'
STYLE = """
@page { size: A4; margin: 22mm 20mm; @bottom-center { content: counter(page); font-size: 9pt } }
body { font: 10pt/1.4 serif; }
h1 { font-size: 17pt; line-height: 1.2; } h2 { font-size: 13pt; } h3 { font-size: 11pt; }
h1, h2, h3 { break-after: avoid; }
table { border-collapse: collapse; width: 100%; font-size: 8.5pt; margin: 3mm 0; }
th, td { border-top: 0.4pt solid #888; padding: 1mm 2mm; text-align: left; vertical-align: top; }
tr { break-inside: avoid; }
code { font-size: 9pt; } a { color: #003b80; text-decoration: none; }
"""


def html_of(page: Path, version: str) -> str:
    """Turn the page into HTML, without links that lead to other pages.

    Parameters
    ----------
    page : Path
        In Markdown.
    version : str
        Stands below the title.
    """
    from markdown_it import MarkdownIt

    body = MarkdownIt().enable('table').render(page.read_text(encoding='utf-8'))
    body = re.sub(r'<a href="(?!https?:)[^"]*">(.*?)</a>', r'\1', body, flags=re.DOTALL)
    body = body.replace('</h1>', f'</h1>\n<p>pumba_pipe {version}. Licence: Apache-2.0.</p>', 1)
    title = re.search(r'^# (.+)$', page.read_text(encoding='utf-8'), re.MULTILINE)
    head = f'<meta charset="utf-8"><title>{title[1] if title else page.stem}</title>'
    return f'<html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>'


def main(out: Path) -> int:
    """Write the PDF."""
    from weasyprint import HTML

    from pumba_pipe import __version__

    out.parent.mkdir(parents=True, exist_ok=True)
    HTML(string=html_of(PAGE, __version__)).write_pdf(out)
    print(out)
    return 0


if __name__ == '__main__':
    sys.exit(main(Path(sys.argv[1])))
