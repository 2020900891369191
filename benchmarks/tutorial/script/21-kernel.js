const MAPS = [0, 1, 2].map((k) => unpackPlane(DATA.maps.maps, k));
const CENTRES = unpack(DATA.maps.centres).values;
const seconds = (frame) => (frame * DATA.maps.hop_ms) / 1000;
const where = (row, column) => `${show(seconds(column))} s, ${show(CENTRES[row], 0)} Hz`;

{
  const hero = document.getElementById("hero"), map = find(hero, ".map"), head = find(map, "i");
  heat(map, MAPS[0]);
  find(hero, "button").addEventListener("click", () => {
    play(DATA.maps.sound);
    for (const each of head.getAnimations()) each.cancel();
    const keys = [0, map.clientWidth].map((x) => ({ opacity: 1, transform: `translateX(${x}px)` }));
    if (!calm.matches) head.animate(keys, MAPS[0].w * DATA.maps.hop_ms); // the compositor moves it: no frame waits for the script
  });
}

section("kernel", DATA.maps, ({ root, data, say, move }) => {
  const [input, output] = all(root, ".map"), x = MAPS[0];
  const presets = data.kernels.map((each) => ({ ...each, weight: unpackPlane(each.weight) }));
  const numbers = all(root, ".own input");
  let kernel, result, last = "", peaks = [];

  function strongest(out) { // the five largest outputs, a quarter of a second apart
    const order = [...out.v.keys()].sort((a, b) => out.v[b] - out.v[a]), found = [];
    for (const i of order) {
      const place = [Math.floor(i / out.w), i % out.w];
      if (found.every(([, column]) => Math.abs(column - place[1]) > 15)) found.push(place);
      if (found.length === 5) break;
    }
    return found;
  }

  function update({ preset, row, column }) {
    const chosen = presets[preset];
    kernel = chosen.own ? planeOf([0, 1, 2].map((y) => [0, 1, 2].map((c) => Number(numbers[(2 - y) * 3 + c].value) || 0))) : chosen.weight;
    find(root, ".own").hidden = !chosen.own;
    const key = preset + [...kernel.v].join();
    if (key !== last) {
      last = key;
      result = correlate(x, kernel, { padding: samePadding(kernel) });
      peaks = strongest(result);
      heat(input, x);
      heat(output, result, { signed: true, range: chosen.own ? largest([...result.v]) * 0.7 || 1 : chosen.range });
      find(root, ".what").textContent = chosen.what;
    }
    const [[above], [before]] = samePadding(kernel), top = row - above, left = column - before;
    over(input, box(input, "window", top, left, kernel.h, kernel.w));
    const ry = (3.5 * x.h * output.clientWidth) / (x.w * output.clientHeight);
    const circles = peaks.map(([r, c]) => svg("ellipse", { class: "peak", cx: c + 0.5, cy: x.h - r - 0.5, rx: 3.5, ry }));
    over(output, ...circles, box(output, "window", row - 0.5, column - 0.5, 2, 2));
    const rows = [...Array(kernel.h).keys()].reverse().filter((i) => kernel.h <= 5 || kernel.v[i * kernel.w] > 0);
    const cell = (i, j) => (top + i < 0 || top + i >= x.h || left + j < 0 || left + j >= x.w ? 0 : x.v[(top + i) * x.w + left + j]);
    const columns = [...Array(kernel.w).keys()], [seen, taps, products] = all(root, ".grid");
    grid(seen, rows.map((i) => columns.map((j) => cell(i, j))), () => "in");
    grid(taps, rows.map((i) => columns.map((j) => kernel.v[i * kernel.w + j])), tapKind);
    grid(products, rows.map((i) => columns.map((j) => cell(i, j) * kernel.v[i * kernel.w + j])), () => "out");
    const sum = result.v[row * x.w + column];
    find(root, ".sum").textContent = show(sum);
    find(root, ".rest").textContent = kernel.h > 5 ? `${kernel.h - rows.length} gaps between the teeth, ${show(Math.min(...kernel.v), 3)} each, are not shown but are in the sum.` : "";
    say(`At ${where(row, column)} the window's products sum to ${show(sum)}.`);
  }

  for (const map of [input, output]) {
    pointed(map, (row, column) => move({ row, column }), (row, column) => play(data.sound, { start: seconds(column) - 0.05, length: 0.45 }));
  }
  find(root, "[data-do=peaks]").addEventListener("click", () => {
    peaks.sort((a, b) => a[1] - b[1]).forEach(([, column], i) => play(data.sound, { start: seconds(column) - 0.03, length: 0.3, wait: i * 0.45 }));
  });
  find(root, "[data-do=scene]").addEventListener("click", () => play(data.sound));
  return update;
});
