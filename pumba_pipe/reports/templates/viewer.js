// The slice viewer: three planes of an image, the outline of its mask, a crosshair.
// A volume's index is x + width * (y + height * z); planes are drawn with right, front and up
// to the right or up.
const template = document.getElementById('viewer');

function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// The image comes as pictures with slices below each other.
async function greyOf({ shape: [width, height, depth], rows, image }) {
  const grey = new Uint8Array(width * height * depth);
  let slice = 0;
  for (const text of image) {
    const picture = await createImageBitmap(new Blob([bytesOf(text)], { type: 'image/jpeg' }));
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [picture.width, picture.height];
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    for (let top = 0; top < picture.height && slice < depth; top += rows, slice += 1) {
      const { data } = context.getImageData(0, top, width, height);
      const start = slice * width * height;
      for (let i = 0; i < width * height; i += 1) grey[start + i] = data[4 * i];
    }
    picture.close();
  }
  return grey;
}

// A mask comes as bits, gzipped.
async function maskOf(shape, mask) {
  const stream = new Blob([bytesOf(mask)]).stream().pipeThrough(new DecompressionStream('gzip'));
  const bits = new Uint8Array(await new Response(stream).arrayBuffer());
  const inside = new Uint8Array(shape[0] * shape[1] * shape[2]);
  for (let i = 0; i < inside.length; i += 1) inside[i] = (bits[i >> 3] >> (7 - (i & 7))) & 1;
  return inside;
}

// The voxel in the middle of the mask.
function middleOf(inside, [width, height, depth]) {
  const sum = [0, 0, 0];
  let count = 0;
  for (let z = 0, i = 0; z < depth; z += 1) {
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1, i += 1) {
        if (!inside[i]) continue;
        sum[0] += x;
        sum[1] += y;
        sum[2] += z;
        count += 1;
      }
    }
  }
  return sum.map((one) => Math.round(one / Math.max(1, count)));
}

class Viewer {
  // `network` is the network's own mask where `inside` is a manual one, else null.
  constructor(root, volume, grey, inside, network) {
    Object.assign(this, { root, volume, grey, inside, network });
    this.steps = [1, volume.shape[0], volume.shape[0] * volume.shape[1]];
    this.middle = middleOf(inside, volume.shape);
    this.at = [...this.middle];
    this.zoom = 1;
    this.colour = root.dataset.outline;
    this.planes = [...root.querySelectorAll('.plane')].map((element) => ({
      element,
      canvas: element.querySelector('canvas'),
      slider: element.querySelector('input'),
      axis: Number(element.dataset.axis),
      across: Number(element.dataset.across),
      up: Number(element.dataset.up),
      letters: [...element.dataset.letters],
    }));
    this.options = Object.fromEntries(
      [...root.querySelectorAll('.controls input')].map((input) => [input.name, input]),
    );
    [this.plane] = this.planes;
    this.listen();
    new ResizeObserver(() => this.draw()).observe(root.querySelector('.planes'));
  }

  listen() {
    for (const plane of this.planes) {
      const { element, canvas, slider } = plane;
      slider.max = String(this.volume.shape[plane.axis] - 1);
      slider.addEventListener('input', () => this.go(plane.axis, Number(slider.value)));
      element.addEventListener('focusin', () => this.use(plane));
      canvas.addEventListener('pointerdown', (event) => {
        element.focus({ preventScroll: true });
        this.point(plane, event);
      });
      canvas.addEventListener('pointermove', (event) => {
        if (event.buttons === 1) this.point(plane, event);
      });
      canvas.addEventListener('wheel', (event) => {
        if (event.ctrlKey) return; // the browser's own zoom
        event.preventDefault();
        this.use(plane);
        this.go(plane.axis, this.at[plane.axis] - Math.sign(event.deltaY));
      }, { passive: false });
    }
    for (const input of Object.values(this.options)) {
      input.addEventListener('input', () => this.draw());
    }
    this.root.addEventListener('keydown', (event) => this.press(event));
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === 'range') return;
    const { axis, across, up } = this.plane;
    const moves = {
      ArrowLeft: [across, -1],
      ArrowRight: [across, 1],
      ArrowUp: [up, 1],
      ArrowDown: [up, -1],
      PageUp: [axis, 1],
      PageDown: [axis, -1],
    };
    const switches = { o: 'outline', c: 'crosshair', f: 'filled' };
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (moves[key]) {
      const [along, step] = moves[key];
      this.go(along, this.at[along] + step * (event.shiftKey ? 10 : 1));
    } else if (switches[key]) {
      const input = this.options[switches[key]];
      input.checked = !input.checked;
      this.draw();
    } else if (['1', '2', '3'].includes(key)) {
      this.planes[Number(key) - 1].element.focus({ preventScroll: true });
    } else if (key === '+' || key === '=' || key === '-') {
      const { zoom } = this.options;
      zoom.value = String(Number(zoom.value) + (key === '-' ? -0.5 : 0.5));
      this.draw();
    } else if (key === 'Home') {
      this.at = [...this.middle];
      this.draw();
    } else {
      return;
    }
    event.preventDefault();
  }

  use(plane) {
    this.plane = plane;
    for (const one of this.planes) one.element.classList.toggle('used', one === plane);
  }

  go(axis, index) {
    this.at[axis] = Math.min(Math.max(index, 0), this.volume.shape[axis] - 1);
    this.draw();
  }

  // To the voxel that was pointed at.
  point(plane, event) {
    const box = plane.canvas.getBoundingClientRect();
    const { left, bottom, wide, high } = plane.place;
    const ratio = plane.canvas.width / box.width;
    const x = ((event.clientX - box.left) * ratio - left) / wide;
    const y = (bottom - (event.clientY - box.top) * ratio) / high;
    const { shape } = this.volume;
    for (const [axis, place] of [[plane.across, x], [plane.up, y]]) {
      this.at[axis] = Math.min(Math.max(Math.floor(place), 0), shape[axis] - 1);
    }
    this.draw();
  }

  draw() {
    this.zoom = Number(this.options.zoom.value);
    const { shape, voxel_size: size } = this.volume;
    const sides = shape.map((count, axis) => count * size[axis]);
    const widest = Math.max(...this.planes.map((plane) => sides[plane.across]));
    const tallest = Math.max(...this.planes.map((plane) => sides[plane.up]));
    const ratio = window.devicePixelRatio || 1;
    for (const plane of this.planes) {
      const { canvas } = plane;
      canvas.style.aspectRatio = `${widest} / ${tallest}`;
      canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
      canvas.height = Math.max(1, Math.round((canvas.width * tallest) / widest));
      this.drawPlane(plane, (canvas.width / widest) * this.zoom, ratio);
      plane.slider.value = String(this.at[plane.axis]);
    }
    this.root.querySelector('.place').textContent = this.placeInWords();
  }

  drawPlane(plane, scale, ratio) {
    const { canvas, axis, across, up } = plane;
    const { shape, voxel_size: size } = this.volume;
    const [wide, high] = [size[across] * scale, size[up] * scale]; // of a voxel, in pixels
    const [columns, rows] = [shape[across], shape[up]];
    // magnified, the crosshair is in the middle; else the image is
    const centre = (along, count) => (this.zoom > 1 ? this.at[along] + 0.5 : count / 2);
    const left = canvas.width / 2 - centre(across, columns) * wide;
    const bottom = canvas.height / 2 + centre(up, rows) * high;
    plane.place = { left, bottom, wide, high };
    const context = canvas.getContext('2d');
    context.fillStyle = '#000';
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = this.zoom < 4;
    context.drawImage(this.slice(plane), left, bottom - rows * high, columns * wide, rows * high);
    if (this.options.outline.checked) {
      const { network, outline } = this.root.dataset;
      if (this.network) this.drawOutline(context, plane, ratio, this.network, network);
      this.drawOutline(context, plane, ratio, this.inside, outline);
    }
    if (this.options.crosshair.checked) this.drawCrosshair(context, plane, ratio);
    this.drawLetters(context, plane, ratio);
    canvas.setAttribute('aria-label', `slice ${this.at[axis] + 1} of ${shape[axis]}`);
  }

  // A slice as a picture, the first row at the top.
  slice({ axis, across, up }) {
    const { shape } = this.volume;
    const picture = document.createElement('canvas');
    [picture.width, picture.height] = [shape[across], shape[up]];
    const context = picture.getContext('2d');
    const pixels = context.createImageData(picture.width, picture.height);
    const gain = 2 ** Number(this.options.brightness.value);
    const tint = this.options.filled.checked ? this.colour.match(/\w\w/g).map((c) => parseInt(c, 16)) : null;
    let to = 0;
    for (let row = picture.height - 1; row >= 0; row -= 1) {
      let from = this.at[axis] * this.steps[axis] + row * this.steps[up];
      for (let column = 0; column < picture.width; column += 1, to += 4) {
        const grey = Math.min(255, this.grey[from] * gain);
        const share = tint && this.inside[from] ? 0.25 : 0;
        for (let band = 0; band < 3; band += 1) {
          pixels.data[to + band] = share ? grey + share * (tint[band] - grey) : grey;
        }
        pixels.data[to + 3] = 255;
        from += this.steps[across];
      }
    }
    context.putImageData(pixels, 0, 0);
    return picture;
  }

  // Along the faces of voxels between inside and outside: a light line with dark seams.
  drawOutline(context, { axis, across, up, place }, ratio, inside, light) {
    const { left, bottom, wide, high } = place;
    const { shape } = this.volume;
    const start = this.at[axis] * this.steps[axis];
    const at = (column, row) => (
      column >= 0 && row >= 0 && column < shape[across] && row < shape[up]
        ? inside[start + column * this.steps[across] + row * this.steps[up]] : 0
    );
    const path = new Path2D();
    for (let row = 0; row <= shape[up]; row += 1) {
      for (let column = 0; column <= shape[across]; column += 1) {
        const [x, y] = [left + column * wide, bottom - row * high];
        const here = at(column, row);
        if (here !== at(column - 1, row)) {
          path.moveTo(x, y);
          path.lineTo(x, y - high);
        }
        if (here !== at(column, row - 1)) {
          path.moveTo(x, y);
          path.lineTo(x + wide, y);
        }
      }
    }
    context.lineCap = 'square';
    for (const [colour, width] of [['#000', 4.2], [light, 1.6]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * ratio;
      context.stroke(path);
    }
  }

  drawCrosshair(context, { across, up, place, canvas }, ratio) {
    const x = place.left + (this.at[across] + 0.5) * place.wide;
    const y = place.bottom - (this.at[up] + 0.5) * place.high;
    const gap = 8 * ratio; // the voxel itself stays free
    const path = new Path2D();
    for (const [from, to] of [[[0, y], [x - gap, y]], [[x + gap, y], [canvas.width, y]],
      [[x, 0], [x, y - gap]], [[x, y + gap], [x, canvas.height]]]) {
      path.moveTo(...from);
      path.lineTo(...to);
    }
    context.lineCap = 'butt';
    for (const [colour, width] of [['rgb(0 0 0 / 0.6)', 3], ['#9fd3f6', 1]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * ratio;
      context.stroke(path);
    }
  }

  drawLetters(context, { letters, canvas }, ratio) {
    const [middle, centre, edge] = [canvas.width / 2, canvas.height / 2, 10 * ratio];
    context.font = `bold ${13 * ratio}px sans-serif`;
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.lineWidth = 3 * ratio;
    context.strokeStyle = '#000';
    context.fillStyle = '#eee';
    const places = [[edge, centre], [canvas.width - edge, centre], [middle, canvas.height - edge],
      [middle, edge]];
    places.forEach(([x, y], index) => {
      context.strokeText(letters[index], x, y);
      context.fillText(letters[index], x, y);
    });
  }

  placeInWords() {
    const { affine, factors } = this.volume;
    const places = affine.map((row) => (
      row[3] + this.at.reduce((sum, index, axis) => sum + index * row[axis], 0)
    ));
    const inside = this.inside[this.at.reduce((sum, i, axis) => sum + i * this.steps[axis], 0)];
    const shown = factors.every((factor) => factor === 1)
      ? 'every voxel is shown' : `averages of ${factors.join(' × ')} voxels are shown`;
    return `x ${places[0].toFixed(1)}, y ${places[1].toFixed(1)}, z ${places[2].toFixed(1)} mm, `
      + `${inside ? 'inside' : 'outside'} the mask; ${shown}`;
  }
}

async function open(details) {
  const stage = details.querySelector('.stage');
  if (stage.childElementCount) return;
  try {
    const volume = JSON.parse(details.dataset.volume);
    stage.append(template.content.cloneNode(true));
    const [grey, inside, network] = await Promise.all([
      greyOf(volume),
      maskOf(volume.shape, volume.mask),
      volume.network_mask ? maskOf(volume.shape, volume.network_mask) : null,
    ]);
    const viewer = new Viewer(stage.firstElementChild, volume, grey, inside, network);
    viewer.use(viewer.plane);
    viewer.draw();
    viewer.plane.element.focus({ preventScroll: true });
  } catch (error) {
    stage.textContent = `The slice viewer does not run here (${error.message}). `
      + 'The pictures above show the same mask.';
  }
}

for (const details of document.querySelectorAll('details.viewer')) {
  details.addEventListener('toggle', () => {
    if (details.open) open(details);
    else details.querySelector('.stage').replaceChildren(); // its memory is free again
  });
  if (details.open) open(details);
}
