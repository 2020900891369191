// What the reader changes is computed here, by the definitions; tests/tutorial compares each function with the library, number for number.

/** A plane: rows x columns of numbers in one array, row 0 first. */
const plane = (h, w, values) => ({ h, w, v: values ?? new Float64Array(h * w) });
const planeOf = (rows) => plane(rows.length, rows[0].length, Float64Array.from(rows.flat()));
const rowsOf = (p) => Array.from({ length: p.h }, (_, y) => Array.from(p.v.subarray(y * p.w, (y + 1) * p.w)));
const pair = (value) => (Array.isArray(value) ? value : [value, value]);
const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
const total = (values) => values.reduce((sum, value) => sum + value, 0);

/** Section 1: every overlap of f and g; g is reversed first for a convolution. */
function overlaps(f, g, flip) {
  const kernel = flip ? [...g].reverse() : g;
  return Array.from({ length: f.length + g.length - 1 }, (_, t) => {
    let sum = 0;
    for (let m = 0; m < g.length; m++) sum += (f[t - (g.length - 1) + m] ?? 0) * kernel[m];
    return sum;
  });
}

/** The length of an output along one axis. */
function outLength({ n, k, s = 1, p = 0, d = 1, transposed = false, op = 0 }) {
  return transposed ? (n - 1) * s - 2 * p + d * (k - 1) + 1 + op : Math.floor((n + 2 * p - d * (k - 1) - 1) / s) + 1;
}

/** One input plane under one kernel: cross-correlation. Padding is [[before, after], [before, after]] or one number for all. */
function correlate(x, kernel, { stride = 1, padding = 0, dilation = 1 } = {}) {
  const [sy, sx] = pair(stride), [dy, dx] = pair(dilation);
  const [[top, bottom], [left, right]] = Array.isArray(padding) ? padding : [[padding, padding], [padding, padding]];
  const out = plane(
    Math.floor((x.h + top + bottom - dy * (kernel.h - 1) - 1) / sy) + 1, Math.floor((x.w + left + right - dx * (kernel.w - 1) - 1) / sx) + 1,
  );
  for (let i = 0; i < kernel.h; i++) for (let j = 0; j < kernel.w; j++) {
    const weight = kernel.v[i * kernel.w + j];
    if (weight === 0) continue;
    for (let y = 0; y < out.h; y++) {
      const row = y * sy - top + i * dy;
      if (row < 0 || row >= x.h) continue;
      const from = x.v.subarray(row * x.w, (row + 1) * x.w);
      for (let at = 0, column = j * dx - left; at < out.w; at++, column += sx) {
        if (column >= 0 && column < x.w) out.v[y * out.w + at] += weight * from[column];
      }
    }
  }
  return out;
}

/** The padding that keeps the size at stride 1: the odd one goes after. */
function samePadding(kernel) {
  return [kernel.h, kernel.w].map((k) => [Math.floor((k - 1) / 2), k - 1 - Math.floor((k - 1) / 2)]);
}

/** A transposed convolution: each input paints the kernel, scaled, into the output. */
function paint(x, kernel, { s, p, d, op }) {
  const out = plane(...[x.h, x.w].map((n) => outLength({ n, k: kernel.h, s, p, d, op, transposed: true })));
  for (let y = 0; y < x.h; y++) for (let at = 0; at < x.w; at++) for (let i = 0; i < kernel.h; i++) for (let j = 0; j < kernel.w; j++) {
    const row = y * s - p + i * d, column = at * s - p + j * d;
    if (row >= 0 && row < out.h && column >= 0 && column < out.w) out.v[row * out.w + column] += x.v[y * x.w + at] * kernel.v[i * kernel.w + j];
  }
  return out;
}

/** Max or average over windows; no padding. */
function pool(x, [ky, kx], kind, [sy, sx] = [ky, kx]) {
  const out = plane(Math.floor((x.h - ky) / sy) + 1, Math.floor((x.w - kx) / sx) + 1);
  for (let y = 0; y < out.h; y++) for (let at = 0; at < out.w; at++) {
    let most = -Infinity, sum = 0;
    for (let i = 0; i < ky; i++) for (let j = 0; j < kx; j++) {
      const value = x.v[(y * sy + i) * x.w + at * sx + j];
      most = Math.max(most, value);
      sum += value;
    }
    out.v[y * out.w + at] = kind === "max" ? most : sum / (ky * kx);
  }
  return out;
}

/** Part of a plane. */
function crop(x, top, left, h, w) {
  const out = plane(h, w);
  for (let y = 0; y < h; y++) out.v.set(x.v.subarray((top + y) * x.w + left, (top + y) * x.w + left + w), y * w);
  return out;
}

const addPlanes = (planes, bias = 0) => plane(planes[0].h, planes[0].w, planes[0].v.map((_, i) => planes.reduce((sum, p) => sum + p.v[i], bias)));
const rectified = (x) => plane(x.h, x.w, x.v.map((value) => Math.max(value, 0)));

/** Section 7: size, step and first position seen, per axis, after each layer. */
function receptiveFields(stack) {
  let size = [1, 1], step = [1, 1], start = [0, 0];
  return stack.map(({ what, kernel, stride, dilation, before }) => {
    const wide = kernel.map((k, a) => (k - 1) * dilation[a]), transposed = what === "transposed";
    if (transposed) step = step.map((each, a) => each / stride[a]);
    size = size.map((each, a) => each + wide[a] * step[a]);
    start = start.map((each, a) => each - (transposed ? wide[a] - before[a] : before[a]) * step[a]);
    if (!transposed) step = step.map((each, a) => each * stride[a]);
    return { size, stride: step, start };
  });
}

/** How much each input counts along one axis, as shares: the gradient of one output where all weights are alike. */
function effectiveField(stack, axis) {
  let profile = [1];
  for (const { what, kernel, stride, dilation } of [...stack].reverse()) {
    const k = kernel[axis], s = stride[axis], d = dilation[axis], reach = (k - 1) * d;
    const transposed = what === "transposed";
    const length = transposed ? Math.floor((profile.length + reach - 1) / s) + 1 : (profile.length - 1) * s + reach + 1;
    const next = new Array(length).fill(0);
    for (let tap = 0; tap < k; tap++) {
      if (transposed) for (let at = 0; at < length; at++) next[at] += profile[at * s - reach + tap * d] ?? 0;
      else for (let at = 0; at < profile.length; at++) next[at * s + tap * d] += profile[at];
    }
    const whole = total(next);
    profile = next.map((value) => value / whole);
  }
  return profile;
}

/** Section 8: |layer(shifted) - shifted layer| / |layer| where they overlap, and the planes. */
function shifted(first, second, kernel, { bins, later, stride, padded, width }) {
  const layer = (x) => {
    const y = correlate(x, kernel, { stride: [1, stride], padding: padded ? 1 : 0 });
    return width > 1 ? pool(y, [1, width], "max") : y;
  };
  const before = layer(first), after = layer(second), move = Math.floor(later / (stride * width) + 0.5);
  const expected = plane(before.h, before.w), difference = plane(before.h, before.w);
  let apart = 0, whole = 0;
  for (let y = bins; y < before.h; y++) for (let at = move; at < before.w; at++) {
    const want = before.v[(y - bins) * before.w + at - move], got = after.v[y * before.w + at];
    expected.v[y * before.w + at] = want;
    difference.v[y * before.w + at] = got - want;
    apart += (got - want) ** 2;
    whole += want ** 2;
  }
  return { before, after, expected, difference, share: Math.sqrt(apart) / Math.sqrt(whole) };
}

/** Section 9: how loud a kernel's output is for a tone of amplitude 1. */
function answer(kernel, hertz, rate) {
  let re = 0, im = 0;
  for (let n = 0; n < kernel.length; n++) {
    re += kernel[n] * Math.cos((2 * Math.PI * hertz * n) / rate);
    im -= kernel[n] * Math.sin((2 * Math.PI * hertz * n) / rate);
  }
  return Math.hypot(re, im);
}
