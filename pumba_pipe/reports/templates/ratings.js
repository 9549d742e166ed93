// What a person thinks of each mask: kept in this browser, exported as a table.
const forms = [...document.querySelectorAll('form.rating')];
const { dataset } = document.querySelector('main').dataset;
const panel = document.querySelector('.export');
let kept = true; // whether this browser keeps what is entered

// A rating is of one mask of one data set: another mask of the same name has none.
const keyOf = (form) => `pumba-rating:${dataset}:${form.dataset.image}:${form.dataset.mask}`;

function load(form) {
  let text = null;
  try {
    text = localStorage.getItem(keyOf(form));
  } catch {
    kept = false;
  }
  let found = {};
  try {
    found = JSON.parse(text) ?? { rating: form.dataset.rating, note: form.dataset.note };
  } catch {
    // something else lies there
  }
  for (const radio of form.querySelectorAll('[type=radio]')) {
    radio.checked = radio.value === found.rating;
  }
  form.elements.note.value = typeof found.note === 'string' ? found.note : '';
}

function valuesOf(form) {
  return {
    rating: form.querySelector('[type=radio]:checked')?.value ?? '',
    note: form.elements.note.value.replace(/\s+/g, ' ').trim(),
  };
}

function save(form) {
  try {
    localStorage.setItem(keyOf(form), JSON.stringify(valuesOf(form)));
  } catch {
    kept = false;
  }
  count();
}

function count() {
  const all = forms.map((form) => valuesOf(form).rating);
  const words = ['keep', 'correct', 'exclude'].map((name) => (
    `${all.filter((rating) => rating === name).length} ${name}`
  ));
  panel.querySelector('.count').textContent = `${all.filter(Boolean).length} of ${all.length} `
    + `rated: ${words.join(', ')}.`
    + (kept ? '' : ' This browser does not keep them: export before you leave the page.');
}

function table() {
  const rows = forms
    .map((form) => ({ ...valuesOf(form), image: form.dataset.image, mask: form.dataset.mask }))
    .filter((row) => row.rating || row.note)
    .map((row) => [row.image, row.rating, row.note, row.mask].map((text) => text || 'n/a'));
  const lines = [['bids_name', 'rating', 'note', 'mask'], ...rows].map((row) => row.join('\t'));
  return `${lines.join('\n')}\n`;
}

function exportTable() {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([table()], { type: 'text/tab-separated-values' }));
  link.download = `ratings_${location.pathname.split('/').pop().replace(/\.html$/, '') || 'index'}.tsv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

for (const form of forms) {
  load(form);
  form.hidden = false;
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('input', () => save(form));
  form.querySelector('.clear').addEventListener('click', () => {
    form.reset();
    save(form);
  });
}
if (forms.length) {
  panel.hidden = false;
  panel.querySelector('button').addEventListener('click', exportTable);
  window.addEventListener('storage', () => {
    forms.forEach(load);
    count();
  });
  // back from another page: what was entered there is shown
  window.addEventListener('pageshow', () => {
    forms.forEach(load);
    count();
  });
  count();
}
