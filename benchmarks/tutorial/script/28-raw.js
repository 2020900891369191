section("raw", DATA.raw, ({ root, data, say, bounds, units }) => {
  const map = find(root, "[data-map=spectra]"), BINS = 160;
  const banks = data.banks.map((bank) => {
    const { shape: [count, taps], values } = unpack(bank.filters), top = Math.min(1000, bank.rate / 2);
    const filters = Array.from({ length: count }, (_, i) => values.subarray(i * taps, (i + 1) * taps));
    const spectra = plane(count, BINS);
    filters.forEach((filter, i) => {
      for (let b = 0; b < BINS; b++) spectra.v[i * BINS + b] = answer(filter, ((b + 0.5) * top) / BINS, bank.rate);
    });
    return { ...bank, filters, spectra, top };
  });
  units.tone = (f) => `${f} Hz`;
  units.filter = (i) => i + 1;
  return ({ bank, tone, filter }) => {
    const { filters, spectra, top, rate, what } = banks[bank];
    bounds("filter", 0, filters.length - 1);
    filter = Math.min(filter, filters.length - 1);
    const most = largest([...spectra.v]), column = (tone / top) * BINS, answers = filters.map((each) => answer(each, tone, rate));
    heat(map, spectra, { range: most });
    over(map, svg("line", { class: "mark", x1: column, x2: column, y1: 0, y2: spectra.h }), box(map, "window", filter, 0, 1, BINS));
    const wave = filters[filter], line = [...spectra.v.subarray(filter * BINS, (filter + 1) * BINS)];
    const draw = (name, path, view) => {
      find(root, `[data-curve=${name}]`).setAttribute("d", path);
      find(root, `[data-curve=${name}]`).ownerSVGElement.setAttribute("viewBox", view);
    };
    draw("wave", curve(wave, 1, 1 / largest([...wave])), `0 -1.1 ${wave.length} 2.2`);
    draw("spectrum", curve(line, 1, 1 / most), `0 -1.05 ${BINS} 1.1`);
    draw("answers", bars(answers, 0, 1 / most), `0 -1.05 ${filters.length} 1.07`);
    const loudest = answers.indexOf(Math.max(...answers)), peak = (line.indexOf(Math.max(...line)) + 0.5) * (top / BINS);
    find(root, ".what").textContent = what;
    const long = show((1000 * wave.length) / rate, 0);
    say(`To a tone of ${tone} Hz kernel ${loudest + 1} answers loudest. Kernel ${filter + 1}, ${wave.length} taps at ${rate} Hz, that is ${long} ms, answers most to ${show(peak, 0)} Hz.`);
  };
});

section("stft", DATA.raw.stft, ({ root, data, say, move, units }) => {
  const map = find(root, ".map"), size = unpackPlane(data.size), x = unpack(data.excerpt).values, window = unpack(data.window).values;
  const most = Math.log10(largest([...size.v])), picture = plane(size.h, size.w, size.v.map((v) => 1 + (Math.log10(Math.max(v, 1e-9)) - most) / 3));
  units.bin = (k) => `${k}: ${show((k * data.rate) / data.n_fft, 0)} Hz`;
  const wave = (k) => [Math.cos, Math.sin].map((f) => Array.from(window, (w, n) => w * f((2 * Math.PI * k * n) / data.n_fft)));
  pointed(map, (bin, frame) => move({ bin, frame }));
  return ({ bin, frame }) => {
    if (!drawn.has(map)) heat(map, picture);
    over(map, box(map, "window", bin - 0.5, frame - 0.5, 2, 2));
    const parts = wave(bin), start = frame * data.hop - data.n_fft / 2;
    parts.forEach((part, i) => all(root, "path")[i].setAttribute("d", curve(part)));
    const sums = parts.map((part) => part.reduce((sum, w, n) => sum + w * (x[start + n] ?? 0), 0));
    const page = Math.hypot(...sums);
    root.dataset.value = page;
    say(`Kernel ${bin} under frame ${frame}: cosine ${show(sums[0], 3)}, sine ${show(sums[1], 3)}, together ${show(page, 4)}; the library's layer gave ${show(size.v[bin * size.w + frame], 4)}.`);
  };
});
