section("shift", DATA.shift, ({ root, data, say, units }) => {
  const maps = named(root, "map");
  const pictures = data.sounds.map((_, i) => unpackPlane(data.pictures, i)), kernel = planeOf(data.kernel);
  const steps = [1, 2, 4];
  units.semitones = (n) => (n ? `${n} semitone${n > 1 ? "s" : ""} up` : "as played");
  units.later = (n) => `${n} frame${n === 1 ? "" : "s"}: ${show(n * data.hop_ms, 0)} ms`;
  units.stride = (i) => steps[i];
  units.pool = (i) => (i ? steps[i] : "none");
  const seen = (semitones, later) => crop(pictures[semitones], 0, data.start - later, pictures[0].h, data.width);
  let now = 0;
  find(root, "[data-do=play]").addEventListener("click", () => play(data.sounds[now]));
  return ({ semitones, later, stride, pool: width, padded }) => {
    now = semitones;
    const found = shifted(seen(0, 0), seen(semitones, later), kernel, { bins: semitones, later, stride: steps[stride], padded, width: steps[width] });
    heat(maps.x, seen(semitones, later));
    heat(maps.want, found.expected, { signed: true, range: 0.6 });
    heat(maps.got, found.after, { signed: true, range: 0.6 });
    heat(maps.apart, found.difference, { signed: true, range: 0.6 });
    find(root, ".sum").textContent = `${show(100 * found.share, 2)} %`;
    const step = steps[stride] * steps[width];
    const why = found.share === 0 ? "The output moved with the input and did not change at all."
      : later % step ? `${later} frames are not a whole number of steps of ${step}: the grid falls between the old places.`
      : padded ? "Padding puts an edge where the sound has none; what lies beside it cannot move."
      : "A semitone higher is nearly the same picture: beats between partials run faster.";
    say(`Difference between the output of the moved input and the moved output: ${show(100 * found.share, 2)} %. ${why}`);
  };
});
