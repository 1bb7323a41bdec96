// The rotatable view, drawn by the K3D library: isosurfaces, and atoms as spheres. World axes are (x, y, z) [A].

const RADIUS = 0.55;  // of an atom [A], the same for all: the size says nothing, the colour is the height of the peak

function hasWebGL() {
  try { return Boolean(document.createElement("canvas").getContext("webgl2")); } catch { return false; }
}

async function loadLibrary(text) {
  const script = new TextDecoder().decode(await unpack(text));
  let library;
  new Function("define", script)((name, needs, make) => { library = make(); });
  return library;
}

const none = () => ({ data: new Float32Array(0), shape: [0] });

function spheres(id, points, colours) {
  return { id, type: "Points", name: "", positions: { data: Float32Array.from(points.flat()), shape: [points.length, 3] },
           colors: { data: Uint32Array.from(colours), shape: [colours.length] }, color: 0xffffff, point_size: 2 * RADIUS,
           point_sizes: none(), shader: "mesh", mesh_detail: 3, opacity: 1, roughness: 0.5, metalness: 0, visible: true,
           model_matrix: { data: new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]), shape: [4, 4] } };
}

// The library takes the first sample at -1/2 and the last at 1/2 of each axis.
function surface(id, grid, level, color, opacity) {
  const matrix = new Float32Array(16);
  [2, 1, 0].forEach((a, row) => {
    const length = (grid.shape[a] - 1) * grid.size[a];
    matrix[5 * row] = length;
    matrix[4 * row + 3] = grid.first[a] + grid.size[a] / 2 + length / 2;
  });
  matrix[15] = 1;
  return { id, type: "MarchingCubes", name: "", scalar_field: { data: grid.values, shape: grid.shape }, level, color,
           opacity, roughness: 0.5, metalness: 0, flat_shading: false, wireframe: false, visible: true,
           spacings_x: none(), spacings_y: none(), spacings_z: none(),
           model_matrix: { data: matrix, shape: [4, 4] } };
}

function heightColours(heights, [low, high]) {
  const map = maps.viridis;
  return heights.map((height) => {
    const level = 3 * Math.round(255 * Math.max(0, Math.min(1, (height - low) / ((high - low) || 1))));
    return (map[level] << 16) | (map[level + 1] << 8) | map[level + 2];
  });
}

async function spaceViewer(root, space, slices, text) {
  const library = await loadLibrary(text);
  const stage = element("div", { class: "space", id: "space-stage" });
  const state = { level: space.levels[1], surface: true, atoms: space.atoms.length > 0, truth: false };
  const level = element("output");
  const check = (name, label, on, present) => !present ? "" : element("label", {}, element("input", { type: "checkbox", name,
    checked: on, onchange: (event) => { state[name] = event.target.checked; load(); } }), label);
  const views = { "Along the beam": [0, 0, -1, 0, -1, 0], "Along the tilt axis": [0, 1, 0, 0, 0, -1],
                  "Oblique": [.5, .72, -.48, 0, 0, -1] };
  const steps = element("input", { type: "range", name: "level", min: space.levels[0], max: space.levels[2], step: "any",
    value: state.level, "aria-label": "Level of the isosurface",
    oninput: (event) => { state.level = Number(event.target.value); level.textContent = `${brief(state.level)} V`; },
    onchange: () => load() });
  level.textContent = `${brief(state.level)} V`;
  root.append(element("div", { class: "controls" },
    check("surface", "Isosurface", true, true), element("label", {}, "Level", steps, level),
    check("atoms", space.atomsName, state.atoms, space.atoms.length), check("truth", "True potential", false, slices.truth()),
    ...Object.entries(views).map(([name, view]) => element("button", { type: "button", onclick: () => look(view) }, name))), stage);
  if (space.atoms.length) {
    const bar = element("canvas");
    root.append(element("div", { class: "planes" }, element("div", { class: "row" }, element("span", { class: "bar" },
      `Peak height ${brief(space.heightLimits[0])}`, bar, `${brief(space.heightLimits[1])} V`))));
    paint(bar, Float32Array.from({ length: 256 }, (_, i) => i), 256, 1, [0, 255], maps.viridis);
  }
  const quiet = console.log;
  console.log = () => {};  // the library tells which graphics driver it found
  const plot = new library.K3D(library.ThreeJsProvider, stage, { menuVisibility: false, gridVisible: false,
    cameraAutoFit: false, axesHelper: 1, lighting: 1.6, clearColor: 0x14171b, labelColor: 0xe4e7eb });
  console.log = quiet;
  const grid = slices.grid();
  const centre = [2, 1, 0].map((a) => grid.first[a] + grid.shape[a] * grid.size[a] / 2);
  const reach = Math.hypot(...[0, 1, 2].map((a) => grid.shape[a] * grid.size[a]));
  const look = ([x, y, z, ...up]) => {
    plot.setCamera([...[x, y, z].map((part, i) => centre[i] + 0.68 * reach * part), ...centre, ...up]);
    plot.render();
    setTimeout(() => plot.render(), 100);  // one that is asked for while another is drawn is dropped
  };
  let before = [];
  async function load() {
    const objects = [];
    // a surface around atoms is seen through, one alone is not
    if (state.surface) objects.push(surface(1, slices.grid(), state.level, 0x56b4e9, state.atoms ? 0.25 : 1));
    if (state.truth) objects.push(surface(2, slices.truth(), state.level, 0xe69f00, 0.4));
    if (state.atoms) objects.push(spheres(3, space.atoms, heightColours(space.heights, space.heightLimits)));
    console.log = () => {};
    for (const id of before) await plot.removeObject(id);
    await plot.load({ objects });
    console.log = quiet;
    before = objects.map((object) => object.id);
    setTimeout(() => plot.render(), 100);
    root.dataset.objects = before.join(" ");
  }
  look(views.Oblique);
  await load();
  look(views.Oblique);
  return plot;
}
