// Order of search results: pages for users first, records and pages for developers last.
// The other values are those of Sphinx, which takes either all from here or none.
const FIRST =
  /^docs\/(quickstart|install|single-images|bids-app|animals|modalities|clusters|correct-a-mask|score|quality-control|faq|coming-from|other-pipelines|nipype)$/;
const LAST =
  /^(CHANGELOG|CONTRIBUTING|CODE_OF_CONDUCT|SECURITY|tests\/.*|docs\/(architecture|experiments|licences|method|releasing|accuracy-tables|site\/api|notebooks\/train.*))$/;

var Scorer = {
  score: ([page, title, anchor, description, score]) =>
    score + (FIRST.test(page) ? 2 : LAST.test(page) ? -4 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
