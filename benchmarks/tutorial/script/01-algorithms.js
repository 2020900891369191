// Section 10: five ways to compute one small layer. Each is a generator of steps: inputs, taps and outputs touched, what it says, and
// how many products and loads were done; it returns the output, the same for all.

const square = (n, value = 0) => Array.from({ length: n }, () => new Array(n).fill(value));
const cells = (top, left, h, w) => Array.from({ length: h * w }, (_, i) => [top + Math.floor(i / w), left + (i % w)]);
const times = (a, b) => a.map((row) => b[0].map((_, j) => row.reduce((sum, value, i) => sum + value * b[i][j], 0)));
const turned = (a) => a[0].map((_, j) => a.map((row) => row[j]));

const ALGORITHMS = {
  *naive(x, w) {
    const size = x.length - w.length + 1, out = square(size), count = { products: 0, loads: 0 };
    for (let y = 0; y < size; y++) for (let at = 0; at < size; at++) {
      for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) {
        out[y][at] += x[y + i][at + j] * w[i][j];
        count.products++;
        count.loads += 2;
      }
      yield { inputs: cells(y, at, 3, 3), taps: cells(0, 0, 3, 3), outputs: [[y, at]], say: `Nine products for one output; nothing is kept for the next.`, ...count };
    }
    return out;
  },

  *im2col(x, w) {
    const size = x.length - w.length + 1, out = square(size), count = { products: 0, loads: 0 }, matrix = [];
    for (let y = 0; y < size; y++) for (let at = 0; at < size; at++) {
      matrix.push(cells(y, at, 3, 3).map(([r, c]) => x[r][c]));
      count.loads += 9;
      yield { inputs: cells(y, at, 3, 3), taps: [], outputs: [], table: matrix.map((row) => [...row]), say: "The window becomes a row of a matrix: each input is copied up to nine times.", ...count };
    }
    for (let y = 0; y < size; y++) {
      for (let at = 0; at < size; at++) {
        out[y][at] = matrix[y * size + at].reduce((sum, value, i) => sum + value * w.flat()[i], 0);
        count.products += 9;
      }
      count.loads += 9 + 9 * size; // the kernel once for four rows
      yield { inputs: [], taps: cells(0, 0, 3, 3), outputs: cells(y, 0, 1, size), table: matrix, say: "One matrix product does the rest: a routine that every machine has tuned.", ...count };
    }
    return out;
  },

  *winograd(x, w) {
    const BT = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]];
    const G = [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], AT = [[1, 1, 1, 0], [0, 1, -1, -1]];
    const size = x.length - w.length + 1, out = square(size), count = { products: 0, loads: 9 };
    const kernel = times(times(G, w), turned(G));
    yield { inputs: [], taps: cells(0, 0, 3, 3), outputs: [], table: kernel, say: "Once for all: the kernel's nine taps become sixteen numbers.", ...count };
    for (let y = 0; y < size; y += 2) for (let at = 0; at < size; at += 2) {
      const tile = times(times(BT, x.slice(y, y + 4).map((row) => row.slice(at, at + 4))), turned(BT));
      const product = tile.map((row, i) => row.map((value, j) => value * kernel[i][j]));
      times(times(AT, product), turned(AT)).forEach((row, i) => row.forEach((value, j) => (out[y + i][at + j] = value)));
      count.products += 16;
      count.loads += 32;
      yield { inputs: cells(y, at, 4, 4), taps: [], outputs: cells(y, at, 2, 2), table: product, say: "Sixteen products for four outputs that cost 36 elsewhere; sums pay for it.", ...count };
    }
    return out;
  },

  *fft(x, w) {
    const points = 8, size = x.length - w.length + 1, count = { products: 0, loads: 0 };
    const transform = (re, im, sign) => { // radix 2; turns by 1 and i cost no product, others four
      const n = re.length;
      if (n === 1) return [re, im];
      const [er, ei] = transform(re.filter((_, i) => i % 2 === 0), im.filter((_, i) => i % 2 === 0), sign);
      const [or, oi] = transform(re.filter((_, i) => i % 2), im.filter((_, i) => i % 2), sign);
      const out = [new Array(n), new Array(n)];
      for (let k = 0; k < n / 2; k++) {
        const angle = (sign * 2 * Math.PI * k) / n, c = Math.cos(angle), s = Math.sin(angle);
        if (k % (n / 4)) count.products += 4;
        const tr = or[k] * c - oi[k] * s, ti = or[k] * s + oi[k] * c;
        out[0][k] = er[k] + tr, out[1][k] = ei[k] + ti, out[0][k + n / 2] = er[k] - tr, out[1][k + n / 2] = ei[k] - ti;
      }
      return out;
    };
    const both = (re, im, sign) => { // rows, then columns
      for (let pass = 0; pass < 2; pass++) {
        const lines = re.map((row, i) => transform(row, im[i], sign));
        [re, im] = [turned(lines.map((line) => line[0])), turned(lines.map((line) => line[1]))];
      }
      return [re, im];
    };
    const padded = (a) => square(points).map((row, i) => row.map((_, j) => a[i]?.[j] ?? 0));
    const [kr, ki] = both(padded(w), square(points), -1);
    count.loads += 9, count.products = 0;
    yield { inputs: [], taps: cells(0, 0, 3, 3), outputs: [], table: kr, say: "Once for all: the kernel's spectrum (its real part is shown).", ...count };
    const [xr, xi] = both(padded(x), square(points), -1);
    count.loads += 36;
    yield { inputs: cells(0, 0, 6, 6), taps: [], outputs: [], table: xr, say: "The input's spectrum. In it, sliding becomes one product a frequency.", ...count };
    const pr = square(points), pi = square(points);
    for (let i = 0; i < points; i++) for (let j = 0; j < points; j++) {
      pr[i][j] = xr[i][j] * kr[i][j] + xi[i][j] * ki[i][j]; // the conjugate: cross-correlation
      pi[i][j] = xi[i][j] * kr[i][j] - xr[i][j] * ki[i][j];
    }
    count.products += 4 * points * points, count.loads += 4 * points * points;
    yield { inputs: [], taps: [], outputs: [], table: pr, say: "64 complex products, whatever the kernel's size.", ...count };
    const [out] = both(pr, pi, 1);
    yield { inputs: [], taps: [], outputs: cells(0, 0, size, size), table: null, say: "Back again: all outputs at once. Here this loses; with long kernels it wins.", ...count };
    return out.slice(0, size).map((row) => row.slice(0, size).map((value) => value / (points * points)));
  },

  *direct(x, w) {
    const size = x.length - w.length + 1, out = square(size), count = { products: 0, loads: 0 };
    for (let y = 0; y < size; y += 2) for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) {
      for (let r = 0; r < 2; r++) for (let at = 0; at < size; at++) out[y + r][at] += x[y + r + i][at + j] * w[i][j];
      count.products += 2 * size;
      count.loads += 1 + 2; // a tap, and two vectors of four inputs
      yield { inputs: cells(y + i, j, 2, size), taps: [[i, j]], outputs: cells(y, 0, 2, size), say: "Eight sums stay in registers while tap after tap serves them all.", ...count };
    }
    return out;
  },
};

/** All steps of an algorithm, and its output. */
function runAlgorithm(name, x, w) {
  const steps = [], run = ALGORITHMS[name](x, w);
  for (;;) {
    const { value, done } = run.next();
    if (done) return { steps, out: value };
    steps.push(value);
  }
}
