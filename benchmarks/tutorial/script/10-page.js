// What all sections share: the embedded data, controls, maps, grids, curves and sound.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SECTIONS = {};
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const find = (root, selector) => root.querySelector(selector);
const all = (root, selector) => [...root.querySelectorAll(selector)];
const named = (root, name) => Object.fromEntries(all(root, `[data-${name}]`).map((each) => [each.dataset[name], each]));
const limit = (value, low, high) => Math.min(high, Math.max(low, value));
const show = (value, digits = 2) => (Math.abs(value) < 5e-13 ? 0 : value).toLocaleString("en", { maximumFractionDigits: digits }).replace("-", "−");
const unit = (ms) => { // a time with the unit that fits
  if (ms >= 1000) return `${show(ms / 1000, ms < 1e5 ? 2 : 0)}\u00a0s`;
  return ms >= 1 ? `${show(ms, ms < 10 ? 1 : 0)}\u00a0ms` : `${show(1000 * ms, ms < 0.01 ? 1 : 0)}\u00a0µs`;
};
const many = (value) => (value >= 1e9 ? `${show(value / 1e9)} G` : value >= 1e6 ? `${show(value / 1e6, 1)} M` : value >= 1e4 ? `${show(value / 1e3, 0)} k` : show(value, 0));

/** Numbers that Python packed: little-endian float32 in base64. */
function unpack({ shape, f32 }) {
  const bytes = Uint8Array.from(atob(f32), (c) => c.charCodeAt(0));
  return { shape, values: Float64Array.from(new Float32Array(bytes.buffer)) };
}
/** One plane of packed numbers; `index` chooses along the first of three axes. */
function unpackPlane(packed, index = 0) {
  const { shape, values } = unpack(packed), [h, w] = shape.slice(-2);
  return plane(h, w, values.slice(index * h * w, (index + 1) * h * w));
}

/** Starts a section: `setup` gets its root and data and returns what draws it anew from its controls' values. */
function section(id, data, setup) {
  const root = document.getElementById(id);
  const inputs = () => all(root, "[data-name]");
  const read = (input) => (input.type === "checkbox" ? input.checked : input.type === "range" || input.type === "number" ? Number(input.value) : input.value);
  const values = () => Object.fromEntries(inputs().filter((each) => each.type !== "radio" || each.checked).map((each) => [each.dataset.name, read(each)]));
  const said = find(root, ".say"), units = {};
  let later = 0;
  const page = {
    root, data, values, units,
    say: (text) => {
      find(root, ".told").textContent = text.replace(/ (?=%|m?s\b|k?Hz)/g, "\u00a0");
      clearTimeout(later);
      later = setTimeout(() => (said.textContent = text), 400); // to screen readers only once a slider rests
    },
    set: (name, value) => {
      for (const input of inputs().filter((each) => each.dataset.name === name)) {
        if (input.type === "radio") input.checked = input.value === String(value);
        else if (input.type === "checkbox") input.checked = value;
        else input.value = value;
      }
    },
    move: (changes) => {
      for (const [name, value] of Object.entries(changes)) page.set(name, value);
      page.draw();
    },
    bounds: (name, low, high) => Object.assign(find(root, `[data-name=${name}]`), { min: low, max: high }),
  };
  const paintControls = () => {
    for (const input of inputs().filter((each) => each.type === "range")) {
      const text = (units[input.dataset.name] ?? show)(Number(input.value));
      input.nextElementSibling.textContent = text;
      input.setAttribute("aria-valuetext", text);
      input.style.setProperty("--at", `${(100 * (input.value - input.min)) / (input.max - input.min || 1)}%`);
    }
  };
  const update = setup(page);
  page.draw = () => {
    update(values());
    paintControls();
  };
  for (const name of ["input", "change"]) root.addEventListener(name, page.draw);
  page.draw();
  SECTIONS[id] = page;
  return page;
}

/** Calls step(n) `rate` times a second until it is false; a second click stops. With reduced motion the end comes at once. */
function player(button, rate, step) {
  let running = false;
  const name = button.textContent;
  const stop = () => {
    running = false;
    button.textContent = name;
  };
  button.addEventListener("click", () => {
    if (running) return stop();
    if (calm.matches) {
      for (let n = 0; step(n) && n < 5000; n++);
      return undefined;
    }
    running = true;
    button.textContent = "Stop";
    let begun = null, done = -1;
    const frame = (now) => {
      begun ??= now;
      const n = Math.floor(((now - begun) * rate) / 1000);
      if (running && n > done) {
        done = n;
        if (!step(n)) stop();
      }
      if (running) requestAnimationFrame(frame);
    };
    return requestAnimationFrame(frame);
  });
}

// sound

let speaker = null;
const playing = [];
/** Plays a packed sound from `start` for `length` seconds, `wait` seconds from now. */
function play(sound, { start = 0, length = Infinity, wait = 0 } = {}) {
  speaker ??= new AudioContext();
  speaker.resume();
  if (!sound.buffer) {
    const bytes = Uint8Array.from(atob(sound.i16), (c) => c.charCodeAt(0));
    const samples = Float32Array.from(new Int16Array(bytes.buffer), (value) => value / 32768);
    sound.buffer = speaker.createBuffer(1, samples.length, sound.rate);
    sound.buffer.copyToChannel(samples, 0);
  }
  if (wait === 0) while (playing.length) playing.pop().stop();
  const source = speaker.createBufferSource(), gain = speaker.createGain();
  const begin = speaker.currentTime + wait, end = begin + Math.min(length, sound.buffer.duration - start);
  gain.gain.setValueAtTime(0, begin);
  gain.gain.linearRampToValueAtTime(0.8, begin + 0.01);
  gain.gain.setValueAtTime(0.8, Math.max(begin + 0.01, end - 0.02));
  gain.gain.linearRampToValueAtTime(0, end);
  source.buffer = sound.buffer;
  source.connect(gain).connect(speaker.destination);
  source.start(begin, Math.max(0, start), end - begin);
  playing.push(source);
  document.body.dataset.played = Number(document.body.dataset.played ?? 0) + 1;
}

// maps: one pixel a number, low rows at the bottom

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim().match(/\w\w/g).map((hex) => parseInt(hex, 16));
let ramps = {};
function ramp(names) {
  const key = names.join();
  return (ramps[key] ??= (() => {
    const stops = names.map(colour), table = new Uint8ClampedArray(256 * 4);
    for (let i = 0; i < 256; i++) {
      const at = (i / 255) * (stops.length - 1), k = Math.min(stops.length - 2, Math.floor(at));
      for (let c = 0; c < 3; c++) table[4 * i + c] = stops[k][c] + (at - k) * (stops[k + 1][c] - stops[k][c]);
      table[4 * i + 3] = 255;
    }
    return table;
  })());
}
const LOUD = ["--map-0", "--map-1", "--map-2"], SIGNED = ["--minus", "--zero", "--plus"];
const drawn = new Map();
/** Draws a plane into the canvas of a .map: 0 … range in the loudness colours, or -range … range if signed. */
function heat(map, p, { signed = false, range = 1 } = {}) {
  drawn.set(map, () => heat(map, p, { signed, range }));
  const canvas = find(map, "canvas"), table = ramp(signed ? SIGNED : LOUD);
  if (canvas.width !== p.w || canvas.height !== p.h) Object.assign(canvas, { width: p.w, height: p.h });
  const context = canvas.getContext("2d"), image = context.createImageData(p.w, p.h);
  for (let y = 0; y < p.h; y++) for (let x = 0; x < p.w; x++) {
    const value = p.v[y * p.w + x] / (range || 1);
    const index = 4 * Math.round(255 * limit(signed ? (value + 1) / 2 : value, 0, 1));
    image.data.set(table.subarray(index, index + 4), 4 * ((p.h - 1 - y) * p.w + x));
  }
  context.putImageData(image, 0, 0);
  find(map, "svg")?.setAttribute("viewBox", `0 0 ${p.w} ${p.h}`);
  map.size = p;
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  ramps = {};
  for (const again of drawn.values()) again();
});

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Enter: [0, 0] };
/** Lets a map be pointed at, by mouse, finger or arrow keys: moved(row, column), picked(row, column) on click or Enter. */
function pointed(map, moved, picked = () => {}) {
  let at = [0, 0];
  const go = (row, column, event) => {
    at = [limit(row, 0, map.size.h - 1), limit(column, 0, map.size.w - 1)];
    event.type === "click" || event.key === "Enter" ? picked(...at) : moved(...at);
  };
  const of = (event) => {
    const box = map.getBoundingClientRect();
    go(Math.floor((1 - (event.clientY - box.top) / box.height) * map.size.h), Math.floor(((event.clientX - box.left) / box.width) * map.size.w), event);
  };
  for (const name of ["pointermove", "pointerdown", "click"]) map.addEventListener(name, of);
  map.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key], by = event.shiftKey ? 8 : 1;
    if (!step) return;
    event.preventDefault();
    go(at[0] - step[0] * by, at[1] + step[1] * by, event);
  });
}

/** An SVG element; attributes by name. */
function svg(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
/** A rectangle over a map, rows counted from below. */
const box = (map, kind, top, left, h, w) => svg("rect", { class: kind, x: left, y: map.size.h - top - h, width: w, height: h });
const over = (map, ...shapes) => find(map, "svg").replaceChildren(...shapes);

/** A path of steps: each value is a bar one wide, from `left` on; y points down, so values are negated. */
function bars(values, left, scale = 1) {
  let path = `M${left} 0`;
  values.forEach((value, i) => (path += `V${(-value * scale).toFixed(4)}H${left + i + 1}`));
  return `${path}V0Z`;
}
/** A polyline's path through (i * dx, -value * scale). */
const curve = (values, dx = 1, scale = 1) => Array.from(values, (value, i) => `${i ? "L" : "M"}${(i * dx).toFixed(3)} ${(-value * scale).toFixed(4)}`).join("");

// grids: tables of numbers that can be pointed at

const tapKind = (y, x, value) => (value < 0 ? "tap less" : "tap");
/** Fills a .grid with rows of numbers (or texts); kind(y, x, value) gives a cell's classes. */
function grid(element, rows, kind = () => "", digits = 2) {
  const same = element.rows.length === rows.length && element.rows[0]?.cells.length === rows[0].length;
  if (!same) {
    element.replaceChildren(...rows.map((row) => {
      const line = document.createElement("tr");
      line.append(...row.map(() => document.createElement("td")));
      return line;
    }));
  }
  rows.forEach((row, y) => row.forEach((value, x) => {
    const cell = element.rows[y].cells[x], text = typeof value === "number" ? show(value, digits) : value;
    if (cell.textContent !== text) cell.textContent = text;
    const wanted = kind(y, x, value);
    if (cell.className !== wanted) cell.className = wanted;
  }));
}
/** Fills a .rows with bars: a name, what stands at the end, and how many percent of the bar are full; without those the text is a reason. */
function barRows(element, entries) {
  element.replaceChildren(...entries.map(([name, end, percent]) => {
    const row = document.createElement("div");
    row.innerHTML = `<span></span><i style="--v:${percent}%"></i><b></b>`;
    [row.firstChild.textContent, row.lastChild.textContent] = [name, end];
    row.classList.toggle("refused", percent === undefined);
    return row;
  }));
}
/** Calls moved(y, x) for the cell that is pointed at, touched, or reached by arrow keys. */
function gridPointed(element, moved) {
  let at = [0, 0];
  const go = (y, x) => {
    at = [limit(y, 0, element.rows.length - 1), limit(x, 0, element.rows[0].cells.length - 1)];
    moved(...at);
  };
  for (const name of ["pointerover", "pointerdown", "click"]) {
    element.addEventListener(name, (event) => {
      const cell = event.target.closest("td");
      if (cell) go(cell.parentElement.rowIndex, cell.cellIndex);
    });
  }
  element.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    go(at[0] + step[0], at[1] + step[1]);
  });
}
