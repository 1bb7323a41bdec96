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

// Ellipsoids with the half axes [A] of each atom along x, y, z: an octahedron's faces, divided twice, moved to a sphere.
function ellipsoids(id, points, axes, colours) {
  const corners = [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]];
  let faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]];
  const known = new Map();
  const middle = (a, b) => {
    const key = a < b ? `${a} ${b}` : `${b} ${a}`;
    if (!known.has(key)) {
      const sum = corners[a].map((value, i) => value + corners[b][i]), length = Math.hypot(...sum);
      known.set(key, corners.push(sum.map((value) => value / length)) - 1);
    }
    return known.get(key);
  };
  for (let round = 0; round < 2; round++)
    faces = faces.flatMap(([a, b, c]) => {
      const [ab, bc, ca] = [middle(a, b), middle(b, c), middle(c, a)];
      return [[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]];
    });
  const vertices = points.flatMap((point, n) => corners.flatMap((corner) => corner.map((u, i) => point[i] + u * axes[n][i])));
  const indices = points.flatMap((_, n) => faces.flatMap((face) => face.map((corner) => corner + n * corners.length)));
  return { id, type: "Mesh", name: "", vertices: { data: Float32Array.from(vertices), shape: [vertices.length / 3, 3] },
           indices: { data: Uint32Array.from(indices), shape: [indices.length / 3, 3] },
           colors: { data: Uint32Array.from(colours.flatMap((colour) => corners.map(() => colour))), shape: [vertices.length / 3] },
           color: 0xffffff, attribute: none(), triangles_attribute: none(), color_map: none(), color_range: [],
           opacity_function: none(), normals: none(), uvs: none(), volume: none(), side: "double",
           opacity: 1, roughness: 0.5, metalness: 0, flat_shading: false, wireframe: false, visible: true,
           model_matrix: { data: new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]), shape: [4, 4] } };
}

const elementColours = (fitted) => fitted.element.map((number) => parseInt(fitted.elements[number].colour.slice(1), 16));

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
  const fitted = space.fitted;  // atoms fitted to the patterns, which take the place of the traced ones
  const state = { level: space.levels[1], surface: true, atoms: space.atoms.length > 0 && !fitted, truth: false,
                  fitted: Boolean(fitted), errors: false };
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
    check("atoms", space.atomsName, state.atoms, space.atoms.length),
    ...(!fitted ? [] : [check("fitted", `${fitted.positions.length} fitted atoms`, true, true),
      check("errors", `as ellipsoids of their errors × ${brief(fitted.magnification)}`, false, true)]), check("truth", "True potential", false, slices.truth()),
    ...Object.entries(views).map(([name, view]) => element("button", { type: "button", onclick: () => look(view) }, name))), stage);
  if (fitted)
    root.append(element("p", { class: "legend" }, "Fitted: ", ...fitted.elements.map(({ symbol, colour, count }) =>
      element("span", {}, element("i", { style: `background: ${colour}` }), `${symbol} (${count})`))));
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
    if (state.surface) objects.push(surface(1, slices.grid(), state.level, 0x56b4e9, state.atoms || state.fitted ? 0.25 : 1));
    if (state.truth) objects.push(surface(2, slices.truth(), state.level, 0xe69f00, 0.4));
    if (state.atoms) objects.push(spheres(3, space.atoms, heightColours(space.heights, space.heightLimits)));
    if (state.fitted)
      objects.push(state.errors ? ellipsoids(4, fitted.positions, fitted.axes, elementColours(fitted))
                                : spheres(4, fitted.positions, elementColours(fitted)));
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
