// A picture that is clicked fills the window, at its full resolution or twice as large as before.
const dialog = document.querySelector('dialog.enlarged');

for (const link of document.querySelectorAll('a.enlarge')) {
  link.addEventListener('click', (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || !dialog.showModal) return;
    event.preventDefault();
    const figure = link.closest('figure');
    const before = figure.querySelector('img');
    const picture = before.cloneNode();
    const width = Math.max(before.naturalWidth, 2 * figure.clientWidth);
    picture.style.width = `${width}px`;
    dialog.replaceChildren(picture);
    dialog.showModal();
    const box = before.getBoundingClientRect();
    if (!link.contains(before) || !event.detail) return; // no place in the picture was clicked
    // what was clicked comes to the middle
    dialog.scrollLeft = ((event.clientX - box.left) / box.width) * width - dialog.clientWidth / 2;
    dialog.scrollTop = ((event.clientY - box.top) / box.width) * width - dialog.clientHeight / 2;
  });
}
dialog.addEventListener('click', () => dialog.close());

// Before and after: the picture's upper half on the left, its lower half on the right.
for (const figure of document.querySelectorAll('.pair')) {
  const picture = figure.querySelector('img');
  const build = () => {
    const slide = document.createElement('div');
    slide.className = 'slide';
    slide.style.aspectRatio = `${picture.naturalWidth} / ${picture.naturalHeight / 2}`;
    slide.style.maxWidth = `${picture.naturalWidth}px`;
    const [before, after] = ['before', 'after'].map((name) => {
      const half = document.createElement('div');
      half.className = `half ${name}`;
      half.append(picture.cloneNode());
      slide.append(half);
      return half;
    });
    const line = document.createElement('div');
    line.className = 'line';
    const input = document.createElement('input');
    input.type = 'range';
    input.min = '0';
    input.max = '100';
    input.step = '0.5';
    input.value = '50';
    input.setAttribute('aria-label', 'how much is shown with the skull');
    const move = () => {
      before.style.clipPath = `inset(0 ${100 - input.value}% 0 0)`;
      after.style.clipPath = `inset(0 0 0 ${input.value}%)`;
      line.style.left = `calc(${input.value}% - 1px)`;
    };
    input.addEventListener('input', move);
    slide.addEventListener('pointermove', (event) => {
      const box = slide.getBoundingClientRect();
      input.value = String((100 * (event.clientX - box.left)) / box.width);
      move();
    });
    slide.append(line, input);
    move();
    figure.prepend(slide);
    figure.classList.add('sliding');
  };
  if (picture.complete && picture.naturalWidth) build();
  else picture.addEventListener('load', build);
}
