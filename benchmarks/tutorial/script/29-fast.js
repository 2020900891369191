section("fast", DATA.fast, (page) => {
  const { root, data, say, move, bounds, units } = page;
  const runs = Object.fromEntries(Object.keys(ALGORITHMS).map((name) => [name, runAlgorithm(name, data.toy, data.kernel)]));
  page.runs = runs;
  const grids = named(root, "grid");
  const on = (list) => new Set(list.map(([y, x]) => `${y},${x}`));
  units.step = (n) => `${n + 1} of ${now.length}`;
  let now = [];
  player(find(root, "[data-do=play]"), 5, (n) => {
    move({ step: Math.min(n, now.length - 1) });
    return n < now.length - 1;
  });
  return ({ method, step }) => {
    const { steps, out } = runs[method];
    now = steps;
    bounds("step", 0, steps.length - 1);
    step = Math.min(step, steps.length - 1);
    const at = steps[step], inputs = on(at.inputs), taps = on(at.taps), fresh = on(at.outputs), done = on(steps.slice(0, step + 1).flatMap((each) => each.outputs));
    grid(grids.x, data.toy, (y, x) => (inputs.has(`${y},${x}`) ? "in on" : "in"));
    grid(grids.w, data.kernel, (y, x) => (taps.has(`${y},${x}`) ? "tap on" : "tap"));
    grid(grids.y, out.map((row, y) => row.map((v, x) => (done.has(`${y},${x}`) ? v : ""))), (y, x) => (fresh.has(`${y},${x}`) ? "out on" : "out"));
    find(root, ".between").hidden = !at.table;
    if (at.table) grid(grids.t, at.table, () => "mid", 1);
    find(root, "[data-count=products]").textContent = at.products;
    find(root, "[data-count=loads]").textContent = at.loads;
    say(`${method}, step ${step + 1}: ${at.say} So far ${at.products} multiplications and ${at.loads} loads.`);
  };
});

section("measured", DATA.fast, ({ root, data, say }) => {
  const squares = all(root, "[data-cell]");
  const tell = (cell) => {
    const sorted = Object.entries(cell.ms).sort((a, b) => a[1] - b[1]);
    return `${cell.size}×${cell.size}, ${cell.channels} channel${cell.channels > 1 ? "s" : ""}: ${sorted.map(([name, ms]) => `${name} ${unit(ms)}`).join(", ")}`;
  };
  squares.forEach((each) => {
    const said = () => (find(root, ".cell-said").textContent = `${tell(data.map[each.dataset.cell])}.`);
    for (const name of ["pointerover", "focus", "click"]) each.addEventListener(name, said);
  });
  return ({ layer }) => {
    const { times: rows, what, auto, flops } = data.layers[layer], ran = rows.filter((each) => each.ms);
    const low = Math.log10(Math.min(...ran.map((t) => t.ms))), high = Math.log10(Math.max(...ran.map((t) => t.ms)));
    barRows(find(root, ".times"), rows.map(({ method, ms, scaled, why }) => {
      const name = method + (method === auto ? " ✓" : "");
      return ms ? [name, unit(ms) + (scaled ? " *" : ""), 4 + (96 * (Math.log10(ms) - low)) / (high - low || 1)] : [name, why];
    }));
    find(root, ".what").textContent = what;
    const best = ran.reduce((a, b) => (a.ms < b.ms ? a : b)), plain = ran.find((each) => each.method === "jit");
    say(`${many(flops / 2)} multiply-adds. ${best.method} took ${unit(best.ms)}, the definition's loops, compiled, ${show(plain.ms / best.ms, 0)} times as long. ✓ is what the library chooses untimed.`);
  };
});
