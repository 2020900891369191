section("channels", DATA.maps, ({ root, data, say, move }) => {
  const { channels, kernels, bias } = data.example;
  const planes = channels.map(planeOf), taps = kernels.map(planeOf);
  const alone = planes.map((x, k) => correlate(x, taps[k])), summed = addPlanes(alone), out = addPlanes(alone, bias);
  const grids = named(root, "grid");
  const inside = (y, x, row, column) => y >= row && y < row + 3 && x >= column && x < column + 3;

  function update({ step, row, column, h, l, k, j }) {
    planes.forEach((x, i) => {
      grid(grids[`x${i}`], channels[i], (y, c) => (inside(y, c, row, column) ? "in on" : "in"));
      grid(grids[`w${i}`], kernels[i], tapKind);
      grid(grids[`p${i}`], rowsOf(alone[i]), (y, c) => (y === row && c === column ? "out on" : "out"));
    });
    const last = step > 2 ? out : summed;
    grid(grids.out, rowsOf(step > 1 ? last : plane(3, 3)).map((each) => (step > 1 ? each : ["", "", ""])), (y, c) => (y === row && c === column ? "out on" : "out"));
    root.dataset.step = step;
    const terms = alone.map((p) => p.v[row * 3 + column]), place = row * 3 + column;
    const products = [...taps[0].v].map((w, i) => `${show(channels[0][row + Math.floor(i / 3)][column + (i % 3)])}·${show(w)}`).join(" + ");
    say([
      `Step 1, row ${row + 1}, column ${column + 1}: kernel 1 gives ${products} = ${show(terms[0])}; kernels 2 and 3 give ${show(terms[1])} and ${show(terms[2])}.`,
      `Step 2: ${terms.map((t) => show(t)).join(" + ")} = ${show(summed.v[place])}. Three kernels, one output.`,
      `Step 3: ${show(summed.v[place])} + ${bias} = ${show(out.v[place])}. One bias for the whole filter.`,
    ][step - 1]);
    find(root, ".algebra").replaceChildren(...[
      ["input", `(N, H, W, ${k})`, `(N, ${k}, H, W)`], ["all kernels", `(${h}, ${l}, ${k}, ${j})`, `(${j}, ${k}, ${h}, ${l})`],
      ["biases", `(${j})`, `(${j})`], ["output", `(N, H − ${h - 1}, W − ${l - 1}, ${j})`, `(N, ${j}, H − ${h - 1}, W − ${l - 1})`],
    ].map((texts) => {
      const line = document.createElement("tr");
      texts.forEach((text, i) => line.append(Object.assign(document.createElement(i ? "td" : "th"), i ? {} : { scope: "row" }, { textContent: text })));
      return line;
    }));
    find(root, ".parameters").textContent = `${h} · ${l} · ${k} · ${j} + ${j} = ${show(h * l * k * j + j)} parameters`;
  }
  for (const name of ["out", "p0", "p1", "p2"]) gridPointed(grids[name], (row, column) => move({ row, column }));
  return update;
});

const FILTERS = (() => {
  const { shape, values } = unpack(DATA.maps.filters.weight), [, k, h, w] = shape;
  return DATA.maps.filters.what.map((what, j) => ({
    ...what, bias: DATA.maps.filters.bias[j],
    kernels: Array.from({ length: k }, (_, i) => plane(h, w, values.slice((j * k + i) * h * w, (j * k + i + 1) * h * w))),
  }));
})();
/** The planes that a filter's kernels give, one a channel. */
const filtered = ({ kernels }) => kernels.map((kernel, k) => correlate(MAPS[k], kernel, { padding: samePadding(kernel) }));

section("filters", DATA.maps, ({ root, say }) => {
  const maps = named(root, "map");
  const results = FILTERS.map((each) => {
    const alone = filtered(each);
    return { alone, out: rectified(addPlanes(alone, each.bias)) };
  });
  MAPS.forEach((x, k) => heat(maps[`x${k}`], x, { signed: k === 1, range: k === 1 ? 0.5 : 1 }));
  return ({ filter }) => {
    const { alone, out } = results[filter], most = Math.max(...alone.map((p) => largest([...p.v])));
    alone.forEach((p, k) => {
      heat(maps[`p${k}`], p, { signed: true, range: 0.6 * most });
      grid(find(root, `[data-grid=w${k}]`), rowsOf(FILTERS[filter].kernels[k]).reverse(), tapKind);
    });
    heat(maps.out, out, { range: 0.6 * largest([...out.v]) });
    const lit = out.v.filter((value) => value > 0).length;
    say(`Filter “${FILTERS[filter].name}” looks for ${FILTERS[filter].what}. Its bias is ${show(FILTERS[filter].bias)}; ${show((100 * lit) / out.v.length, 1)} % of its output is above zero.`);
  };
});
