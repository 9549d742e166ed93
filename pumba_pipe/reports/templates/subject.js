'use strict';

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

// The slice viewer: one for the page, which goes where it is opened.
let started = null;
let shown = null;

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).text();
}

async function start(stage) {
  if (!document.createElement('canvas').getContext('webgl2')) {
    throw new Error('this browser has no WebGL 2');
  }
  const script = document.createElement('script');
  script.textContent = await unpack(document.getElementById('niivue').textContent);
  document.head.append(script);
  const canvas = document.createElement('canvas');
  const box = document.createElement('div');
  box.style.height = '100%';
  box.append(canvas);
  stage.append(box);
  const viewer = new niivue.Niivue({
    backColor: [0, 0, 0, 1],
    crosshairColor: [0.45, 0.75, 1, 0.8],
    crosshairWidth: 0.35,
    crosshairWidthUnit: 'percent',
    dragAndDropEnabled: false,
    fontColor: [0.8, 0.8, 0.8, 1],
    isOrientationTextVisible: true,
    logLevel: 'error',
    multiplanarShowRender: niivue.SHOW_RENDER.NEVER,
    show3Dcrosshair: false,
  });
  await viewer.attachToCanvas(canvas);
  return { viewer, box };
}

async function open(details) {
  if (details === shown) return;
  shown = details;
  const stage = details.querySelector('.stage');
  for (const other of document.querySelectorAll('details.viewer[open]')) {
    if (other !== details) other.open = false;
  }
  try {
    started = started ?? start(stage);
    const { viewer, box } = await started;
    const options = { trustCalMinMax: false, cal_min: 0, cal_max: 255, colormap: 'gray' };
    const [image, mask] = await Promise.all(['image', 'mask'].map((name) => (
      niivue.NVImage.loadFromBase64({
        ...options, base64: details.dataset[name], name: `${name}.nii.gz`,
      })
    )));
    if (details !== shown) return; // another one was opened meanwhile
    stage.append(box);
    for (const volume of [...viewer.volumes]) viewer.removeVolume(volume);
    viewer.addVolume(image);
    // as a drawing, which has a rim one pixel wide in every plane
    viewer.loadDrawing(mask);
    control(details, viewer);
    viewer.resizeListener();
  } catch (error) {
    stage.classList.add('empty');
    stage.textContent = `The slice viewer does not run here (${error.message}). `
      + 'The pictures above show the same mask.';
  }
}

function control(details, viewer) {
  details.querySelector('.controls')?.remove();
  const controls = document.getElementById('controls').content.cloneNode(true).firstElementChild;
  const opacity = controls.querySelector('.opacity');
  const filled = controls.querySelector('.filled');
  const planes = controls.querySelector('.planes');
  const update = () => {
    const value = Number(opacity.value);
    viewer.drawRimOpacity = value;
    // the rim is drawn where the inside is not wholly transparent
    viewer.setDrawOpacity(filled.checked ? 0.5 * value : Math.min(value, 0.004));
    viewer.setSliceType(Number(planes.value));
  };
  for (const one of [opacity, filled, planes]) one.addEventListener('input', update);
  details.append(controls);
  update();
}

for (const details of document.querySelectorAll('details.viewer')) {
  details.addEventListener('toggle', () => {
    if (details.open) open(details);
  });
  if (details.open) open(details);
}
