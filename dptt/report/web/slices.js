// Slices along three axes through one or more volumes that share one point, one scale and one set of colours.
// Coordinates are (z, y, x) in angstroms from the rotation centre. A layer may have a grid of its own.

const AXES = ["z", "y", "x"];
const NAMES = { z: "z, beam", y: "y, tilt axis", x: "x" };
const PLANES = [["y", "x"], ["z", "x"], ["y", "z"]];  // rows and columns of the planes across z, y and x
const TALLEST = 330;

async function decoded(grid) {
  return { ...grid, values: await values(grid) };
}

// Plane across `axis` at position [A], within the box [[low, high], ...]: its values, size and edges [A].
function plane(grid, axis, position, box) {
  const index = (a, where) => Math.max(0, Math.min(grid.shape[a] - 1, Math.floor((where - grid.first[a]) / grid.size[a])));
  const at = index(axis, position), [rows, columns] = PLANES[axis].map((name) => AXES.indexOf(name));
  const range = (a) => [index(a, box[a][0] + 1e-3), index(a, box[a][1] - 1e-3) + 1];
  const [top, bottom] = range(rows), [left, right] = range(columns);
  const strides = [grid.shape[1] * grid.shape[2], grid.shape[2], 1];
  const image = new Float32Array((bottom - top) * (right - left));
  let i = 0;
  for (let r = top; r < bottom; r++)
    for (let c = left; c < right; c++)
      image[i++] = grid.values[at * strides[axis] + r * strides[rows] + c * strides[columns]];
  const edge = (a, n) => grid.first[a] + n * grid.size[a];
  return { image, width: right - left, height: bottom - top,
           top: edge(rows, top), bottom: edge(rows, bottom), left: edge(columns, left), right: edge(columns, right) };
}

function minus(a, b) {
  if (a.image.length !== b.image.length) return { ...a, image: a.image.map(() => NaN) };  // not on one grid
  return { ...a, image: a.image.map((value, i) => value - b.image[i]) };
}

async function sliceViewer(root, volume, remembered = {}) {
  const layers = [];
  for (const layer of volume.layers)
    layers.push({ name: layer.name, whole: await decoded(layer.whole),
                  specimen: layer.specimen ? await decoded(layer.specimen) : null });
  const ends = (grid) => AXES.map((_, a) => [grid.first[a], grid.first[a] + grid.shape[a] * grid.size[a]]);
  const everything = layers.map((layer) => ends(layer.whole)).reduce((a, b) =>
    a.map(([low, high], i) => [Math.min(low, b[i][0]), Math.max(high, b[i][1])]));
  const lowest = Math.min(...volume.layers.map((layer) => layer.whole.low));
  const highest = Math.max(...volume.layers.map((layer) => layer.whole.high));
  const state = { cut: [...volume.cut], all: false, smooth: true, map: "inferno", limits: [...volume.limits],
                  ...remembered };
  const flat = layers[0].whole.shape[0] === 1, shownPlanes = flat ? [0] : [0, 1, 2];
  const rows = layers.map((layer, i) => ({ title: layer.name, layers: [i] }));
  if (volume.difference)
    rows.push({ title: `${layers[0].name} minus ${layers[1].name.toLowerCase()}`, layers: [0, 1] });

  const readout = element("div", { class: "readout" });
  const choice = element("select", { name: "map", onchange: (event) => { state.map = event.target.value; draw(); } },
    ...["inferno", "viridis", "gray"].map((name) =>
      element("option", { value: name, selected: name === state.map }, name === "gray" ? "grey" : name)));
  const limit = (i, name) => element("input", { type: "range", name, min: 0, max: 1000,
    value: 1000 * (state.limits[i] - lowest) / (highest - lowest || 1), "aria-label": `${name} end of the colour scale`,
    oninput: (event) => {
      const value = lowest + (highest - lowest) * event.target.value / 1000, gap = 1e-3 * (highest - lowest);
      state.limits[i] = i ? Math.max(value, state.limits[0] + gap) : Math.min(value, state.limits[1] - gap);
      draw();
    } });
  const check = (name, label, checked, change) => element("label", {},
    element("input", { type: "checkbox", name, checked, onchange: (event) => change(event.target.checked) }), label);
  root.append(element("div", { class: "controls" },
    check("all", "Whole volume", state.all, (on) => { state.all = on; build(); }),
    check("smooth", "Interpolated", state.smooth, (on) => { state.smooth = on; draw(); }),
    element("label", {}, "Colours", choice),
    element("label", {}, "Scale from", limit(0, "low"), "to", limit(1, "high")),
    element("button", { type: "button", onclick: () => { state.cut = [...volume.cut]; build(); } }, "Densest planes"),
    element("button", { type: "button", onclick: () => { state.cut = [0, 0, 0]; build(); } }, "Rotation centre")));
  const planes = element("div", { class: "planes" });
  root.append(planes, readout);

  let panels = [], sliders = [], box, scale, bars = [];
  const grid = (layer) => (!state.all && layer.specimen) || layer.whole;
  const step = (a) => grid(layers[0]).size[a];
  // Sliders and clicks stop at the middle of a voxel of the first volume.
  const snapped = (a, where) => {
    const g = grid(layers[0]), inside = Math.max(box[a][0], Math.min(box[a][1] - 1e-3, where));
    const n = Math.floor((inside - g.first[a]) / g.size[a] + 1e-6);
    return g.first[a] + (Math.max(0, Math.min(g.shape[a] - 1, n)) + .5) * g.size[a];
  };

  function build() {
    box = state.all ? everything : volume.box;
    const length = (name) => box[AXES.indexOf(name)][1] - box[AXES.indexOf(name)][0];
    const widths = shownPlanes.map((p) => length(PLANES[p][1])), heights = shownPlanes.map((p) => length(PLANES[p][0]));
    const room = Math.max(240, root.clientWidth) - 18 * (widths.length - 1);
    scale = Math.min(room / widths.reduce((a, b) => a + b), (flat ? 560 : TALLEST) / Math.max(...heights));
    planes.style.gridTemplateColumns = widths.map((w) => `${Math.max(150, w * scale)}px`).join(" ");
    planes.replaceChildren();
    sliders = shownPlanes.map((a) => {
      const output = element("output"), [low, high] = box[a], d = step(a);
      state.cut[a] = snapped(a, state.cut[a]);
      const input = element("input", { type: "range", name: AXES[a], min: snapped(a, low), max: snapped(a, high), step: d,
        value: state.cut[a], "aria-label": `Slice across ${AXES[a]}`,
        oninput: (event) => { state.cut[a] = snapped(a, Number(event.target.value)); draw(); } });
      planes.append(element("div", { class: "slider" }, element("label", {}, `Across ${NAMES[AXES[a]]}: `, output, input)));
      return { input, output };
    });
    bars = [];
    panels = rows.map((row) => {
      const bar = element("canvas"), low = element("span"), high = element("span");
      bars.push({ bar, low, high });
      planes.append(element("div", { class: "row" }, row.title, element("span", { class: "bar" }, low, bar, high)));
      return shownPlanes.map((a, i) => {
        const made = panel(widths[i] * scale, heights[i] * scale, `${row.title}, slice across ${AXES[a]}`);
        planes.append(made.box);
        made.canvas.addEventListener("pointermove", (event) => point(event, a, row, event.buttons > 0));
        made.canvas.addEventListener("pointerdown", (event) => point(event, a, row, true));
        made.canvas.addEventListener("pointerleave", () => { readout.textContent = ""; });
        return made;
      });
    });
    draw();
  }

  function point(event, axis, row, move) {
    const edges = event.target.getBoundingClientRect(), where = [...state.cut];
    PLANES[axis].forEach((name, i) => {
      const a = AXES.indexOf(name), share = i ? (event.clientX - edges.left) / edges.width : (event.clientY - edges.top) / edges.height;
      where[a] = snapped(a, box[a][0] + share * (box[a][1] - box[a][0]));
    });
    if (move) { state.cut = where; draw(); }
    const found = layers.map((layer) => {
      const g = grid(layer), at = AXES.map((_, a) => Math.floor((where[a] - g.first[a]) / g.size[a] + 1e-6));
      const inside = at.every((n, a) => n >= 0 && n < g.shape[a]);
      return inside ? `${layer.name} ${shown(g.values[(at[0] * g.shape[1] + at[1]) * g.shape[2] + at[2]])} V` : "";
    });
    readout.textContent = `z ${shown(where[0], 2)}, y ${shown(where[1], 2)}, x ${shown(where[2], 2)} \u00c5: `
      + found.filter(Boolean).join(", ");
  }

  function draw() {
    const [low, high] = state.limits, span = (high - low) / 2;
    rows.forEach((row, r) => {
      const differs = row.layers.length > 1, limits = differs ? [-span, span] : [low, high];
      const map = differs ? maps.difference : maps[state.map];
      paint(bars[r].bar, Float32Array.from({ length: 256 }, (_, i) => i), 256, 1, [0, 255], map);
      [bars[r].low.textContent, bars[r].high.textContent] = limits.map((value, i) => shown(value) + (i ? " V" : ""));
      shownPlanes.forEach((a, i) => {
        const cuts = row.layers.map((l) => plane(grid(layers[l]), a, state.cut[a], box));
        const cut = differs ? minus(...cuts) : cuts[0];
        const { canvas, overlay, width, height } = panels[r][i];
        paint(canvas, cut.image, cut.width, cut.height, limits, map);
        canvas.className = state.smooth ? "" : "voxels";
        const [vertical, horizontal] = PLANES[a].map((name) => box[AXES.indexOf(name)]);
        canvas.style.inset = "auto";
        canvas.style.left = `${(cut.left - horizontal[0]) * scale}px`;
        canvas.style.top = `${(cut.top - vertical[0]) * scale}px`;
        canvas.style.width = `${(cut.right - cut.left) * scale}px`;
        canvas.style.height = `${(cut.bottom - cut.top) * scale}px`;
        overlay.replaceChildren();
        overlay.setAttribute("class", differs ? "bright" : "");
        const [y, x] = PLANES[a].map((name, k) => (state.cut[AXES.indexOf(name)] - (k ? horizontal : vertical)[0]) * scale);
        if (!flat)
          for (const line of [[x, 0, x, 9], [x, height, x, height - 9], [0, y, 9, y], [width, y, width - 9, y]])
            overlay.append(drawn("line", { x1: line[0], y1: line[1], x2: line[2], y2: line[3], class: "mark", "stroke-width": 1.5 }));
        scaleBar(overlay, width, height, scale, inAngstroms);
        overlay.append(drawn("text", { x: width - 6, y: height - 7, "text-anchor": "end" }, `${PLANES[a][1]} \u2192`),
                       drawn("text", { x: 14, y: 18 }, `${PLANES[a][0]} \u2193`));
      });
    });
    shownPlanes.forEach((a, i) => {
      sliders[i].output.textContent = `${shown(state.cut[a], 2)} \u00c5`;
      sliders[i].input.value = state.cut[a];
    });
  }

  build();
  let width = root.clientWidth;
  new ResizeObserver(() => { if (Math.abs(root.clientWidth - width) > 20) { width = root.clientWidth; build(); } }).observe(root);
  return { state, grid: () => grid(layers[0]), truth: () => (layers[1] ? grid(layers[1]) : null) };
}
