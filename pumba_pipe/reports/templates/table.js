const table = document.querySelector('table.sortable') || document.querySelector('table.images');
const body = table.tBodies[0];

function keyOf(row, column, kind) {
  const cell = row.cells[column];
  if (kind === 'text') return cell.textContent.trim();
  return cell.dataset.value === '' ? NaN : Number(cell.dataset.value);
}

function compare(first, second, kind) {
  if (kind === 'text') return first.localeCompare(second, 'en', { numeric: true });
  return first - second;
}

// What is missing stays last, whichever way the table is sorted.
function isMissing(key) {
  return key === '' || Number.isNaN(key);
}

[...table.tHead.rows[0].cells].forEach((heading, column) => {
  const button = document.createElement('button');
  button.type = 'button';
  button.append(...heading.childNodes);
  heading.append(button);
  button.addEventListener('click', () => {
    const up = heading.getAttribute('aria-sort') !== 'ascending';
    for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
    heading.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const { kind } = heading.dataset;
    const rows = [...body.rows].map((row) => [keyOf(row, column, kind), row]);
    rows.sort(([first], [second]) => {
      if (isMissing(first) || isMissing(second)) return isMissing(first) - isMissing(second);
      return up ? compare(first, second, kind) : compare(second, first, kind);
    });
    body.append(...rows.map(([, row]) => row));
  });
});

document.querySelector('.tools').hidden = false;
document.getElementById('only').addEventListener('input', (event) => {
  table.classList.toggle('only', event.target.checked);
});
