section("capture", DATA.capture, (page) => {
  const { root, data, say, move, set, bounds, units } = page;
  const map = find(root, ".map"), body = find(root, "tbody"), FIELDS = ["kernel", "stride", "dilation"];
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
      const line = document.createElement("tr");
      line.innerHTML = `<th scope="row">${l + 1}</th><td>${each.what}</td>` + FIELDS.map((name) => `<td>${[0, 1].map((a) => `<input type="number" min="1" max="4096" value="${each[name][a]}" aria-label="layer ${l + 1} ${name} ${a ? "frames" : "bands"}" data-edit="${l}.${name}.${a}">`).join("×")}</td>`).join("") + `<td class="n" data-field="${l}"></td><td><button type="button" data-drop="${l}" aria-label="remove layer ${l + 1}">×</button></td>`;
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
    fields.forEach(({ size }, l) => (find(root, `[data-field="${l}"]`).textContent = `${show(size[0])} × ${show(size[1])}`));
    all(body, "tr").forEach((line, l) => line.classList.toggle("on", l === layer - 1));
    const centre = CENTRES[pitch], ms = milliseconds(field.size[1]), range = band(field.size[0], centre), inMap = ms / DATA.maps.hop_ms;
    const [low, high] = range ? range.map(row) : [0, MAPS[0].h];
    const shapes = data.regions.map((each) => box(map, "region", row(each.low), (each.start * 1000) / DATA.maps.hop_ms, row(each.high) - row(each.low), ((each.stop - each.start) * 1000) / DATA.maps.hop_ms));
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
    find(root, ".facts").textContent = `${show(field.size[0])} × ${show(field.size[1])} ${front.kind === "audio" ? "samples" : "bands × frames"} · ${unit(ms)}${hertz} · a step of ${unit(milliseconds(field.stride[1]))}`;
    const fits = data.regions.map((each) => `the ${each.name} ${ms >= 1000 * (each.stop - each.start) && (!range || (range[0] <= each.low && range[1] >= each.high)) ? "fits in" : "does not"}`);
    const source = data.presets[chosen];
    find(root, ".source").textContent = chosen === "0" ? "" : `${source.name}: ${stack.length} layers that see neighbours, of the ${source.layers} that the catalogue lists; branches beside the main path are left out. Front end: ${front.kind}, ${show(front.rate)} Hz${front.hop ? `, hop ${front.hop}` : ""}${front.bands ? `, ${front.bands} bands` : ""}.`;
    say(`One output of layer ${layer} sees ${unit(ms)}${hertz}. ${fits.length ? `Of the things framed, ${fits.join(", ")}. ` : ""}Half of its weight lies in ${show((100 * count) / across.length, 0)} % of the time it sees.`);
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
