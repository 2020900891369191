section("pooling", DATA.maps, ({ root, say, units }) => {
  const maps = named(root, "map");
  const onset = unpackPlane(DATA.maps.kernels[0].weight), [top, left, h, w] = [8, 138, 32, 48], edges = rectified(correlate(MAPS[0], onset, { padding: 1 }));
  const shapes = [[1, 1], [1, 2], [1, 4], [1, 8], [4, 8]], sums = FILTERS.map((each) => rectified(addPlanes(filtered(each), each.bias)));
  units.nudge = (n) => (n === 0 ? "as played" : `${Math.abs(n)} frame${Math.abs(n) > 1 ? "s" : ""} ${n > 0 ? "later" : "sooner"}`);
  units.window = (i) => (i ? `${shapes[i][0]} × ${shapes[i][1]}` : "none");
  units.frames = (n) => `${show(seconds(n))} s`;
  const outputs = (nudge, size, kind) => {
    const fired = crop(edges, top, left - nudge, h, w);
    return [crop(MAPS[0], top, left - nudge, h, w), fired, pool(fired, size, kind)];
  };
  const changed = (a, b) => total(a.v.map((value, i) => Math.abs(value - b.v[i]))) / (total(a.v) + total(b.v));
  return ({ nudge, window: index, pooling, frames }) => {
    const now = outputs(nudge, shapes[index], pooling), before = outputs(0, shapes[index], pooling);
    heat(maps.in, now[0]);
    heat(maps.conv, now[1], { range: 2 });
    heat(maps.pool, now[2], { range: pooling === "max" ? 2 : Math.max(...before[2].v) });
    const [raw, pooled] = [changed(now[1], before[1]), changed(now[2], before[2])];
    find(root, "[data-count=raw]").textContent = `${show(100 * raw, 1)} %`;
    find(root, "[data-count=pooled]").textContent = `${show(100 * pooled, 1)} %`;
    say(`${units.nudge(nudge)}: ${show(100 * raw, 1)} % of the output is not what it was before pooling, ${show(100 * pooled, 1)} % after it. ${now[1].v.length} numbers became ${now[2].v.length}.`);
    barRows(find(root, ".means"), sums.map((sum, j) => {
      const { v } = crop(sum, 0, 0, sum.h, frames), mean = total(v) / v.length;
      return [FILTERS[j].name, show(mean, 3), limit(mean * 250, 0, 100)];
    }));
  };
});
