section("flip", DATA.flip, ({ root, data, say, move, bounds }) => {
  const presets = data.presets.map((each) => ({ ...each, f: [...unpack(each.f).values], g: [...unpack(each.g).values] }));
  const top = find(root, ".slide svg"), bottom = find(root, ".result svg");
  const parts = named(root, "part");
  let now = null, shown = "";

  function update({ preset, flip, t }) {
    const { f, g, what } = presets[preset], kernel = flip === "convolution" ? [...g].reverse() : g;
    const y = overlaps(f, g, flip === "convolution");
    if (shown !== preset) {
      bounds("t", 0, y.length - 1);
      shown = preset;
      t = Math.min(t, y.length - 1);
    }
    const start = t - (g.length - 1), left = 1 - g.length, width = f.length + 2 * g.length - 2;
    const product = f.map((value, i) => value * (kernel[i - start] ?? 0));
    const high = Math.max(largest(f), largest(g)), most = largest(y);
    now = { left, width, last: y.length - 1, reach: g.length };
    const low = [...f, ...g].some((v) => v < -0.01) ? 1.1 : 0.12, deep = y.some((v) => v < -0.01) ? 1.1 : 0.12;
    top.setAttribute("viewBox", `${left} -1.15 ${width} ${1.15 + low}`);
    bottom.setAttribute("viewBox", `${left} -1.15 ${width} ${1.15 + deep}`);
    parts.f.setAttribute("d", bars(f, 0, 1 / high));
    parts.g.setAttribute("d", bars(kernel, 0, 1 / high));
    for (const [name, x] of [["g", start], ["at", t + 0.5], ["from", t + 0.5]]) parts[name].style.transform = `translateX(${x}px)`; // glides there
    parts.product.setAttribute("d", bars(product, 0, 1 / high));
    parts.all.setAttribute("d", bars(y, 0, 1 / most));
    parts.done.setAttribute("d", bars(y.slice(0, t + 1), 0, 1 / most));
    find(root, ".sum").textContent = `area at t = ${t}: ${show(total(product), 3)}`;
    find(root, ".what").textContent = what;
    const reversed = flip === "convolution" ? "g is reversed, then slid" : "g is slid as it is";
    say(`${reversed}. At t = ${t} the product's area is ${show(y[t], 3)}; the largest of all ${y.length} is ${show(most, 3)}.`);
  }

  for (const drawing of [top, bottom]) {
    const drag = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const area = drawing.getBoundingClientRect();
      move({ t: limit(Math.floor(now.left + ((event.clientX - area.left) / area.width) * now.width), 0, now.last) });
    };
    drawing.addEventListener("pointerdown", (event) => {
      drawing.setPointerCapture(event.pointerId);
      drag(event);
    });
    drawing.addEventListener("pointermove", drag);
  }
  player(find(root, "[data-do=play]"), 24, (n) => {
    move({ t: Math.min(n, now.last) });
    return n < now.last;
  });
  all(root, "[data-sound]").forEach((button) => button.addEventListener("click", () => {
    const [which, part] = button.dataset.sound.split(".");
    play(data.sounds[which][part]);
  }));
  return update;
});
