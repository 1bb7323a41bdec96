// What was measured: virtual images of every tilt, and the measured beside the modelled pattern of a position that
// the reader picks. A bounded number of patterns is in the page; a pick goes to the nearest of them.

const SCALES = { "square root": Math.sqrt, linear: (n) => n, logarithm: (n) => Math.log10(1 + n) };

async function patternViewer(root, data) {
  const state = { tilt: data.start, map: Object.keys(data.tilts[data.start].maps)[0], scale: "square root", picked: -1 };
  const ready = new Map();
  async function tilt(index) {
    if (!ready.has(index)) {
      const entry = data.tilts[index], made = { ...entry, maps: {} };
      for (const [name, map] of Object.entries(entry.maps)) made.maps[name] = { ...map, values: await values(map.values) };
      for (const name of ["positions", "mean", "measured", "modelled"])
        if (entry[name]) made[name] = await values(entry[name]);
      for (const name of ["measured", "modelled"])  // stored as roots, as fine as their shot noise
        if (made[name]) made[name] = made[name].map((root) => root * root);
      ready.set(index, made);
    }
    return ready.get(index);
  }

  const label = element("output"), names = new Set(data.tilts.flatMap((entry) => Object.keys(entry.maps)));
  const slider = element("input", { type: "range", name: "tilt", min: 0, max: data.tilts.length - 1, value: state.tilt,
    "aria-label": "Tilt", oninput: (event) => { state.tilt = Number(event.target.value); draw(); } });
  const select = (name, options, chosen) => element("select", { name, onchange: (event) => {
    state[name] = event.target.value; draw(); } }, ...options.map((option) => element("option",
      { value: option, selected: option === chosen }, option)));
  root.append(element("div", { class: "controls" },
    element("label", {}, "Tilt", slider, label),
    element("label", {}, "Map", select("map", [...names], state.map)),
    element("label", {}, "Intensity", select("scale", Object.keys(SCALES), state.scale))));
  const grid = element("div", { class: "patterns" }), readout = element("div", { class: "readout" });
  root.append(grid, readout);
  const cell = (title, size, wide) => {
    const made = panel(size, size, title), head = element("h4", {}, title), detail = element("p", { class: "detail" });
    grid.append(element("div", { class: wide ? "wide" : "" }, head, made.box, detail));
    return { ...made, head, detail };
  };
  const room = Math.max(320, root.clientWidth) - 2 * 18, large = Math.min(420, room * 0.385), small = Math.min(300, room * 0.3);
  const scan = cell("Scan", large, true);
  const [mean, measured, modelled, residual] = ["Mean of the tilt", "Measured", "Modelled", "Measured minus modelled"]
    .map((title) => cell(title, small, false));
  scan.canvas.tabIndex = 0;

  function drawScan(t) {
    const map = t.maps[state.map] || Object.values(t.maps)[0], number = map.indices ? map.indices.length : t.count;
    const at = (i) => [t.positions[2 * i], t.positions[2 * i + 1]];
    const points = Array.from({ length: t.count }, (_, i) => at(i));
    const low = [0, 1].map((c) => Math.min(...points.map((p) => p[c])) - t.step / 2);
    const high = [0, 1].map((c) => Math.max(...points.map((p) => p[c])) + t.step / 2);
    const scale = Math.min(large / (high[0] - low[0]), large / (high[1] - low[1]));
    const place = ([y, x]) => [(x - low[1]) * scale, (y - low[0]) * scale];
    const density = Math.min(2, window.devicePixelRatio || 1), context = scan.canvas.getContext("2d");
    scan.canvas.width = scan.canvas.height = Math.round(large * density);
    context.scale(density, density);
    const span = (map.values_high - map.values_low) || 1, colours = maps[map.colours];
    for (let k = 0; k < number; k++) {
      const i = map.indices ? map.indices[k] : k, [x, y] = place(at(i)), size = map.step * scale;
      const level = 3 * Math.max(0, Math.min(255, Math.round(255 * (map.values[k] - map.values_low) / span)));
      context.fillStyle = `rgb(${colours[level]},${colours[level + 1]},${colours[level + 2]})`;
      context.fillRect(x - size / 2, y - size / 2, size + .6, size + .6);
    }
    scan.overlay.replaceChildren();
    t.sampled.forEach((i, k) => {
      const [x, y] = place(at(i));
      scan.overlay.append(drawn("circle", { cx: x, cy: y, r: k === state.picked ? 6 : 1.6, fill: k === state.picked ? "none" : "#fff",
        stroke: k === state.picked ? "#fff" : "#000", "stroke-width": k === state.picked ? 2.5 : .5 }));
      if (k === state.picked)
        scan.overlay.append(drawn("circle", { cx: x, cy: y, r: 8, fill: "none", stroke: "#000", "stroke-width": 1 }));
    });
    scaleBar(scan.overlay, large, large, scale, inAngstroms);
    scan.head.textContent = map.title;
    scan.detail.textContent = `${brief(map.values_low)} \u2026 ${brief(map.values_high)} ${map.unit}. x points right, y down. `
      + (t.sampled.length ? "Dots: patterns in this page; click one, or use the arrow keys." : "");
    scan.pick = (x, y) => t.sampled.reduce((best, i, k) => {
      const [px, py] = place(at(i)), distance = Math.hypot(px - x, py - y);
      return distance < best[1] ? [k, distance] : best;
    }, [0, Infinity])[0];
    scan.neighbour = (dx, dy) => {
      const [x, y] = place(at(t.sampled[state.picked]));
      let best = [state.picked, Infinity];
      t.sampled.forEach((i, k) => {
        const [px, py] = place(at(i)), along = (px - x) * dx + (py - y) * dy, across = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
        if (along > 1 && along + 3 * across < best[1]) best = [k, along + 3 * across];
      });
      return best[0];
    };
  }

  function drawPattern(cellOf, image, limits, map) {
    cellOf.overlay.setAttribute("class", map === maps.difference ? "bright" : "");
    const [ny, nx] = data.shape, perPixel = small / Math.max(ny, nx);
    paint(cellOf.canvas, image, nx, ny, limits, map);
    cellOf.canvas.className = "voxels";
    cellOf.canvas.style.cssText = `inset:auto;left:${(small - nx * perPixel) / 2}px;top:${(small - ny * perPixel) / 2}px;`
      + `width:${nx * perPixel}px;height:${ny * perPixel}px`;
    const centre = [ny, nx].map((n, i) => (Math.floor(n / 2) + .5) * perPixel + (small - n * perPixel) / 2);
    cellOf.overlay.replaceChildren(drawn("ellipse", { cx: centre[1], cy: centre[0], rx: data.semiangle / data.sampling[1] * perPixel,
      ry: data.semiangle / data.sampling[0] * perPixel, fill: "none", class: "mark", "stroke-dasharray": "4 4", opacity: .8 }));
    scaleBar(cellOf.overlay, small, small, perPixel / data.sampling[1], (length) => `${length} mrad`);
  }

  async function draw() {
    const t = await tilt(state.tilt), transform = SCALES[state.scale], pixels = data.shape[0] * data.shape[1];
    if (state.picked < 0) state.picked = Math.floor(t.sampled.length / 2);
    state.picked = Math.min(state.picked, Math.max(0, t.sampled.length - 1));
    label.textContent = `${t.name}, ${shown(t.theta)}\u00b0`;
    drawScan(t);
    const seen = (image) => image.map((n) => transform(Math.max(0, n)));
    const limits = (image) => [0, Math.max(...image) || 1];
    const average = seen(t.mean);
    drawPattern(mean, average, limits(average), maps.inferno);
    mean.detail.textContent = `${brief(t.electrons)} electrons a pattern. Dashed: semi-angle of the probe, ${brief(data.semiangle)} mrad.`;
    const one = (stack) => stack && stack.length ? stack.subarray(state.picked * pixels, (state.picked + 1) * pixels) : null;
    const m = one(t.measured), c = one(t.modelled);
    for (const [cellOf, present] of [[measured, m], [modelled, c], [residual, m && c]])
      cellOf.box.parentElement.hidden = !present;
    if (!m) return;
    const common = limits(seen(c || m));
    drawPattern(measured, seen(m), common, maps.inferno);
    const [y, x] = [0, 1].map((i) => t.positions[2 * t.sampled[state.picked] + i]);
    measured.detail.textContent = `Position ${t.sampled[state.picked]}: y ${shown(y)}, x ${shown(x)} \u00c5. ${brief(m.reduce((a, b) => a + b))} electrons.`;
    if (!c) return;
    drawPattern(modelled, seen(c), common, maps.inferno);
    modelled.detail.textContent = `The same colours: 0 \u2026 ${brief(Math.max(...c))} electrons a pixel. ${brief(c.reduce((a, b) => a + b))} electrons.`;
    drawPattern(residual, m.map((n, i) => (n - c[i]) / Math.sqrt(Math.max(c[i], data.floor))), [-4, 4], maps.difference);
    residual.detail.textContent = "In standard deviations of the shot noise, \u22124 (blue) \u2026 4 (red). A good model leaves no structure.";
    root.dataset.picked = `${state.tilt} ${t.sampled[state.picked]}`;
  }

  scan.canvas.addEventListener("pointerdown", (event) => {
    if (!scan.pick) return;
    const edges = event.target.getBoundingClientRect();
    state.picked = scan.pick(event.clientX - edges.left, event.clientY - edges.top);
    draw();
  });
  scan.canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step || !scan.neighbour || !ready.get(state.tilt).sampled.length) return;
    event.preventDefault();
    state.picked = scan.neighbour(...step);
    draw();
  });
  await draw();
}
