section("kinds", DATA.kinds, ({ root, data, say, units }) => {
  units.c = (i) => data.channels[i];
  units.k = (i) => `${data.kernels[i]}×${data.kernels[i]}`;
  const cards = named(root, "kind"), list = find(root, ".cards");
  return ({ c, k, order }) => {
    const rows = data.rows.filter((row) => row.c === data.channels[c] && row.k === data.kernels[k]);
    const one = (key) => rows.find((row) => row.key === key), most = (name) => Math.max(...rows.map((row) => row[name] ?? 0)) || 1;
    for (const row of rows) {
      const card = cards[row.key];
      for (const name of ["macs", "parameters", "ms"]) {
        const bar = find(card, `[data-bar=${name}]`);
        bar.style.setProperty("--v", `${(100 * (row[name] ?? 0)) / most(name)}%`);
        bar.nextElementSibling.textContent = name === "ms" ? (row.ms === null ? "–" : unit(row.ms)) : many(row[name]);
      }
    }
    const sorted = order === "kind" ? data.kinds : [...data.kinds].sort((a, b) => one(a.key)[order] - one(b.key)[order]);
    list.append(...sorted.map((kind) => cards[kind.key]));
    const plain = one("plain"), cheap = one("depthwise");
    say(`${units.c(c)} channels, ${units.k(k)}: a standard layer needs ${show(plain.macs / cheap.macs, 1)} times the multiply-adds of a depthwise separable one.${plain.ms ? ` They took ${unit(plain.ms)} and ${unit(cheap.ms)}.` : ""}`);
  };
});
