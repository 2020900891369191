section("arithmetic", null, (page) => {
  const { root, say, move, units, bounds } = page;
  const [inGrid, outGrid] = all(root, ".grid"), GROUPS = [1, 2, 4];
  let now = null, seen = null;
  units.groups = (i) => (GROUPS[i] === 4 ? "4: depthwise" : `${GROUPS[i]}`);
  const value = (y, x) => ((3 * y + 5 * x + y * x) % 7) - 2;
  const tap = (i, j) => ((2 * i + j) % 3) - 1 || 1;

  /** Which inputs (with coordinates in the padded grid's terms) an output sees. */
  const sources = ({ n, k, s, p, d, transposed }, y, x) => {
    const found = [];
    for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) {
      const at = [[y, i], [x, j]].map(([o, tap_]) => (transposed ? (o + p - tap_ * d) / s : o * s - p + tap_ * d));
      if (at.every((c) => Number.isInteger(c) && (transposed ? c >= 0 && c < n : c >= -p && c < n + p))) found.push(at);
    }
    return found;
  };

  function update({ n, k, s, p, d, op, groups, way, at }) {
    const transposed = way === "transposed";
    const rim = transposed ? 0 : p, reach = d * (k - 1) + 1;
    bounds("op", 0, transposed ? Math.max(0, Math.max(s, d) - 1) : 0);
    op = transposed ? Math.min(op, Math.max(s, d) - 1) : 0;
    find(root, "[data-name=op]").disabled = !transposed;
    const size = outLength({ n, k, s, p, d, op, transposed });
    const g = GROUPS[groups];
    now = { n, k, s, p, d, op, transposed, size };
    find(root, ".formula-now").textContent = transposed
      ? `out = (${n} − 1)·${s} − 2·${p} + ${d}·(${k} − 1) + 1 + ${op} = ${size}`
      : `out = ⌊(${n} + 2·${p} − ${d}·(${k} − 1) − 1) / ${s}⌋ + 1 = ${Math.max(size, 0)}`;
    root.classList.toggle("none", size < 1);
    const x = plane(n, n, Float64Array.from({ length: n * n }, (_, i) => value(Math.floor(i / n), i % n)));
    const w = plane(k, k, Float64Array.from({ length: k * k }, (_, i) => tap(Math.floor(i / k), i % k)));
    if (size < 1) {
      say(`No output: the dilated kernel is ${reach} long, input and padding together ${n + 2 * p}. Pad more, or dilate less.`);
      outGrid.replaceChildren();
    }
    bounds("at", 0, Math.max(0, size * size - 1));
    at = Math.min(at, Math.max(0, size * size - 1));
    const from = seen, output = [Math.floor(at / Math.max(size, 1)), at % Math.max(size, 1)];
    const lit = from ? [] : sources(now, ...output), key = (y, c) => `${y},${c}`, on = new Set((from ? [from] : lit).map((each) => key(...each)));
    const side = n + 2 * rim;
    const padded = Array.from({ length: side }, (_, y) => Array.from({ length: side }, (__, c) => (c < rim || c >= n + rim ? 0 : x.v[(y - rim) * n + c - rim] ?? 0)));
    inGrid.style.setProperty("--cells", side);
    grid(inGrid, padded, (y, c) => {
      const outside = y < rim || c < rim || y >= n + rim || c >= n + rim;
      return (outside ? "pad" : "in") + (on.has(key(y - rim, c - rim)) ? " on" : "");
    });
    if (size < 1) return;
    const out = transposed ? paint(x, w, now) : correlate(x, w, { stride: s, padding: p, dilation: d });
    page.result = { x, w, out };
    outGrid.style.setProperty("--cells", size);
    const hit = (y, c) => (from ? sources(now, y, c).some((each) => key(...each) === key(...from)) : y === output[0] && c === output[1]);
    grid(outGrid, rowsOf(out), (y, c) => (hit(y, c) ? "out on" : "out"));
    const rimmed = lit.filter((each) => each.some((c) => c < 0 || c >= n)).length;
    const seers = from ? outGrid.querySelectorAll(".on").length : 0;
    if (from) say(`Input row ${from[0] + 1}, column ${from[1] + 1} is seen by ${seers} of ${size * size} outputs.`);
    else {
      const count = `${lit.length} position${lit.length === 1 ? "" : "s"}${rimmed ? `, ${rimmed} of them padding` : ""}`;
      say(`Output row ${output[0] + 1}, column ${output[1] + 1} sees ${count}; ${n}×${n} becomes ${size}×${size}.`);
    }
    const options = [["stride", s, 1], ["padding", p, 0], ...(transposed ? [["output_padding", op, 0]] : []), ["groups", g, 1], ["dilation", d, 1]];
    const call = `conv${transposed ? "_transpose" : ""}2d(x, weight, ${options.filter((each) => each[1] !== each[2]).map(([name, v]) => `${name}=${v}`).join(", ")})`.replace(", )", ")");
    find(root, ".call").textContent = `# x: (1, 4, ${n}, ${n}), weight: (4, ${4 / g}, ${k}, ${k}) -> (1, 4, ${size}, ${size})\ny = kernels.${call}\ny = torch.nn.functional.${call}`;
    const per = 4 / g;
    for (const line of all(root, ".wires line")) line.style.display = Number(line.dataset.groups) < g ? "none" : "";
    find(root, ".wired").textContent = `${4 * per} of 16 kernels: ${4 * per * k * k} weights`;
  }
  gridPointed(outGrid, (y, x) => {
    seen = null;
    move({ at: y * now.size + x });
  });
  gridPointed(inGrid, (y, x) => {
    const rim = now.transposed ? 0 : now.p;
    seen = [y - rim, x - rim];
    move({});
  });
  root.addEventListener("input", () => (seen = null), true);
  player(find(root, "[data-do=play]"), 6, (n) => {
    seen = null;
    move({ at: Math.min(n, now.size ** 2 - 1) });
    return n < now.size ** 2 - 1;
  });
  return update;
});
