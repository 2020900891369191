section("capture", DATA.capture, (page) => {
  const { root, data, say, move, set, bounds, units } = page;
  const map = find(root, ".map"), body = find(root, "tbody");
  const mel = (f) => 2595 * Math.log10(1 + f / 700), hz = (m) => 700 * (10 ** (m / 2595) - 1), top = mel(8000);
  let stack = structuredClone(data.presets[0].stack), front = data.presets[0].front, chosen = "0", layers = -1;
  const row = (f) => limit((mel(f) / top) * MAPS[0].h, 0, MAPS[0].h);
  units.layer = (n) => `${n} of ${stack.length}`;

  /** Hertz from … to that a field of `size` bands around `centre` covers; null where the front end has no frequency. */
  function band(size, centre) {
    const nyquist = front.rate / 2;
    if (front.kind === "audio") return null;
    if (front.kind === "hcqt") return [centre * 2 ** (-size / 2 / front.per_octave), centre * 2 ** (size / 2 / front.per_octave)];
    if (front.kind === "spectrogram") return [centre - (size / 2) * (front.rate / front.n_fft), centre + (size / 2) * (front.rate / front.n_fft)].map((f) => limit(f, 0, nyquist));
    const step = mel(nyquist) / (front.bands + 1);
    return [mel(centre) - (size / 2) * step, mel(centre) + (size / 2) * step].map((m) => limit(hz(Math.max(m, 0)), 0, nyquist));
  }
  const milliseconds = (frames) => (1000 * frames * (front.hop ?? 1)) / front.rate;

  function editor() {
    body.replaceChildren(...stack.map((each, l) => {
      const line = find(root, "template").content.firstElementChild.cloneNode(true);
      [line.cells[0].textContent, line.cells[1].textContent] = [l + 1, each.what];
      for (const input of all(line, "input")) {
        const [name, axis] = input.dataset.edit.split(".");
        input.value = each[name][axis];
        input.dataset.edit = `${l}.${name}.${axis}`;
        input.setAttribute("aria-label", `layer ${l + 1}, ${name}, ${axis === "1" ? "frames" : "bands"}`);
      }
      find(line, "button").dataset.drop = l;
      find(line, "button").setAttribute("aria-label", `remove layer ${l + 1}`);
      return line;
    }));
    bounds("layer", 1, Math.max(1, stack.length));
  }
  function update({ preset, layer, time, pitch }) {
    if (preset !== chosen) {
      ({ front } = data.presets[preset]);
      stack = structuredClone(data.presets[preset].stack);
      chosen = preset;
      layers = -1;
    }
    if (layers !== stack.length) {
      editor();
      layers = stack.length;
      layer = stack.length;
      set("layer", layer);
    }
    if (!drawn.has(map)) heat(map, MAPS[0]);
    const fields = receptiveFields(stack), field = fields[layer - 1] ?? { size: [1, 1], stride: [1, 1] };
    fields.forEach(({ size }, l) => (body.rows[l].cells[5].textContent = `${show(size[0])} × ${show(size[1])}`));
    [...body.rows].forEach((line, l) => line.classList.toggle("on", l === layer - 1));
    find(root, ".stack").scrollTop = (body.rows[layer - 1]?.offsetTop ?? 0) - 120;
    const centre = CENTRES[pitch], ms = milliseconds(field.size[1]), range = band(field.size[0], centre), inMap = ms / DATA.maps.hop_ms;
    const [low, high] = range ? range.map(row) : [0, MAPS[0].h];
    const shapes = data.regions.map((each) => {
      const [from, to] = [each.start, each.stop].map((s) => (1000 * s) / DATA.maps.hop_ms);
      return box(map, "region", row(each.low), from, row(each.high) - row(each.low), to - from);
    });
    const part = stack.slice(0, layer), across = effectiveField(part, 1), bins = Math.min(24, across.length), chunk = across.length / bins;
    const slices = Array.from({ length: bins }, (_, i) => total(across.slice(Math.round(i * chunk), Math.round((i + 1) * chunk)))), most = Math.max(...slices);
    slices.forEach((share, i) => {
      const slice = box(map, "effective", low, time + 0.5 - inMap / 2 + (i * inMap) / bins, high - low, inMap / bins);
      slice.style.opacity = (0.75 * share) / most;
      shapes.push(slice);
    });
    over(map, ...shapes, box(map, "window", low, time + 0.5 - inMap / 2, high - low, inMap));
    let half = 0, count = 0;
    for (const share of [...across].sort((a, b) => b - a)) if (half < 0.5) (half += share), count++;
    const hertz = range ? `, ${show(range[0], 0)} to ${show(range[1], 0)} Hz around ${show(centre, 0)} Hz` : ", all frequencies at once";
    const counted = front.kind === "audio" ? `${show(field.size[1])} samples` : `${show(field.size[0])} × ${show(field.size[1])} bands × frames`;
    find(root, ".facts").textContent = `${counted} · ${unit(ms)}${hertz} · a step of ${unit(milliseconds(field.stride[1]))}`;
    const fits = data.regions.map((each) => `the ${each.name} ${ms >= 1000 * (each.stop - each.start) && (!range || (range[0] <= each.low && range[1] >= each.high)) ? "fits" : "does not fit"}`);
    find(root, ".source").textContent = data.presets[chosen].source;
    say(`One output of layer ${layer} sees ${unit(ms)}${hertz}. ${fits.length ? `Framed: ${fits.join(", ")}. ` : ""}Half of its weight lies in ${show((100 * count) / across.length, 0)} % of the time it sees.`);
  }
  root.addEventListener("input", (event) => {
    const [l, name, axis] = (event.target.dataset.edit ?? "").split(".");
    if (name) stack[l][name][axis] = Math.max(1, Math.floor(event.target.value) || 1);
  }, true);
  root.addEventListener("click", (event) => {
    const { drop, add } = event.target.dataset;
    if (drop !== undefined) stack.splice(drop, 1);
    else if (add) stack.push({ name: "", what: add, kernel: add === "conv" ? [3, 3] : [2, 2], stride: add === "conv" ? [1, 1] : [2, 2], dilation: [1, 1], before: [0, 0] });
    else return;
    page.draw();
  });
  pointed(map, () => {}, (pitch, time) => move({ pitch, time }));
  page.stack = () => stack;
  return update;
});
