section("kinds", DATA.kinds, ({ root, data, say, units }) => {
  units.c = (i) => data.channels[i];
  units.k = (i) => `${data.kernels[i]}×${data.kernels[i]}`;
  const cards = Object.fromEntries(all(root, "[data-kind]").map((each) => [each.dataset.kind, each])), list = find(root, ".cards");
  return ({ c, k, order }) => {
    const rows = data.rows.filter((row) => row.c === data.channels[c] && row.k === data.kernels[k]);
    const most = { macs: Math.max(...rows.map((r) => r.macs)), parameters: Math.max(...rows.map((r) => r.parameters)), ms: Math.max(...rows.map((r) => r.ms ?? 0)) };
    for (const row of rows) {
      const card = cards[row.key];
      for (const name of ["macs", "parameters", "ms"]) {
        const bar = find(card, `[data-bar=${name}]`);
        bar.style.setProperty("--v", `${(100 * (row[name] ?? 0)) / (most[name] || 1)}%`);
        bar.nextElementSibling.textContent = name === "ms" ? (row.ms === null ? "–" : row.ms < 1 ? `${show(1000 * row.ms, 0)} µs` : unit(row.ms)) : many(row[name]);
      }
    }
    const sorted = order === "kind" ? data.kinds : [...data.kinds].sort((a, b) => rows.find((r) => r.key === a.key)[order] - rows.find((r) => r.key === b.key)[order]);
    list.append(...sorted.map((kind) => cards[kind.key]));
    const one = (key) => rows.find((row) => row.key === key);
    const ratio = (name) => show(one("plain")[name] / one("depthwise")[name], 1);
    say(`${units.c(c)} channels, ${units.k(k)}: depthwise separable costs ${ratio("macs")} times fewer multiply-adds than standard${one("plain").ms ? ` and was ${ratio("ms")} times as fast` : ""}.`);
  };
});
