// Sort and choose among the cards of the index.
const list = document.querySelector('.cards');
const cards = [...list.children];
const [sort, show, search] = ['sort', 'show', 'search'].map((id) => document.getElementById(id));

function compare(first, second) {
  const names = first.dataset.name.localeCompare(second.dataset.name, 'en', { numeric: true });
  if (sort.value === 'name') return names;
  const [one, other] = [first, second].map((card) => card.dataset.quality);
  // what is unknown stays last, whichever way the cards are sorted
  if (one === '' || other === '') return (one === '') - (other === '') || names;
  return (sort.value === '-quality' ? other - one : one - other) || names;
}

function isShown(card) {
  if (!card.dataset.name.toLowerCase().includes(search.value.trim().toLowerCase())) return false;
  if (show.value === 'doubtful') return card.classList.contains('doubtful');
  if (show.value === 'unrated') return !card.querySelector('.rating input:checked');
  return true;
}

function update() {
  cards.sort(compare);
  list.append(...cards);
  for (const card of cards) card.hidden = !isShown(card);
  const count = cards.filter((card) => !card.hidden).length;
  document.getElementById('shown').textContent = `${count} of ${cards.length} shown`;
}

for (const one of [sort, show, search]) one.addEventListener('input', update);
document.querySelector('.tools').hidden = cards.length < 2;
if (cards.length > 1) update();
